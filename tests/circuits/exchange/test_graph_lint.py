"""The lint: each rule is found broken when it is, and only then."""

import copy

import pytest

from lmscope.circuits.exchange.attribution_json import (
    Additions,
    AttributionJsonOptions,
    attribution_json,
)
from lmscope.circuits.exchange.graph_lint import lint_graph, lint_graph_file
from lmscope.circuits.exchange.peer_names import cantor
from lmscope.circuits.supernodes import Supernode
from lmscope.core.errors import ArtifactError


@pytest.fixture
def good(make_graph):
    graph = make_graph(
        {"attn_out@1/4@3": 1.0, "mlp_out@1/4@3": 1.0, "error:mlp_out@1@3": 0.1, "token@1": 1.0},
        {
            ("token@1", "attn_out@1/4@3"): 1.0,
            ("attn_out@1/4@3", "mlp_out@1/4@3"): 1.0,
            ("mlp_out@1/4@3", "target"): 1.0,
            ("error:mlp_out@1@3", "target"): 0.1,
        },
        target={"token": 5, "position": 3},
    )
    groups = [Supernode("both", ("attn_out@1/4@3", "mlp_out@1/4@3"), 2.0, 1.0)]
    more = Additions(probability=0.5, target_text="x", supernodes=groups)
    return attribution_json(graph, AttributionJsonOptions(slug="good"), more)


def at(graph, index, **fields):
    graph["nodes"][index].update(fields)


def scores(rows):
    return {
        "pair_wise_contributors": rows,
        "top_q_marginal_contributors": [],
        "top_k_marginal_contributors": [],
    }


BREAKS = {
    "slug 'a b' has other characters": lambda g: g["metadata"].update(slug="a b"),
    "scan 'x/y' has other characters": lambda g: g["metadata"].update(scan="x/y"),
    "schema_version is None": lambda g: g["metadata"].pop("schema_version"),
    "does not begin with https://": lambda g: g["metadata"].update(
        feature_details={"feature_json_base_url": "http://a"}
    ),
    "is there twice, and links": lambda g: at(
        g, 1, node_id="3_4_3", layer="3", feature=cantor(3, 4)
    ),
    "take them for one": lambda g: at(g, 1, layer="3", feature=cantor(3, 4)),
    "no page knows the feature_type": lambda g: at(g, 1, feature_type="neuron"),
    "outside the prompt's 4 tokens": lambda g: at(g, 1, ctx_idx=4),
    "is not the pairing of layer 2": lambda g: at(g, 1, feature=4),
    "feature None is not the pairing": lambda g: at(g, 1, feature=None),
    "is too large for a page": lambda g: at(g, 1, feature=cantor(2, 10**8)),
    "three whole numbers": lambda g: (
        at(g, 1, node_id="L2_4_3"),
        g["links"].clear(),
        g["qParams"].clear(),
    ),
    "ends in one '(p=0.123)'": lambda g: at(g, 0, clerp='Output "x"'),
    "which pages read; it is 'Output": lambda g: at(g, 0, clerp='Output "(p=x" (p=0.5)'),
    "is no share from 0 to 1": lambda g: at(g, 1, influence=1.5),
    "activation nan is no number": lambda g: at(g, 1, activation=float("nan")),
    "the running share": lambda g: [
        at(g, i, influence=0.01) for i, n in enumerate(g["nodes"]) if n["influence"] is not None
    ],
    "'No layer found'": lambda g: [at(g, i, layer="0", feature=cantor(0, i)) for i in range(1, 4)],
    "dropped without a word": lambda g: g["links"][0].update(source="E_0_0"),
    "is there twice.": lambda g: g["links"].append(dict(g["links"][0])),
    "weighs inf": lambda g: g["links"][0].update(weight=float("inf")),
    "is pinned or grouped and is no node": lambda g: g["qParams"]["pinnedIds"].append("9_9_9"),
    "so it is not drawn": lambda g: g["qParams"]["pinnedIds"].clear(),
    "a supernode is a list": lambda g: g["qParams"].update(supernodes=["both"]),
    "is in neither nodes nor qk_only_nodes": lambda g: at(
        g, 1, qk_tracing_results=scores([["3_4_3", "9_9_9", 1.0]])
    ),
    "is a list of 3 values a row": lambda g: at(g, 1, qk_tracing_results=scores([["3_4_3", 1.0]])),
    "is a node already": lambda g: g.update(qk_only_nodes={"3_4_3": {"node_id": "3_4_3"}}),
    "the clerp holds a tag": lambda g: at(g, 1, clerp="<b>"),
    "Token 1 holds a tag": lambda g: g["metadata"]["prompt_tokens"].__setitem__(1, "</b>"),
    "metadata: 'slug' is missing": lambda g: g["metadata"].pop("slug"),
    "the graph: 'links' is missing": lambda g: g.pop("links"),
    "'clerp' is 'None', which has the wrong type": lambda g: at(g, 1, clerp=None),
    "'layer' is 1.5": lambda g: at(g, 1, layer=1.5),
    "'feature' is 'a'": lambda g: at(g, 1, feature="a"),
    "link 0: 'weight' is missing": lambda g: g["links"][0].pop("weight"),
    "Node 0 is no object": lambda g: g["nodes"].__setitem__(0, 3),
    "prompt_tokens holds something": lambda g: g["metadata"]["prompt_tokens"].__setitem__(1, 3),
}


def test_what_is_exported_breaks_nothing(good):
    assert lint_graph(good) == []


@pytest.mark.parametrize("said", BREAKS)
def test_each_broken_rule_is_one_sentence(good, said):
    broken = copy.deepcopy(good)
    BREAKS[said](broken)
    found = lint_graph(broken)
    assert any(said in finding for finding in found), found
    assert all("\n" not in finding and finding.endswith(".") for finding in found)


def test_findings_have_an_end(good):
    good["links"] += [{"source": f"1_{i}_1", "target": "x", "weight": 1.0} for i in range(500)]
    assert len(lint_graph(good)) == 100


def test_the_error_ids_of_circuit_tracer_collide_and_are_found(good):
    """Its errors are 0_LAYER_POSITION, which is latent LAYER of layer 0 as well."""
    at(good, 1, node_id="0_1_3", layer="0", feature=cantor(0, 1))
    at(good, 3, node_id="0_1_3")
    assert any("'0_1_3' is there twice" in finding for finding in lint_graph(good))


def test_files_that_are_no_graph_are_told(tmp_path):
    (tmp_path / "a.json").write_text("{")
    assert "is no JSON" in lint_graph_file(tmp_path / "a.json")[0]
    (tmp_path / "b.json").write_text("[]")
    assert lint_graph_file(tmp_path / "b.json") == ["The file holds no object."]
    with pytest.raises(ArtifactError, match="cannot be read"):
        lint_graph_file(tmp_path / "none.json")
