"""What comes with lmscope: the model `garden`, a dictionary at every output of it, and traces without further ado."""

import json

import pytest

from lmscope.circuits.replacement import Replacement
from lmscope.cli.main import main
from lmscope.core import shipped
from lmscope.core.errors import ModelError
from lmscope.core.site import Site
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.evaluation_task import trained_dictionaries
from lmscope.jobs.trace import TraceRecipe, trace
from lmscope.jobs.trace_record import load_graph, read_report
from lmscope.models import store
from lmscope.models.catalog import CATALOG
from lmscope.models.language_model import LanguageModel
from lmscope.runs.run import Run

MOST_BYTES = 15_000_000
RUN = shipped.shipped_run("garden")


@pytest.fixture(scope="module")
def model():
    return LanguageModel.load("garden")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setenv("LMSCOPE_CACHE", str(tmp_path / "empty-cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_of_it_is_small():
    assert sum(path.stat().st_size for path in shipped.ROOT.rglob("*")) < MOST_BYTES


def test_its_weights_are_those_of_the_catalog(model):
    assert model.weights_hash == CATALOG["garden"].weights_hash
    assert store.verify("garden").weights_hash == model.weights_hash


def test_it_names_no_place_of_the_machine_that_trained_it():
    texts = (p for p in shipped.ROOT.rglob("*") if p.suffix in (".json", ".jsonl", ".toml", ".md"))
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert not any(place in text for place in ("/tmp/", "/home/", "/root/", "/work/")), path


def test_every_output_of_a_layer_has_a_dictionary(model):
    found = [Dictionary.load(folder) for folder in trained_dictionaries(RUN).values()]
    assert {one.config.model_hash for one in found} == {model.weights_hash}
    replacement = Replacement(model, found)
    assert replacement.missing() == ()
    assert len(replacement.dictionaries) == 2 * model.n_layers


def test_a_prompt_is_traced_with_nothing_but_a_prompt(desk, capsys):
    assert main(["trace", "The king and the queen went to the", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["traces"]
    assert found["model"] == "garden"
    assert found["missing"] == []
    assert abs(row["ledger"]["residual"]) <= row["ledger"]["tolerance"]
    assert {
        Site.parse(node["site"]).part for node in row["nodes"] if node["kind"] == "feature"
    } == {
        "attn_out",
        "mlp_out",
    }


def test_half_precision_weights_are_computed_with_in_full(desk):
    dictionaries = [Dictionary.load(folder) for folder in trained_dictionaries(RUN).values()]
    assert {str(one.W_dec.dtype) for one in dictionaries} == {"torch.float16"}
    run = trace(TraceRecipe.from_mapping({"prompts": {"texts": ["Once upon a time"]}}), root=desk)
    (row,) = read_report(run).traces
    assert abs(row.ledger["residual"]) < 1e-4 * abs(row.value)
    assert load_graph(run, row.name).meta.tokens


def test_the_run_that_trained_it_goes_by_its_name_wherever_a_run_is_asked_for(desk, capsys):
    assert main(["runs", "show", "garden", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["job"] == "train"
    assert Run.open(RUN).recipe_values["model"]["name"] == "garden"


@pytest.mark.parametrize("command", [["evaluate"], ["atlas", "build"]])
def test_commands_that_take_a_run_or_a_recipe_take_the_run(desk, command):
    assert main([*command, "garden", "--dry-run"]) == 0
    assert main([*command, "scope-garden", "--dry-run"]) == 2


def test_it_cannot_be_removed(desk, capsys):
    assert main(["runs", "rm", "garden"]) != 0
    assert RUN.is_dir()


def test_a_run_of_that_name_comes_first(desk, capsys):
    from lmscope.runs.recipe import Recipe

    with Run.create(desk / "runs", Recipe(job="other", name="own"), name="garden"):
        pass
    assert main(["runs", "show", "garden", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["job"] == "other"


def test_other_models_need_dictionaries_of_their_own(desk, capsys):
    assert main(["trace", "a", "--model", "gpt2"]) == 2
    assert "No dictionary of 'gpt2' was named" in capsys.readouterr().err


def test_a_damaged_package_says_to_install_again(tmp_path, monkeypatch):
    folder = tmp_path / "garden-model"
    folder.mkdir()
    for path in (shipped.ROOT / "garden-model").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "model.safetensors").write_bytes(b"short")
    monkeypatch.setattr(shipped, "ROOT", tmp_path)
    with pytest.raises(ModelError, match="It comes with lmscope: install lmscope again"):
        LanguageModel.load("garden")
