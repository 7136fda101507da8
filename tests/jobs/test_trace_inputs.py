"""What a target reads directly: why a feature does not fire, and the pairs of a score."""

import json

import pytest

from lmscope.circuits.exchange.graph_lint import lint_graph
from lmscope.jobs.trace import TraceRecipe, trace
from lmscope.jobs.trace_export import export_graph
from lmscope.jobs.trace_record import load_graph, read_report


@pytest.fixture(scope="module")
def traced(trained, tmp_path_factory):
    """`traced(target)`: the run of one prompt, and its record."""

    def traced(target):
        values = {
            "dictionaries": {"sources": [str(trained.path)], "calibration_tokens": 0},
            "prompts": {"texts": ["the soldier"], "target": target},
            "trace": {"threshold": 0.0},
            "verify": False,
        }
        run = trace(TraceRecipe.from_mapping(values), root=tmp_path_factory.mktemp("inputs"))
        (row,) = read_report(run).traces
        return run, row

    return traced


@pytest.fixture(scope="module")
def silent_and_firing(traced):
    """A feature that does not fire at a position, and one that does."""
    found = {}
    for latent in range(64):
        _, row = traced(f"resid_post@1/{latent}@5")
        found.setdefault(row.why_not.firing.fires, row)
        if len(found) == 2:
            return found[False], found[True]
    pytest.fail("all latents fire, or none does")


def test_inputs_sum_to_the_pre_activation(silent_and_firing):
    for row in silent_and_firing:
        parts = (*row.why_not.lowering, *row.why_not.raising)
        total = sum(one.flow for one in parts) + row.why_not.rest
        assert total == pytest.approx(row.value, rel=1e-5, abs=1e-5)
        assert row.why_not.firing.pre_activation == pytest.approx(row.value, abs=1e-6)


def test_what_lowers_stands_apart_from_what_raises_the_strongest_first(silent_and_firing):
    silent, _ = silent_and_firing
    lowering = [one.flow for one in silent.why_not.lowering]
    raising = [one.flow for one in silent.why_not.raising]
    assert lowering
    assert raising
    assert lowering == sorted(lowering)
    assert raising == sorted(raising, reverse=True)
    assert max(lowering) < 0 < min(raising)


def test_the_encoders_own_constant_is_named(silent_and_firing):
    silent, _ = silent_and_firing
    parts = (*silent.why_not.lowering, *silent.why_not.raising)
    assert any(one.id == "bias:b_enc resid_post@1" for one in parts)


def test_other_targets_have_neither(traced):
    _, row = traced('"e"')
    assert row.why_not is None
    assert row.score is None


@pytest.mark.parametrize(
    "target", ["score 2.0 5->2", "score 2.0 5->2 - 5->3", "score 2.0 5->2 - mean"]
)
def test_a_score_comes_with_its_pairs_and_they_go_into_the_export(traced, tmp_path, target):
    run, row = traced(target)
    score = row.score
    assert score.value == pytest.approx(row.value, rel=1e-4, abs=1e-5)
    assert (score.layer, score.head, score.query, score.key) == (2, 0, 5, 2)
    assert score.against == {"5->3": 3, "mean": "mean"}.get(target.rpartition(" ")[2])
    assert 0 < score.attention < 1
    assert any(value < 0 for _, _, value in score.pairs)
    export_graph(load_graph(run, row.name), row, tmp_path / "mine.json", {})
    written = json.loads((tmp_path / "mine.json").read_text())
    assert not lint_graph(written)
    (node,) = (one for one in written["nodes"] if "qk_tracing_results" in one)
    assert node["node_id"] == written["qParams"]["clickedId"]
    known = {one["node_id"] for one in written["nodes"]} | set(written["qk_only_nodes"])
    pairs = node["qk_tracing_results"]["pair_wise_contributors"]
    assert [value for *_, value in pairs] == [value for *_, value in score.pairs]
    assert all({query, key} <= known for query, key, _ in pairs)
