"""The circuit that many prompts share, as a run leaves it."""

import json

import numpy as np
import pytest

from lmscope.circuits.exchange.graph_lint import lint_graph
from lmscope.circuits.node_keys import node_key
from lmscope.circuits.supernodes import coactivation
from lmscope.core.errors import LmscopeError, RecipeError
from lmscope.jobs.trace import TraceRecipe, plan_trace, trace
from lmscope.jobs.trace_export import export_graph
from lmscope.jobs.trace_record import load_graph, read_report, read_together
from lmscope.jobs.trace_together import groups_of
from lmscope.jobs.trace_trials import shared_trials

TEXTS = ["the soldier", "the sailor", "the stone"]


@pytest.fixture(scope="module")
def asked(trained):
    def asked(**changes):
        values = {
            "dictionaries": {"sources": [str(trained.path)], "calibration_tokens": 0},
            "prompts": {"texts": TEXTS, "target": '"e"'},
            "trace": {"threshold": 0.0},
            "together": {"wanted": True},
        }
        return TraceRecipe.from_mapping({**values, **changes})

    return asked


@pytest.fixture(scope="module")
def done(asked, tmp_path_factory):
    return trace(asked(), root=tmp_path_factory.mktemp("together"))


def graphs_of(run):
    return [load_graph(run, one.name) for one in read_report(run).traces]


def test_shared_nodes_are_those_in_half_of_the_prompts_with_their_mean_share(done):
    values, graphs = read_together(done), graphs_of(done)
    shares = {}
    for graph in graphs:
        for node in graph.nodes[1:]:
            key = node_key(node, "latent", len(graph.meta.tokens))
            own = shares.setdefault(key, {})
            own[id(graph)] = own.get(id(graph), 0.0) + node.attribution / graph.meta.value
    expected = {key: sum(own.values()) / 3 for key, own in shares.items() if len(own) >= 2}
    found = {node["key"]: node["attribution"]["value"] for node in values["circuit"]["nodes"]}
    assert found == pytest.approx(expected, rel=1e-6)
    assert {node["stability"] for node in values["circuit"]["nodes"]} <= {2 / 3, 1.0}
    assert all(
        node["attribution"]["low"] <= node["attribution"]["high"]
        for node in values["circuit"]["nodes"]
    )


def test_tokens_are_called_by_their_texts(done):
    values = read_together(done)
    tokens = [node["key"] for node in values["circuit"]["nodes"] if node["kind"] == "token"]
    assert {values["texts"][key] for key in tokens} >= {"t", "h", "e", " ", "s"}


def test_supernodes_fire_together(done):
    values, graphs = read_together(done), graphs_of(done)
    assert values["supernodes"]
    for one in values["supernodes"]:
        rows = {key: [] for key in one["members"]}
        for graph in graphs:
            for position in range(len(graph.meta.tokens)):
                at = {
                    node_key(node, "latent", 0): node.activation
                    for node in graph.nodes
                    if node.kind == "feature" and node.position == position
                }
                for key, row in rows.items():
                    row.append(at.get(key, 0.0))
        alike = coactivation(np.array(list(rows.values())))
        assert alike[np.triu_indices(len(rows), 1)].mean() == pytest.approx(one["similarity"])
        assert one["similarity"] >= 0.7 - 1e-9


def test_supernodes_by_what_features_write_come_from_the_dictionary(asked, tmp_path):
    together = {"wanted": True, "group_by": "decoder", "supernodes": {"least": 0.1}}
    values = read_together(trace(asked(together=together), root=tmp_path))
    assert values["group_by"] == "decoder"
    assert all(one["similarity"] >= 0.1 - 1e-9 for one in values["supernodes"])


def test_what_is_in_few_prompts_is_left_out_whatever_else_is_asked():
    recipe = TraceRecipe.from_mapping({"together": {"aggregation": {"match": "position"}}})
    assert recipe.together.aggregation.least_stability == 0.5


@pytest.mark.parametrize("match", ["position", "from_end"])
def test_nodes_can_be_matched_by_position(asked, tmp_path, match):
    together = {"wanted": True, "aggregation": {"match": match, "least_stability": 0.0}}
    values = read_together(trace(asked(together=together, verify=False), root=tmp_path))
    keys = [node["key"] for node in values["circuit"]["nodes"] if node["kind"] == "feature"]
    assert keys
    assert all(key.rpartition("@")[2].lstrip("-").isdigit() for key in keys)
    assert all((("@-" in key) == (match == "from_end")) for key in keys)


def test_trials_of_all_prompts_are_one_row_a_kind_with_an_interval(done):
    rows = read_together(done)["faithfulness"]
    assert [(one["ablation"], one["where"], one["errors"]) for one in rows] == [
        ("zero", "linear", "kept"),
        ("zero", "linear", "removed"),
        ("zero", "real", "kept"),
        ("zero", "real", "removed"),
    ]
    of_prompts = [one.faithfulness[2] for one in read_report(done).traces]
    weights = [abs(one.full - one.empty) for one in of_prompts]
    expected = np.average([one.faithfulness for one in of_prompts], weights=weights)
    assert rows[2]["faithfulness"]["value"] == pytest.approx(expected)
    assert rows[2]["faithfulness"]["low"] <= expected <= rows[2]["faithfulness"]["high"]


def test_no_trial_at_all_is_no_row():
    assert shared_trials([[], []], read_options(), 0) == []


def read_options():
    return TraceRecipe().together.aggregation.bootstrap


def test_the_supernodes_are_drawn_together_in_a_prompts_export(done, tmp_path):
    values = read_together(done)
    record = read_report(done).traces[0]
    graph = load_graph(done, record.name)
    groups = groups_of(graph, values)
    assert groups
    ids = {node.id for node in graph.nodes}
    assert all(set(one.members) <= ids and len(one.members) > 1 for one in groups)
    export_graph(graph, record, tmp_path / "mine.json", {}, groups)
    written = json.loads((tmp_path / "mine.json").read_text())
    assert [row[0] for row in written["qParams"]["supernodes"]] == [one.name for one in groups]
    assert not lint_graph(written)


def test_equal_recipes_leave_an_equal_aggregate(asked, done, tmp_path):
    again = trace(asked(), root=tmp_path)
    name = "artifacts/aggregate.json"
    assert (again.path / name).read_bytes() == (done.path / name).read_bytes()


def test_a_run_without_it_has_none(asked, tmp_path):
    run = trace(asked(together={}, verify=False), root=tmp_path)
    assert read_together(run) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompts": {"texts": ["one"]}}, "One prompt shares its circuit with no other"),
        ({"together": {"wanted": True, "group_by": "label"}}, "none are given"),
        ({"together": {"wanted": True, "aggregation": {"match": "text"}}}, "match"),
        ({"together": {"wanted": True, "aggregation": {"least_stability": 2}}}, "least_stability"),
    ],
)
def test_what_cannot_be_put_together_is_told_before_anything_is_read(asked, changes, words):
    with pytest.raises(LmscopeError, match=words):
        plan_trace(asked(**changes))


def test_a_damaged_aggregate_is_told(done, tmp_path):
    path = done.artifacts / "aggregate.json"
    before = path.read_bytes()
    path.write_text("{")
    try:
        with pytest.raises(LmscopeError, match="is damaged"):
            read_together(done)
    finally:
        path.write_bytes(before)


def test_grouping_by_labels_needs_an_atlas(asked):
    with pytest.raises(RecipeError, match="name an atlas with --labels"):
        plan_trace(asked(together={"wanted": True, "group_by": "label"}))
