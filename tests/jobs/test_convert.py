"""Conversion of dictionaries: one, a tree, a run, a set; bit for bit where the formats allow it."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmscope.cli.main import main
from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, JumpReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.formats.format import Given
from lmscope.jobs.convert import Conversion, compare, convert, describe_formats


def random_dictionary(sparsity, *, writes="mlp_out@3", reads="mlp_in@3", scale=1.0, n_latents=24):
    config = DictionaryConfig(
        reads=(reads,),
        writes=(writes,),
        d_read=6,
        d_write=6,
        n_latents=n_latents,
        sparsity=sparsity,
    )
    dictionary = Dictionary(config)
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g))
        if isinstance(sparsity, JumpReLU):
            dictionary.threshold.copy_(torch.rand(n_latents, generator=g))
        dictionary.scale_in.fill_(scale)
        dictionary.scale_out.fill_(scale)
    return dictionary.requires_grad_(False)


def equal(a, b):
    first, second = a.state_dict(), b.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def run(tmp_path):
    """`run(source, target, **options)` on names under one folder."""

    def run(source, target, **options):
        return convert(Conversion(str(tmp_path / source), tmp_path / target, **options))

    return run


@pytest.fixture
def llama_scope(tmp_path):
    """One folder of Llama Scope v1 under a name of the release."""

    def make(path, layer=15):
        folder = tmp_path / path
        (folder / "checkpoints").mkdir(parents=True)
        hook = f"blocks.{layer}.hook_resid_post"
        values = {
            "hook_point_in": hook,
            "hook_point_out": hook,
            "use_decoder_bias": True,
            "apply_decoder_bias_to_pre_encoder": False,
            "d_model": 6,
            "d_sae": 24,
            "act_fn": "jumprelu",
            "jump_relu_threshold": 0.3,
            "norm_activation": "dataset-wise",
            "dataset_average_activation_norm": {"in": 5.0, "out": 5.0},
            "sparsity_include_decoder_norm": True,
            "use_glu_encoder": False,
            "top_k": 50,
        }
        (folder / "hyperparams.json").write_text(json.dumps(values))
        g = torch.Generator().manual_seed(layer)
        shapes = {"encoder.weight": (24, 6), "encoder.bias": (24,), "decoder.weight": (6, 24)}
        shapes["decoder.bias"] = (6,)
        tensors = {n: torch.randn(s, generator=g).bfloat16() for n, s in shapes.items()}
        save_file(tensors, folder / "checkpoints/final.safetensors")
        return folder

    return make


@pytest.mark.parametrize("other", ["sae-lens", "circuit-tracer"])
def test_a_folded_dictionary_comes_back_bit_equal(run, tmp_path, other):
    dictionary = random_dictionary(JumpReLU()).fold()
    dictionary.save(tmp_path / "native")
    (there,) = run("native", "there", to_format=other, check=True)
    (back,) = run("there", "back", check=True)
    equal(Dictionary.load(tmp_path / "back"), dictionary)
    assert (there.from_format, there.to_format, back.from_format) == ("lmscope", other, other)
    assert there.check.max_difference == back.check.max_difference == 0
    assert there.check.firing_difference == 0
    assert there.n_bytes > 2 * 24 * 6 * 4


def test_from_one_foreign_format_straight_to_another(run, llama_scope, tmp_path):
    llama_scope("Llama3_1-8B-Base-L15R-8x")
    (one,) = run("Llama3_1-8B-Base-L15R-8x", "lens", to_format="sae-lens", check=True)
    assert one.check.max_difference == 0
    assert (one.reads, one.model, one.sparsity) == (
        "resid_post@15",
        "meta-llama/Llama-3.1-8B",
        "jumprelu",
    )
    assert any("authors' order" in note for note in one.notes)
    assert (tmp_path / "lens/cfg.json").is_file()


def test_a_whole_release_is_converted_folder_by_folder(run, llama_scope, tmp_path):
    for layer in (0, 1):
        llama_scope(f"LXR-8x/Llama3_1-8B-Base-L{layer}R-8x", layer)
    done = run("LXR-8x", "out", dtype="bfloat16")
    assert [one.name for one in done] == ["Llama3_1-8B-Base-L0R-8x", "Llama3_1-8B-Base-L1R-8x"]
    for layer, one in enumerate(done):
        read = Dictionary.load(one.path)
        assert read.config.reads == (f"resid_post@{layer}",)
        assert read.W_enc.dtype == torch.bfloat16


def test_a_set_is_written_as_one_and_read_layer_by_layer(run, tmp_path):
    for layer in range(3):
        at = {"reads": f"mlp_in@{layer}", "writes": f"mlp_out@{layer}"}
        random_dictionary(JumpReLU(), **at).fold().save(tmp_path / f"tree/n{layer}")
    done = run("tree", "set", to_format="circuit-tracer", check=True)
    assert {one.check.max_difference for one in done} == {0.0}
    assert sorted(p.name for p in (tmp_path / "set").glob("*.safetensors")) == [
        f"layer_{layer}.safetensors" for layer in range(3)
    ]
    back = run("set", "back")
    assert [one.path.name for one in back] == ["layer_0", "layer_1", "layer_2"]
    equal(Dictionary.load(back[1].path), Dictionary.load(tmp_path / "tree/n1"))
    moved = run("set", "moved", given=Given("mlp_norm@*", "mlp_out@*"))
    assert [one.reads for one in moved] == ["mlp_norm@0", "mlp_norm@1", "mlp_norm@2"]


def test_folders_for_sparsify_are_named_by_module(run, tmp_path):
    for layer in (3, 4):
        at = {"reads": f"resid_post@{layer}", "writes": f"resid_post@{layer}"}
        random_dictionary(TopK(k=4), **at).fold().save(tmp_path / f"tree/{layer}")
    done = run("tree", "out", to_format="sparsify", check=True)
    assert [one.path.name for one in done] == ["layers.3", "layers.4"]
    assert all(one.check.max_difference < 1e-3 * one.check.max_output for one in done)


def test_a_run_gives_its_dictionaries_with_figures_on_their_cards(trained, tmp_path):
    (one,) = convert(Conversion(str(trained.path), tmp_path / "out"))
    card = (one.path / "README.md").read_text()
    assert "| Explained variance, centred |" in card
    assert "text.jsonl" in card
    equal(
        Dictionary.load(one.path),
        Dictionary.load(trained.artifacts / "dictionaries" / one.path.name),
    )


def test_the_check_sees_a_difference(tmp_path):
    one = random_dictionary(JumpReLU())
    assert compare(one, one)[1:] == (0.0, compare(one, one).max_output, 0.0)
    other = Dictionary.from_tensors(one.config, {n: t.clone() for n, t in one.state_dict().items()})
    other.threshold.mul_(3)
    seen = compare(one, other)
    assert seen.max_difference > 0
    assert 0 < seen.firing_difference < 1
    expected = math.sqrt(one.config.d_read)  # the largest inputs have a scale of 100
    assert seen.max_output > expected


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"to_format": "gemma-scope"}, RecipeError, "is read but not written; lmscope, sae-lens"),
        ({"to_format": "saelens"}, RecipeError, "Did you mean sae-lens"),
        ({"from_format": "gemma-scop"}, RecipeError, "Did you mean gemma-scope"),
        ({"from_format": "llama-scope"}, ArtifactError, r"hyperparams\.json' is missing"),
        ({"given": Given("resid_pots@3")}, RecipeError, "--reads is wrong: No part"),
        ({"to_format": "sparsify"}, ArtifactError, "sparsify"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(
    run, tmp_path, options, error, message
):
    random_dictionary(JumpReLU()).save(tmp_path / "native")
    with pytest.raises(error, match=message) as caught:
        run("native", "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_there_is_never_touched(run, tmp_path):
    random_dictionary(JumpReLU()).save(tmp_path / "native")
    (tmp_path / "out").mkdir()
    with pytest.raises(ArtifactError, match="out' exists already"):
        run("native", "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_source_that_is_not_there_is_not_looked_for_on_the_hub(tmp_path):
    with pytest.raises(ArtifactError, match="on the hub begins with hf:"):
        convert(Conversion("runs/nothing", tmp_path / "out"))


def test_one_site_is_not_that_of_many(run, tmp_path):
    for name in ("a", "b"):
        random_dictionary(JumpReLU()).save(tmp_path / "tree" / name)
    with pytest.raises(RecipeError, match=r"2 dictionaries were found \(a, b"):
        run("tree", "out", given=Given("mlp_in@1"))


def test_a_newer_format_asks_for_a_newer_lmscope(run, tmp_path):
    folder = tmp_path / "native"
    random_dictionary(JumpReLU()).save(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(ArtifactError, match=r"format 99.*upgrade lmscope"):
        run("native", "out")


def test_half_downloaded_weights_are_one_sentence(run, llama_scope, tmp_path):
    path = llama_scope("one") / "checkpoints/final.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ArtifactError, match="only half downloaded"):
        run("one", "out")


def test_a_dictionary_that_needs_a_threshold_is_not_exported_without_one(run, tmp_path):
    random_dictionary(BatchTopK(k=3)).save(tmp_path / "native")
    with pytest.raises(ArtifactError, match="calibrate_threshold"):
        run("native", "out", to_format="sae-lens")


def test_the_command_prints_a_table_with_the_convention(llama_scope, tmp_path, capsys):
    folder = llama_scope("Llama3_1-8B-Base-L15R-8x")
    assert main(["convert", str(folder), str(tmp_path / "out"), "--check"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("llama-scope -> lmscope, ")
    assert "resid_post@15" in shown
    assert "- The weights were folded in the authors' order" in shown
    assert Dictionary.load(tmp_path / "out").config.n_latents == 24


def test_the_command_prints_json(llama_scope, tmp_path, capsys):
    folder = llama_scope("one")
    words = ["--to", "sae-lens", "--model", "m", "--check", "--json"]
    assert main(["convert", str(folder), str(tmp_path / "out"), *words]) == 0
    (one,) = json.loads(capsys.readouterr().out)["dictionaries"]
    assert (one["to_format"], one["model"], one["name"]) == ("sae-lens", "m", ".")
    assert one["check"]["max_difference"] == 0
    assert load_file(tmp_path / "out/sae_weights.safetensors")["W_enc"].shape == (6, 24)


def test_the_command_lists_formats_with_their_conventions(capsys):
    assert main(["convert", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["formats"] == describe_formats()
    assert main(["convert", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(one["name"] in shown for one in describe_formats())
    written = {one["name"] for one in describe_formats() if one["writes"]}
    assert written == {"lmscope", "sae-lens", "sparsify", "circuit-tracer"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "There is nothing to convert"),
        (["absent", "out"], 1, "There is nothing at 'absent'"),
        (["empty", "out"], 1, "holds no dictionary of a known format"),
        (["empty", "out", "--to", "saelens"], 2, "Did you mean sae-lens"),
        (["empty", "empty"], 1, "exists already"),
    ],
)
def test_a_usage_error_is_one_sentence(words, code, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["convert", *words]) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    shutil.rmtree(tmp_path / "empty")
    assert list(tmp_path.iterdir()) == []
