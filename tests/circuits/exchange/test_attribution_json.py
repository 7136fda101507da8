"""Attribution graph JSON: what pages of other tools read is there and means what they take it for."""

import json

import numpy as np
import pytest

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import TraceOptions
from lmscope.circuits.edges import feature_rows
from lmscope.circuits.exchange.attribution_json import (
    Additions,
    AttributionJsonOptions,
    attribution_json,
    direct_weights,
    publish_attribution_json,
    save_attribution_json,
    slug_of,
)
from lmscope.circuits.exchange.graph_lint import lint_graph, lint_graph_file
from lmscope.circuits.exchange.peer_names import PeerNames, cantor, from_cantor
from lmscope.circuits.graph_building import build_graph
from lmscope.circuits.head_score_building import head_score
from lmscope.circuits.influence import cumulative, node_influence
from lmscope.circuits.pruning import PruningOptions, prune
from lmscope.circuits.scores import ScoreTarget, score_pairs
from lmscope.circuits.supernodes import Supernode
from lmscope.circuits.targets import FeatureTarget, LogitTarget
from lmscope.core.errors import ArtifactError, DataError, RecipeError
from lmscope.core.site import Site

OPTIONS = AttributionJsonOptions(slug="toy")
KNOWN = Additions(probability=0.25, target_text=" Paris")


def graph_of(frozen, target, threshold=0.02):
    options = TraceOptions(threshold=threshold)
    found = attribute(frozen, target, options)
    texts = [f"t{token}" for token in frozen.tokens.tolist()]
    return found, build_graph(found, options, prompt="a prompt", texts=texts)


@pytest.fixture(scope="module")
def values(traced):
    return attribution_json(traced, OPTIONS, KNOWN)


def test_a_real_graph_breaks_no_rule(values):
    assert lint_graph(values) == []
    json.dumps(values, allow_nan=False)


def test_every_node_and_every_flow_is_there(values, traced):
    assert len(values["nodes"]) == len(traced)
    assert len(values["links"]) == int((traced.flow != 0).sum())
    kinds = {node["feature_type"] for node in values["nodes"]}
    assert kinds == {
        "logit",
        "cross layer transcoder",
        "embedding",
        "mlp reconstruction error",
        "bias",
    }


def test_layers_are_halves_and_features_are_pairings(values, traced):
    by_id = {node["node_id"]: node for node in values["nodes"]}
    for node in traced.nodes:
        if node.kind != "feature":
            continue
        half = 2 * node.layer + (node.site.startswith("mlp"))
        there = by_id[f"{half}_{node.latent}_{node.position}"]
        assert there["layer"] == str(half)
        assert from_cantor(there["feature"]) == (half, node.latent)
        assert there["ctx_idx"] == node.position
        assert there["activation"] == node.activation
        assert there["jsNodeId"] == f"{half}_{node.latent}-0"


@pytest.mark.parametrize("layer", [0, 1, 7, 63])
@pytest.mark.parametrize("index", [0, 1, 17, 131_071])
def test_pairings_are_taken_apart_again(layer, index):
    assert from_cantor(cantor(layer, index)) == (layer, index)


def test_the_logit_says_its_token_and_its_probability_where_pages_look(values, traced):
    logit = values["nodes"][0]
    assert logit["clerp"] == 'Output " Paris" (p=0.250)'
    assert logit["node_id"] == "7_9_8"  # 2 x 3 layers + 1, token, position
    assert (logit["is_target_logit"], logit["token_prob"], logit["jsNodeId"]) == (
        True,
        0.25,
        "L_9-8",
    )
    assert values["qParams"]["clickedId"] == "7_9_8"


def test_tokens_that_look_like_a_probability_do_not_break_the_label(traced):
    found = attribution_json(traced, OPTIONS, Additions(probability=0.5, target_text='"(p=9)"'))
    assert lint_graph(found) == []
    assert found["nodes"][0]["clerp"].split("(p=")[1] == "0.500)"


def test_influence_is_the_running_share(values, traced):
    expected = cumulative(node_influence(traced))
    for node, there, share in zip(traced.nodes, values["nodes"], expected, strict=True):
        if node.kind in ("target", "bias"):
            assert there["influence"] is None
        else:
            assert there["influence"] == pytest.approx(share)


def test_weights_are_direct_contributions_as_in_circuit_tracer(frozen_llama):
    """Of a feature below to one above: activation times gradient of the pre-activation."""
    found, graph = graph_of(frozen_llama, LogitTarget(9))
    weights = direct_weights(graph)
    names = [node.id for node in graph.nodes]
    links = dict(
        zip(
            zip(graph.source.tolist(), graph.goal.tolist(), strict=True),
            weights.tolist(),
            strict=True,
        )
    )
    checked = 0
    for site, one in found.sites.items():
        kept = one.kept.nonzero().squeeze(-1)
        for chunk, rows in feature_rows(frozen_llama, site, kept):
            for node, tokens in zip(chunk.tolist(), rows.tokens.tolist(), strict=True):
                goal = names.index(
                    f"{site}/{int(one.features.latent[node])}@{int(one.features.position[node])}"
                )
                for position, direct in enumerate(tokens):
                    if direct and f"token@{position}" in names:
                        source = names.index(f"token@{position}")
                        assert links[source, goal] == pytest.approx(direct, rel=1e-4, abs=1e-6)
                        checked += 1
    assert checked > 20


def test_two_dictionaries_of_one_layer_stay_apart(make_graph):
    graph = make_graph(
        {"mlp_out@1/4@3": 1.0, "resid_post@1/4@3": 1.0},
        {("mlp_out@1/4@3", "resid_post@1/4@3"): 1.0, ("resid_post@1/4@3", "target"): 1.0},
    )
    found = attribution_json(graph, OPTIONS, KNOWN)
    assert lint_graph(found) == []
    ids = [n["node_id"] for n in found["nodes"] if n["feature_type"] == "cross layer transcoder"]
    assert ids == ["3_4_3", "3_104_3"]
    assert found["metadata"]["generation_settings"]["half_layers"]["resid_post@1"] == {
        "layer": 3,
        "first_index": 100,
    }


def test_a_graph_of_the_first_attention_layer_alone_is_moved_up(make_graph):
    graph = make_graph({"attn_out@0/4@3": 1.0}, {("attn_out@0/4@3", "target"): 1.0})
    found = attribution_json(graph, OPTIONS, KNOWN)
    assert lint_graph(found) == []
    assert found["nodes"][1]["layer"] == "1"


def test_a_feature_is_a_target_too(frozen_llama):
    _, graph = graph_of(frozen_llama, FeatureTarget(Site("attn_out", 2), 6, 3))
    found = attribution_json(graph, OPTIONS)
    assert lint_graph(found) == []
    assert found["nodes"][0]["node_id"] == "4_3_6"
    assert found["nodes"][0]["activation"] == pytest.approx(graph.meta.value)


def test_a_score_is_a_target_too(frozen_llama):
    _, graph = graph_of(frozen_llama, ScoreTarget(2, 1, 6, 3))
    found = attribution_json(graph, OPTIONS)
    assert lint_graph(found) == []
    assert found["nodes"][0]["feature_type"] == "unknown"
    assert found["nodes"][0]["clerp"].startswith("score of head 2.1")


def test_the_probability_of_a_logit_must_be_given(traced):
    with pytest.raises(DataError, match="probability of a logit"):
        attribution_json(traced, OPTIONS)


def test_constants_say_what_they_add_and_have_no_links(values, traced):
    biases = {node["node_id"] for node in values["nodes"] if node["feature_type"] == "bias"}
    assert len(biases) == sum(node.kind == "bias" for node in traced.nodes) > 5
    assert not any(link["source"] in biases for link in values["links"])
    without = attribution_json(traced, AttributionJsonOptions(slug="toy", biases=False), KNOWN)
    assert len(without["nodes"]) == len(values["nodes"]) - len(biases)
    assert without["links"] == values["links"]


def test_labels_and_groups_reach_the_page(make_graph):
    graph = make_graph(
        {"mlp_out@1/4@3": 1.0, "mlp_out@2/5@3": 1.0, "token@1": 1.0},
        {("mlp_out@1/4@3", "target"): 1.0, ("mlp_out@2/5@3", "target"): 1.0},
    )
    more = Additions(
        probability=1.0,
        labels={"mlp_out@1/4@3": "cities"},
        supernodes=[Supernode("places", ("mlp_out@1/4@3", "mlp_out@2/5@3"), 2.0, 1.0)],
        pinned=["token@1"],
    )
    found = attribution_json(graph, OPTIONS, more)
    assert lint_graph(found) == []
    assert found["nodes"][1]["clerp"] == "cities"
    assert found["qParams"]["supernodes"] == [["places", "3_4_3", "5_5_3"]]
    assert found["qParams"]["pinnedIds"] == ["E_7_1", "3_4_3", "5_5_3"]
    with pytest.raises(DataError, match="no node of the graph"):
        attribution_json(graph, OPTIONS, Additions(probability=1.0, pinned=["token@2"]))


def test_scores_are_shown_with_all_their_ends(frozen_llama):
    _, graph = graph_of(frozen_llama, LogitTarget(9))
    score = head_score(frozen_llama, 2, 1, 6, 3)
    found = attribution_json(graph, OPTIONS, Additions(probability=0.5, scores={"target": score}))
    assert lint_graph(found) == []
    shown = found["nodes"][0]["qk_tracing_results"]
    assert len(shown["pair_wise_contributors"]) == len(score.pairs) == 20
    ends = {end for row in shown["pair_wise_contributors"] for end in row[:2]}
    known = {node["node_id"] for node in found["nodes"]}
    assert ends - known == (ends & set(found["qk_only_nodes"])) - known
    assert any(end.startswith("E_") for end in ends | known)


def test_the_pairs_that_are_shown_and_the_rest_are_the_score(frozen_llama):
    score = head_score(frozen_llama, 2, 1, 6, 3, n_top=7)
    shown = sum(value for _, _, value in score.pairs)
    assert shown + score.rest == pytest.approx(score.value)
    every = head_score(frozen_llama, 2, 1, 6, 3, n_top=10**6)
    assert len(every.pairs) == every.n_pairs
    assert every.rest == pytest.approx(0.0, abs=1e-9)
    assert sum(v for _, v in every.query_totals) == pytest.approx(every.value)
    assert sum(v for _, v in every.key_totals) == pytest.approx(every.value)
    json.dumps(every.to_mapping(), allow_nan=False)


def test_pairs_keep_their_writers(frozen_llama):
    score = head_score(frozen_llama, 2, 1, 6, 3, n_top=30)
    for shown, (query, key, value) in zip(
        score.pairs, score_pairs(frozen_llama, 2, 1, 6, 3).top(30), strict=True
    ):
        assert shown[2] == value
        for name, writer, position in ((shown[0], query, 6), (shown[1], key, 3)):
            assert name.endswith(f"@{position}")
            assert (writer.kind == "feature") == ("/" in name)
            assert writer.kind != "feature" or name == f"{writer}@{position}"


HOSTILE = "<img src=x onerror=alert(1)>\u202e\x1b]0;x\x07\0"


def test_hostile_texts_open_no_tag_and_hide_nothing(make_graph):
    graph = make_graph(
        {"mlp_out@1/4@3": 1.0},
        {("mlp_out@1/4@3", "target"): 1.0},
        texts=(HOSTILE, "</script>", '"', "\ud800"),
        prompt=HOSTILE + "\ud800",
        model="../evil model",
    )
    more = Additions(
        probability=1.0,
        target_text=HOSTILE,
        labels={"mlp_out@1/4@3": HOSTILE},
        supernodes=[Supernode(HOSTILE, ("mlp_out@1/4@3",), 1.0, 1.0)],
    )
    found = attribution_json(graph, OPTIONS, more)
    assert lint_graph(found) == []
    shown = [node["clerp"] for node in found["nodes"]] + found["metadata"]["prompt_tokens"]
    shown += [group[0] for group in found["qParams"]["supernodes"]]
    for text in shown:
        assert not set(text) & set("<>\u202e\x1b\x07\0")
    assert "\0" not in found["metadata"]["prompt"]
    assert found["metadata"]["scan"] == "evil-model"
    json.dumps(found).encode("utf-8")


def test_files_are_written_whole_listed_once_and_equal(traced, tmp_path):
    path = publish_attribution_json(traced, tmp_path / "graphs", OPTIONS, KNOWN)
    publish_attribution_json(traced, tmp_path / "graphs", OPTIONS, KNOWN)
    other = AttributionJsonOptions(slug="other", scan="gemma-2-2b")
    publish_attribution_json(traced, tmp_path / "graphs", other, KNOWN)
    listed = json.loads((tmp_path / "graphs" / "graph-metadata.json").read_text())["graphs"]
    assert [one["slug"] for one in listed] == ["toy", "other"]
    assert listed[1]["scan"] == "gemma-2-2b"
    single = save_attribution_json(traced, tmp_path / "one.json", OPTIONS, KNOWN)
    assert single.read_bytes() == path.read_bytes()
    assert lint_graph_file(path) == []


def test_a_damaged_list_is_refused_and_stays(traced, tmp_path):
    (tmp_path / "graph-metadata.json").write_text("[]")
    with pytest.raises(ArtifactError, match="is no list of graphs"):
        publish_attribution_json(traced, tmp_path, OPTIONS, KNOWN)
    assert not (tmp_path / "toy.json").exists()


def test_a_graph_that_no_page_opens_is_not_written(make_graph, tmp_path):
    bare = make_graph({"token@1": 1.0}, {("token@1", "target"): 1.0})
    with pytest.raises(ArtifactError, match="No node but logits lies above layer 0"):
        save_attribution_json(
            bare, tmp_path / "bare.json", OPTIONS, Additions(probability=1.0, target_text="x")
        )
    assert not (tmp_path / "bare.json").exists()


def test_names_that_saving_refuses_are_refused_at_once():
    with pytest.raises(RecipeError):
        AttributionJsonOptions.from_mapping({"slug": "a b"})
    with pytest.raises(RecipeError):
        AttributionJsonOptions.from_mapping({"slug": "a", "feature_url": "http://plain"})
    assert slug_of("Die Hauptstadt: <b>") == "Die-Hauptstadt-b"
    assert slug_of("\u4e2d\u6587") == "graph"


def test_ids_that_are_none_are_refused(traced):
    with pytest.raises(DataError, match="no id of a node"):
        PeerNames(traced).of("whatever")


def test_pruned_graphs_say_so(traced):
    small = prune(traced, PruningOptions(node_share=0.8, edge_share=0.98))
    found = attribution_json(small, OPTIONS, KNOWN)
    assert lint_graph(found) == []
    assert found["metadata"]["pruning_settings"] == {"node_threshold": 0.8, "edge_threshold": 0.98}
    assert np.isfinite(direct_weights(small)).all()
