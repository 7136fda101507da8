"""`lmscope trace` as a person sees it."""

import json

import numpy as np
import pytest
import torch

from lmscope.circuits.graph import Graph, GraphDictionary, GraphMeta, GraphNode
from lmscope.cli.main import main
from lmscope.cli.trace_export import Export
from lmscope.cli.trace_tree import CircuitTree, TreeShape
from lmscope.core.errors import RecipeError
from lmscope.core.feature import FeatureId
from lmscope.dictionaries.config import DictionaryConfig, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.miniature import miniature


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with a `model` and a `dictionary` of its feed-forward output."""
    folder = tmp_path_factory.mktemp("desk")
    model = miniature("llama")
    model.hf.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    config = DictionaryConfig(
        reads=("mlp_out@1",),
        writes=("mlp_out@1",),
        d_read=32,
        d_write=32,
        n_latents=64,
        sparsity=TopK(k=8),
        normalisation="none",
        model=str(folder / "model"),
    )
    dictionary, draw = Dictionary(config), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.2)
    dictionary.save(folder / "dictionary")
    return folder


def run(desk, tmp_path, *words):
    usual = ["--dictionaries", str(desk / "dictionary"), "--calibration-tokens", "0"]
    return main(["trace", *words, *usual, "--runs-dir", str(tmp_path / "runs")])


def test_a_trace_shows_its_ledger_and_its_circuit(desk, tmp_path, capsys):
    assert run(desk, tmp_path, "one two", "--sweep", "--children", "99") == 0
    shown = capsys.readouterr().out
    for words in ("ledger", "residual", "recovered", "mlp_out@1/", "├─", "What other thresholds"):
        assert words in shown


def test_json_holds_target_ledger_nodes_edges_and_faithfulness(desk, tmp_path, capsys):
    assert run(desk, tmp_path, "one two", "--json", "--target", '"e" - " "') == 0
    (row,) = json.loads(capsys.readouterr().out)["traces"]
    assert row["target"] == 'logit "e" - logit " " @7'
    assert abs(row["ledger"]["residual"]) <= row["ledger"]["tolerance"]
    assert len(row["nodes"]) == row["n_nodes"]
    assert len(row["edges"]) == row["n_edges"]
    assert {one["where"] for one in row["faithfulness"]} == {"linear", "real"}


def rows_of(tmp_path, *rows):
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def test_what_prompts_share_is_printed_in_place_of_their_trees(desk, tmp_path, capsys):
    file = rows_of(tmp_path, {"prompt": "one two"}, {"prompt": "one ten"})
    assert run(desk, tmp_path, "--prompts", file, "--together", "--target", '"e"') == 0
    shown = capsys.readouterr().out
    for words in ("overlap", "supernodes", "Nodes that add most", 'token "o"', "over all prompts"):
        assert words in shown
    assert "├─" not in shown


def test_an_option_on_what_prompts_share_asks_for_it(desk, tmp_path, capsys):
    file = rows_of(tmp_path, {"prompt": "one two"}, {"prompt": "one ten"})
    options = ["--match", "position", "--unverified", "--json"]
    assert run(desk, tmp_path, "--prompts", file, *options, "--target", '"e"') == 0
    together = json.loads(capsys.readouterr().out)["together"]
    assert together["circuit"]["options"]["match"] == "position"
    assert together["faithfulness"] == []


def test_shared_nodes_are_named_with_their_position_where_that_counts(desk, tmp_path, capsys):
    file = rows_of(tmp_path, {"prompt": "one two"}, {"prompt": "one ten"})
    options = ["--match", "from_end", "--unverified", "--target", '"e"']
    assert run(desk, tmp_path, "--prompts", file, *options) == 0
    shown = capsys.readouterr().out
    assert "\ntoken  -7 " in shown
    assert "mlp_out@1@-" not in shown


def test_trials_by_several_ablations_are_told_apart(desk, tmp_path, capsys):
    assert run(desk, tmp_path, "one two", "--counterfactual", "one ten", "--target", '"e"') == 0
    shown = capsys.readouterr().out
    assert shown.count("counterfactual") == 4
    assert "by each kind of ablation" in shown


def test_why_a_feature_does_not_fire_is_told(desk, tmp_path, capsys):
    for latent in range(64):
        assert (
            run(desk, tmp_path, "one two", "--target", f"mlp_out@1/{latent}@4", "--unverified") == 0
        )
        shown = capsys.readouterr().out
        if "why not" in shown:
            break
    assert "is missing" in shown
    assert "What keeps it below its threshold" in shown
    assert "constant b_enc mlp_out@1" in shown


def test_where_no_dictionary_stands_that_is_the_reason(desk, tmp_path, capsys):
    assert run(desk, tmp_path, "one two", "--target", "mlp_out@1/3@0", "--unverified") == 0
    assert "no dictionary stands at this position" in capsys.readouterr().out


def test_a_score_is_shown_by_its_pairs(desk, tmp_path, capsys):
    assert run(desk, tmp_path, "one two", "--target", "score 2.0 5->2 - 5->3", "--unverified") == 0
    shown = capsys.readouterr().out
    for words in ("less to 3", "attention", "at the query", "less that of key 3", "more pairs"):
        assert words in shown


@pytest.mark.parametrize("ending", [".graph", ".json", ".graphml"])
def test_a_graph_is_exported_in_the_form_of_its_ending(desk, tmp_path, capsys, ending):
    path = tmp_path / f"mine{ending}"
    assert run(desk, tmp_path, "one two", "--export", str(path)) == 0
    capsys.readouterr()
    if ending == ".graph":
        assert Graph.load(path).meta.prompt == "one two"
    elif ending == ".json":
        assert json.loads(path.read_text())["metadata"]["prompt"] == "one two"
    else:
        assert "<graphml" in path.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["one", "--export", "mine.txt"], "no ending that graphs are written with"),
        (["one", "--export-format", "json"], "--export-format is of --export"),
        (["one", "--target", "score 1"], "is no target"),
        ([], "nothing to trace on"),
        (["one", "--together"], "One prompt shares its circuit with no other"),
        (["one", "--ablate", "counterfactual"], "has no counterfactual"),
        (["one", "--depth", "0"], "--depth is 0"),
        (["one", "--target", "score 2.0 3->1 - 2->1"], "compared for one query"),
    ],
)
def test_what_cannot_be_is_one_sentence(desk, tmp_path, capsys, words, said):
    assert run(desk, tmp_path, *words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["one", "--counterfactual", "three"], "positions must answer"),
        (["one", "--target", "score 2.0 3->1 - 3->1"], "less itself is 0"),
        (["one", "--target", "mlp_out@1/3@9"], "no position 9"),
    ],
)
def test_what_the_model_does_not_have_is_one_sentence(desk, tmp_path, capsys, words, said):
    assert run(desk, tmp_path, *words) == 1
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_several_graphs_for_one_file_are_refused_before_they_are_traced(desk, tmp_path, capsys):
    file = rows_of(tmp_path, {"prompt": "one"}, {"prompt": "two"})
    assert run(desk, tmp_path, "--prompts", file, "--export", str(tmp_path / "one.json")) == 2
    assert "is one file and there are 2 graphs" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_several_graphs_do_not_go_into_one_file(tmp_path):
    export = Export.of(tmp_path / "one.json", None)
    assert export == Export(tmp_path / "one.json", "json", False)
    with pytest.raises(RecipeError, match="folder with --export-format"):
        Export.of(tmp_path / "folder", None)


def graph(n_tokens=2):
    """target <- feature <- tokens, and the target from the last token too."""
    texts = ("<bos>", *"abcdefgh"[: n_tokens - 1])
    nodes = [
        GraphNode(id="target", kind="target", attribution=3.0, position=n_tokens - 1),
        GraphNode(
            id="mlp_out@0/7@1",
            kind="feature",
            attribution=2.0,
            site="mlp_out@0",
            layer=0,
            position=1,
            latent=7,
            activation=4.0,
        ),
    ]
    nodes += [
        GraphNode(id=f"token@{i}", kind="token", attribution=1.0, position=i, token=i)
        for i in range(n_tokens)
    ]
    goals = [0, *[1] * n_tokens, 0]
    sources = [1, *range(2, 2 + n_tokens), 1 + n_tokens]
    flows = [2.0, *[1.0 + i for i in range(n_tokens)], -1.0]
    meta = GraphMeta(
        prompt="a",
        tokens=tuple(range(n_tokens)),
        texts=texts,
        model="m",
        weights_hash="0",
        n_layers=1,
        dictionaries=(
            GraphDictionary(site="mlp_out@0", reads="mlp_out@0", name="mine", n_latents=9),
        ),
        target="logit \x1b[31m",
        value=3.0,
        options={},
        ledger={},
        n_reached=1,
    )
    columns = (np.array(column, dtype=np.int32) for column in (sources, goals))
    return Graph(meta, tuple(nodes), *columns, np.array(flows, dtype=np.float32))


def test_a_tree_shows_what_adds_most_first_with_labels():
    lines = list(CircuitTree(graph(), {FeatureId("mine", 7): "a\x1blabel"}).lines())
    assert lines == [
        "logit ⟨001B⟩[31m = 3",
        '├─ +2  mlp_out@0/7  1 "a"  fires 4  a⟨001B⟩label',
        '│  ├─ +2  token  1 "a"',
        '│  └─ +1  token  0 "<bos>"',
        '└─ -1  token  1 "a"',
    ]


def test_what_a_tree_leaves_out_is_summed_on_one_line():
    lines = list(CircuitTree(graph(6), {}, TreeShape(n_children=2, depth=2)).lines())
    assert "│  └─ +10  4 more tokens" in lines


def test_a_depth_of_one_shows_the_target_alone():
    assert len(list(CircuitTree(graph(6), {}, TreeShape(depth=1)).lines())) == 3
