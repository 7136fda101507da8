import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.dictionaries.labels import Firings, LabelOptions, score_labels

NO_NULL = LabelOptions(n_permutations=0)


def numbered(*lengths):
    return np.repeat(np.arange(len(lengths)), lengths)


def test_precision_recall_and_f1_by_hand():
    # Text 0 chooses: latent 0 is 3, 2 where the label holds and 1 where it does not: cut between 2 and 1.
    # Text 1 judges: above 1.5 are tokens 0, 1, 2, of which 0 and 1 are true, and 3 is missed.
    values = np.array([[3], [2], [1], [0], [2], [5], [1.6], [1.4], [0]], dtype=np.float32)
    label = np.array([1, 1, 0, 0, 1, 1, 0, 1, 0], dtype=bool)
    (score,) = score_labels(Firings.of(values, numbered(4, 5)), {"it": label}, NO_NULL)
    (best,) = score.best
    assert (best.latent, best.threshold, best.chosen_f1) == (0, 1.5, 1.0)
    assert best.precision == pytest.approx(2 / 3)
    assert best.recall == pytest.approx(2 / 3)
    assert best.f1 == pytest.approx(2 / 3)
    assert (score.n_true, score.n_tokens) == (3, 5)
    assert score.always_f1 == pytest.approx(2 * 3 / (5 + 3))


def test_equal_activations_are_never_cut_apart():
    values = np.array([[2], [2], [0], [2], [2], [0]], dtype=np.float32)
    label = np.array([1, 0, 0, 1, 0, 0], dtype=bool)
    (score,) = score_labels(Firings.of(values, numbered(3, 3)), {"it": label}, NO_NULL)
    assert score.best[0].threshold == 1.0
    assert score.best[0].chosen_f1 == pytest.approx(2 / 3)


def naive(values, label, text):
    """Best F1 over all thresholds on the even texts, latent by latent."""
    half = text % 2 == 0
    found = []
    for column in values[half].T:
        fires = [column > at for at in (0, *column[column > 0]) if (column > at).any()]
        scores = [2 * (f & label[half]).sum() / (f.sum() + label[half].sum()) for f in fires]
        found.append(max(scores, default=0.0))
    return np.array(found)


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_the_best_threshold_is_that_of_a_search_through_all(seed):
    rng = np.random.default_rng(seed)
    values = np.maximum(rng.integers(-3, 4, size=(24, 5)), 0).astype(np.float32)
    label, text = rng.random(24) < 0.4, numbered(7, 6, 5, 6)
    found = score_labels(Firings.of(values, text), {"it": label}, NO_NULL)
    expected = naive(values, label, text)
    for score in found:
        for one in score.best:
            assert one.chosen_f1 == pytest.approx(expected[one.latent])
        if score.best:
            assert score.best[0].chosen_f1 == pytest.approx(expected.max())


def planted(seed=0, n_texts=40, length=30, n_latents=200):
    """Noise that fires at random, and latent 17, which fires where the label `planted` holds, 5 % errors."""
    rng = np.random.default_rng(seed)
    text = np.repeat(np.arange(n_texts), length)
    n = len(text)
    values = np.where(rng.random((n, n_latents)) < 0.1, rng.random((n, n_latents)), 0)
    label = np.repeat(rng.random(n // 5) < 0.3, 5)
    values[:, 17] = np.where(label ^ (rng.random(n) < 0.05), 0.5 + rng.random(n), 0)
    noise = np.repeat(rng.random(n // 5) < 0.3, 5)
    return Firings.of(values, text), {"planted": label, "noise": noise}


def test_a_planted_latent_is_found_and_noise_is_told_from_it():
    firings, labels = planted()
    found = {score.label: score for score in score_labels(firings, labels)}
    best = found["planted"].best[0]
    assert best.latent == 17
    assert best.f1 > 0.88
    assert found["planted"].p_value == pytest.approx(1 / 101)
    assert found["planted"].null_f1 < 0.5
    assert found["noise"].p_value > 0.05
    assert found["noise"].best[0].f1 < 0.4


def test_p_values_of_labels_that_mean_nothing_are_spread_out():
    rng, found = np.random.default_rng(1), []
    firings, _ = planted(n_texts=12, n_latents=30)
    for _ in range(30):
        label = rng.random(len(firings.text)) < 0.3
        scores = score_labels(firings, {"noise": label}, LabelOptions(n_permutations=19))
        found.append(scores[0].p_value)
    assert 0.25 < np.mean(found) < 0.75
    assert np.mean(np.array(found) <= 0.1) < 0.3


def test_a_latent_that_follows_positions_alone_is_no_better_than_its_null():
    # The label holds in the later half of each text, for every text alike: what tells positions tells it.
    length, n_texts = 20, 20
    text = np.repeat(np.arange(n_texts), length)
    late = np.tile(np.arange(length) >= 10, n_texts)
    firings = Firings.of(late[:, None].astype(np.float32), text)
    (score,) = score_labels(firings, {"late": late})
    assert score.best[0].f1 == 1.0
    assert score.p_value == 1.0


def test_equal_seeds_give_equal_scores():
    firings, labels = planted(n_texts=8)
    options = LabelOptions(n_permutations=5)
    assert score_labels(firings, labels, options) == score_labels(firings, labels, options)


def test_a_label_that_says_nothing_in_a_half_is_left_out():
    values = np.ones((6, 1), dtype=np.float32)
    labels = {
        "nowhere": np.zeros(6, dtype=bool),
        "everywhere": np.ones(6, dtype=bool),
        "one half": np.array([1, 0, 0, 0, 0, 0], dtype=bool),
    }
    assert score_labels(Firings.of(values, numbered(3, 3)), labels) == ()


def test_latents_that_never_fire_tell_nothing():
    label = np.array([1, 0, 1, 0], dtype=bool)
    firings = Firings.of(np.zeros((4, 3), dtype=np.float32), numbered(2, 2))
    (score,) = score_labels(firings, {"it": label}, LabelOptions(n_permutations=3))
    assert score.best == ()
    assert score.p_value == 1.0


def test_a_latent_that_is_silent_where_it_is_judged_scores_nothing():
    values = np.array([[1], [0], [0], [0]], dtype=np.float32)
    label = np.array([1, 0, 1, 0], dtype=bool)
    (score,) = score_labels(Firings.of(values, numbered(2, 2)), {"it": label}, NO_NULL)
    assert (score.best[0].chosen_f1, score.best[0].f1) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("lengths", "n", "said"), [((4,), 4, "two or more"), ((2, 2), 3, "'it' has 3 truth values")]
)
def test_what_cannot_be_scored_is_refused(lengths, n, said):
    firings = Firings.of(np.ones((4, 1), dtype=np.float32), numbered(*lengths))
    with pytest.raises(DataError, match=said):
        score_labels(firings, {"it": np.arange(n) % 2 == 0})
