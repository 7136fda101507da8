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
    ],
)
def test_what_cannot_be_is_one_sentence(desk, tmp_path, capsys, words, said):
    assert run(desk, tmp_path, *words) == 2
    assert said in capsys.readouterr().err


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
