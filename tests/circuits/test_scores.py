"""Attention scores by pairs, over all causal families with attention."""

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import TraceOptions
from lmscope.circuits.head_score_building import head_score
from lmscope.circuits.scores import CONSTANT, ScoreTarget, score_pairs
from lmscope.circuits.writers import writers
from lmscope.core.errors import DataError
from lmscope.core.site import Site
from lmscope.models.batch import Batch

PLACES = [(0, 0, 5, 2), (1, 3, 8, 8), (2, 1, 7, 0), (2, 2, -1, 3)]


@pytest.fixture(scope="session")
def read(model, tokens):
    batch = Batch(tokens=torch.tensor([tokens]))
    return model.read(batch, ["scores@*", "pattern@*"])


def before_softcap(model, layer, scores):
    cap = model.weights.attention(layer).softcap
    return scores if cap is None else cap * torch.atanh(scores / cap)


@pytest.mark.parametrize(("layer", "head", "query", "key"), PLACES)
def test_pairs_sum_to_the_score_of_the_model(frozen, model, read, layer, head, query, key):
    found = score_pairs(frozen, layer, head, query, key)
    real = before_softcap(model, layer, read[Site("scores", layer)][0, head, query, key].double())
    assert found.value == pytest.approx(float(real), abs=1e-4)
    assert float(found.pairs.sum()) == pytest.approx(found.value, abs=1e-10)
    assert float(found.query_totals().sum()) == pytest.approx(found.value, abs=1e-10)
    assert float(found.key_totals().sum()) == pytest.approx(found.value, abs=1e-10)


def test_a_contrast_is_the_log_ratio_of_the_attention(frozen, model, read):
    if model.weights.attention(2).softcap is not None:
        with pytest.raises(DataError, match="bends its scores with a softcap"):
            score_pairs(frozen, 2, 1, 8, 4, against=6)
        return
    if model.weights.attention(2).window is not None:
        pytest.skip("the window hides keys; the pattern of hidden keys is 0")
    found = score_pairs(frozen, 2, 1, 8, 4, against=6)
    pattern = read[Site("pattern", 2)][0, 1, 8].double()
    assert found.log_ratio == pytest.approx(float((pattern[4] / pattern[6]).log()), abs=1e-4)
    assert float(found.pairs.sum()) == pytest.approx(found.value, abs=1e-10)


def test_the_bias_of_keys_cancels_in_a_contrast_of_a_model_without_rotation(frozen, model):
    if model.family.name != "gpt2":
        pytest.skip("keys of other families are turned, so their constants differ by position")
    found = score_pairs(frozen, 1, 0, 7, 2, against=5)
    columns = [i for i, name in enumerate(found.keys) if name == CONSTANT]
    assert len(columns) == 2
    assert found.pairs[:, columns].sum(1).abs().max() < 1e-10
    assert found.pairs[:, columns].abs().max() > 1e-3


def test_a_contrast_with_the_mean_takes_the_attended_mean_away(frozen, model, read):
    if model.weights.attention(1).softcap is not None:
        pytest.skip("its scores are bent")
    found = score_pairs(frozen, 1, 2, 6, 3, against="mean")
    scores = read[Site("scores", 1)][0, 2, 6].double()
    pattern = read[Site("pattern", 1)][0, 2, 6].double()
    expected = scores[3] - (pattern[:7] * scores[:7]).sum()
    assert found.value == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("side", ["query", "key", "both"])
@pytest.mark.parametrize(("layer", "head", "query", "key"), PLACES)
def test_a_score_is_traced_by_either_side_without_counting_twice(
    frozen, side, layer, head, query, key
):
    target = ScoreTarget(layer, head, query, key, side)
    whole = score_pairs(frozen, layer, head, query, key)
    for threshold in (0.0, 0.05):
        found = attribute(frozen, target, TraceOptions(threshold=threshold))
        assert found.start.value == pytest.approx(whole.value, abs=1e-10)
        assert found.ledger.total == pytest.approx(whole.value, abs=1e-9)


def test_writers_sum_to_the_stream(frozen):
    for stage in range(len(frozen.stages) + 1):
        for position in (0, 4, 8):
            found = writers(frozen, stage, position)
            torch.testing.assert_close(
                found.vectors.sum(0), frozen.streams[stage][position], atol=1e-10, rtol=0
            )
            assert len(found.names) == len(found.vectors)


def test_pairs_that_lower_the_score_are_among_the_largest(frozen):
    top = score_pairs(frozen, 2, 0, 8, 3).top(40)
    sizes = [abs(value) for _, _, value in top]
    assert sizes == sorted(sizes, reverse=True)
    assert min(value for _, _, value in top) < 0 < max(value for _, _, value in top)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ((9, 0, 3, 1), "There is no head 9.0"),
        ((0, 4, 3, 1), "There is no head 0.4"),
        ((0, 0, 3, 5), "cannot attend to 5"),
        ((0, 0, 30, 5), "There is no position 30"),
    ],
)
def test_what_is_not_there_is_said(frozen, place, said):
    with pytest.raises(DataError, match=said):
        score_pairs(frozen, *place)


@pytest.mark.parametrize("against", [1, "mean"])
@pytest.mark.parametrize("side", ["query", "key", "both"])
def test_a_contrast_is_traced_by_either_side(frozen, model, side, against):
    target = ScoreTarget(1, 2, 6, 3, side, against)
    if model.weights.attention(1).softcap is not None:
        with pytest.raises(DataError, match="bends its scores"):
            target.start(frozen)
        return
    whole = score_pairs(frozen, 1, 2, 6, 3, against)
    found = attribute(frozen, target, TraceOptions(threshold=0.0))
    assert found.start.value == pytest.approx(whole.value, abs=1e-10)
    assert abs(found.ledger.residual) < 1e-10
    other = {1: "less to 1", "mean": "less the mean"}[against]
    assert found.start.name == f"score of head 1.2, 6 to 3 {other} ({side})"


def test_a_score_less_itself_is_refused(frozen):
    with pytest.raises(DataError, match=r"less itself is 0 everywhere|bends its scores"):
        ScoreTarget(1, 2, 6, 3, against=3).start(frozen)


def test_a_contrast_in_plain_values_names_each_writer_once_where_it_stands(frozen, model):
    if model.weights.attention(1).softcap is not None:
        pytest.skip("its scores are bent")
    for against in (1, "mean"):
        pairs = score_pairs(frozen, 1, 2, 6, 3, against)
        found = head_score(frozen, 1, 2, 6, 3, n_top=10**6, against=against)
        names = [name for name, _ in found.key_totals]
        assert len(set(names)) == len(names)
        assert {name.rpartition("@")[2] for name in names} >= {"3", "1"}
        assert sum(value for _, value in found.key_totals) == pytest.approx(found.value, abs=1e-9)
        assert found.rest == pytest.approx(0.0, abs=1e-9)
        by_place = dict.fromkeys(pairs.places, 0.0)
        for place, total in zip(pairs.places, pairs.key_totals().tolist(), strict=True):
            by_place[place] += total
        mine = dict.fromkeys(by_place, 0.0)
        for name, total in found.key_totals:
            mine[int(name.rpartition("@")[2])] += total
        assert mine == pytest.approx(by_place, abs=1e-9)
