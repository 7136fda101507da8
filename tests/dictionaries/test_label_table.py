import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.dictionaries.label_table import TableOptions, by_latent, label_table, voted
from lmscope.dictionaries.labels import Firings, LabelOptions, score_labels

PLAIN = TableOptions(n_permutations=0)


def drawn(seed=0, n_texts=30, length=12, n_latents=6, n_labels=5, rate=0.3):
    """Random firings and labels, of which label 0 drives latent 1."""
    rng = np.random.default_rng(seed)
    n = n_texts * length
    text = np.repeat(np.arange(n_texts), length)
    labels = rng.random((n, n_labels)) < 0.25
    dense = np.where(rng.random((n, n_latents)) < rate, rng.random((n, n_latents)), 0)
    dense[:, 1] = np.where(labels[:, 0], 1 + rng.random(n), dense[:, 1])
    return Firings.of(dense, text), labels, dense


def judged(dense, labels, text, latent, label, threshold):
    """F1, precision and recall by sets, on texts of odd number."""
    half = text % 2 == 1
    says = set(np.flatnonzero((dense[:, latent] > threshold) & half).tolist())
    true = set(np.flatnonzero(labels[:, label] & half).tolist())
    hits = len(says & true)
    return (
        2 * hits / max(len(says) + len(true), 1),
        hits / max(len(says), 1),
        hits / len(true),
    )


def test_figures_are_those_of_sets():
    firings, labels, dense = drawn()
    table = label_table(firings, labels, PLAIN)
    for row, latent in enumerate(table.latents):
        for label in range(labels.shape[1]):
            found = (table.f1, table.precision, table.recall)
            own = judged(dense, labels, firings.text, latent, label, table.threshold[row, label])
            np.testing.assert_allclose([one[row, label] for one in found], own, atol=1e-6)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_the_grid_of_thresholds_costs_little(seed):
    firings, labels, _ = drawn(seed)
    table = label_table(firings, labels, PLAIN)
    exact = score_labels(
        firings,
        {str(i): labels[:, i] for i in range(labels.shape[1])},
        LabelOptions(n_best=6, n_permutations=0),
    )
    for label, one in enumerate(exact):
        for best in one.best:
            (row,) = np.flatnonzero(table.latents == best.latent)
            assert best.chosen_f1 - 0.05 < table.chosen_f1[row, label] < best.chosen_f1 + 1e-6


def test_a_planted_latent_is_the_best_one_and_chance_is_far_below():
    firings, labels, _ = drawn()
    table = label_table(firings, labels, TableOptions(n_permutations=5))
    assert table.latents[table.best()[0]] == 1
    assert table.f1[table.best()[0], 0] > 0.95
    assert table.null_f1 is not None
    assert table.null_f1[0] < 0.6
    assert table.above_null()[table.best()[0], 0]
    assert table.above_null().sum() < 6


def test_labels_that_the_place_decides_have_a_chance_of_their_own():
    firings, labels, dense = drawn()
    labels[:, 2] = np.arange(len(labels)) % 12 == 3  # the same in every text
    dense = np.column_stack([dense, labels[:, 2]])
    firings = Firings.of(dense, firings.text)
    naive = label_table(firings, labels, TableOptions(n_permutations=3))
    assert naive.null_f1 is not None
    assert naive.null_f1[2] == 1.0  # other texts' labels are its own
    assert not naive.above_null()[:, 2].any()
    told = label_table(firings, labels, TableOptions(n_permutations=3), by_place=[2])
    assert told.null_f1 is not None
    assert told.null_f1[2] < 0.4
    assert told.above_null()[-1, 2]


def test_ties_are_never_cut():
    # Eight tokens fire with 1; the label holds on half of them: no threshold can do better than all.
    text = np.repeat(np.arange(4), 4)
    dense = np.tile([1.0, 1.0, 0.0, 0.0], 4)[:, None]
    labels = np.tile([True, False, False, False], 4)[:, None]
    table = label_table(Firings.of(dense, text), labels, PLAIN)
    assert table.f1[0, 0] == pytest.approx(2 * 2 / (4 + 2))
    assert table.precision[0, 0] == 0.5


def test_precise_latents_vote_above_the_lowest_threshold_where_they_are():
    # Half 0 chooses: above 2 the latent is right 20 times of 20, below it never.
    text = np.repeat([0, 1], 40)
    values = np.tile(np.concatenate([np.full(20, 3.0), np.full(20, 1.0)]), 2)
    labels = np.tile(np.arange(40) < 20, 2)[:, None]
    labels[0] = True
    firings = Firings.of(values[:, None], text)
    table = label_table(firings, labels, TableOptions(n_permutations=0, n_thresholds=60))
    assert 1.0 <= table.votes[0, 0] < 3.0
    np.testing.assert_array_equal(voted(firings, table, [0])[:, 0], values > 2)
    assert (table.vote_precision[0, 0], table.vote_fired[0, 0]) == (1.0, 20)


def test_the_other_half_tells_how_precise_a_vote_is():
    text = np.repeat([0, 1], 40)
    values = np.tile(np.concatenate([np.full(20, 3.0), np.full(20, 1.0)]), 2)
    labels = np.tile(np.arange(40) < 20, 2)[:, None]
    labels[40:50] = False  # half 1 judges: right 10 times of 20
    table = label_table(Firings.of(values[:, None], text), labels, TableOptions(n_permutations=0))
    assert (table.vote_precision[0, 0], table.vote_fired[0, 0]) == (0.5, 20)


def test_rare_firings_do_not_vote():
    firings, labels, _ = drawn(rate=0.01)
    table = label_table(firings, labels, TableOptions(n_permutations=0, min_firings=10_000))
    assert np.isinf(table.votes).all()
    assert not table.vote_fired.any()
    assert not table.vote_precision.any()
    assert not voted(firings, table, [0, 1]).any()


def test_a_latent_that_fires_only_on_the_other_half_has_no_row():
    text = np.repeat([0, 1], 5)
    dense = np.zeros((10, 3))
    dense[:, 0] = np.arange(10) % 2
    dense[5:, 2] = 1
    labels = (np.arange(10) % 2 == 1)[:, None]
    firings = Firings.of(dense, text)
    table = label_table(firings, labels, PLAIN)
    assert table.latents.tolist() == [0]
    assert voted(firings, table, [0]).shape == (10, 1)


def test_a_label_that_never_holds_is_not_told():
    firings, labels, _ = drawn()
    labels[:, 3] = False
    labels[:, 4] = True
    table = label_table(firings, labels, TableOptions(n_permutations=1))
    assert table.told.tolist() == [True, True, True, False, False]
    assert not table.above_null()[:, 3:].any()


def test_equal_options_give_equal_tables():
    firings, labels, _ = drawn()
    first, second = (label_table(firings, labels, TableOptions(seed=3)) for _ in range(2))
    np.testing.assert_array_equal(first.null_f1, second.null_f1)
    np.testing.assert_array_equal(first.f1, second.f1)


def test_firings_by_latent_keep_their_order():
    groups = by_latent(np.array([3, 1, 3, 1, 70_000]))
    assert [(latent, mine.tolist()) for latent, mine in groups] == [
        (1, [1, 3]),
        (3, [0, 2]),
        (70_000, [4]),
    ]
    assert by_latent(np.zeros(0, dtype=np.int64)) == []


@pytest.mark.parametrize(
    ("text", "labels", "said"),
    [
        (np.zeros(4, dtype=int), np.ones((4, 1), bool), "give two or more"),
        (np.array([0, 0, 1, 1]), np.ones((3, 1), bool), "truth values of 3 tokens for 4"),
    ],
)
def test_what_cannot_be_scored_is_refused(text, labels, said):
    with pytest.raises(DataError, match=said):
        label_table(Firings.of(np.ones((4, 2)), text), labels, PLAIN)


def test_silence_is_refused():
    with pytest.raises(DataError, match="No latent fires"):
        label_table(Firings.of(np.zeros((4, 2)), np.array([0, 0, 1, 1])), np.ones((4, 1), bool))
