import json
import math
import re
from itertools import product

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.dictionaries.config import BatchTopK, JumpReLU, ReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.formats.format import Given, WritableFormat
from lmscope.dictionaries.formats.sae_lens import FORMAT

D, N, OUT = 6, 20, 4
HERE = Given(reads="resid_post@3")
TRANSCODERS = (
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
)


def theirs(architecture, seed=0, dtype=torch.float64):
    """Random tensors by SAELens' names and shapes."""
    out = OUT if "transcoder" in architecture else D
    shapes = {"W_enc": (D, N), "W_dec": (N, out), "b_dec": (out,)}
    if architecture == "gated":
        shapes |= {"b_gate": (N,), "b_mag": (N,), "r_mag": (N,)}
    else:
        shapes["b_enc"] = (N,)
    if architecture.startswith("jumprelu"):
        shapes["threshold"] = (N,)
    if "skip" in architecture:
        shapes["W_skip"] = (out, D)
    generator = torch.Generator().manual_seed(seed)
    drawn = {
        name: torch.randn(s, generator=generator, dtype=torch.float64) for name, s in shapes.items()
    }
    if "threshold" in drawn:
        drawn["threshold"] = drawn["threshold"].abs()
    return {name: tensor.to(dtype) for name, tensor in drawn.items()}


def config(architecture, **options):
    transcoder = "transcoder" in architecture
    cfg = {
        "architecture": architecture,
        "d_in": D,
        "d_sae": N,
        "dtype": "float64",
        "device": "cpu",
        "apply_b_dec_to_input": not transcoder,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.54.12",
            "sae_lens_training_version": "6.54.12",
            "model_name": "gpt2-small",
            "hook_name": "blocks.3.ln2.hook_normalized" if transcoder else "blocks.3.hook_mlp_out",
            "prepend_bos": True,
            "context_size": 256,
            "l0": 12.5,
        },
    }
    if transcoder:
        cfg["d_out"] = OUT
        cfg["metadata"]["hook_name_out"] = "blocks.3.hook_mlp_out"
    if architecture == "topk":
        cfg |= {"k": 3, "rescale_acts_by_decoder_norm": False}
    return cfg | options


def put(folder, cfg, tensors):
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "sae_weights.safetensors")
    return folder


def naive(cfg, t, x):
    """What SAELens documents, one token and one latent at a time."""
    rows = []
    for token in x:
        u = token - t["b_dec"] if cfg["apply_b_dec_to_input"] else token
        output = t["b_dec"].clone()
        latents = torch.zeros(N, dtype=x.dtype)
        norms = torch.tensor([math.sqrt(float((row**2).sum())) for row in t["W_dec"]])
        norms = norms.to(x.dtype)
        rescale = cfg.get("rescale_acts_by_decoder_norm", False)
        for j in range(N):
            h = float(u @ t["W_enc"][:, j])
            if cfg["architecture"] == "gated":
                open_gate = h + float(t["b_gate"][j]) > 0
                value = h * math.exp(float(t["r_mag"][j])) + float(t["b_mag"][j])
                latents[j] = max(value, 0.0) if open_gate else 0.0
                continue
            h += float(t["b_enc"][j])
            if "threshold" in t and h <= float(t["threshold"][j]):
                h = 0.0
            latents[j] = h * float(norms[j]) if rescale else h
        if cfg["architecture"] == "topk":
            order = sorted(range(N), key=lambda j: -float(latents[j]))
            for j in order[cfg["k"] :]:
                latents[j] = 0.0
        for j in range(N):
            value = max(float(latents[j]), 0.0)
            output += (value / float(norms[j]) if rescale else value) * t["W_dec"][j]
        if "W_skip" in t:
            output += t["W_skip"] @ token
        rows.append(output)
    return torch.stack(rows)


@pytest.fixture
def x():
    return torch.randn(7, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


CASES = [
    *product(("standard", "jumprelu", "gated"), ({}, {"apply_b_dec_to_input": False})),
    *product(("topk",), ({}, {"rescale_acts_by_decoder_norm": True})),
    *product(TRANSCODERS, ({},)),
]


@pytest.mark.parametrize(("architecture", "options"), CASES)
def test_every_architecture_computes_what_sae_lens_documents(tmp_path, x, architecture, options):
    cfg, tensors = config(architecture, **options), theirs(architecture)
    imported = FORMAT.read(put(tmp_path / "sae", cfg, tensors), Given())
    torch.testing.assert_close(imported.dictionary(x), naive(cfg, tensors, x))


@pytest.mark.parametrize(
    ("architecture", "wrong"),
    [
        ("standard", {"apply_b_dec_to_input": False}),
        ("topk", {"rescale_acts_by_decoder_norm": True}),
        ("topk", {"k": 4}),
    ],
)
def test_another_reading_of_the_same_weights_differs(tmp_path, x, architecture, wrong):
    tensors = theirs(architecture)
    right = FORMAT.read(put(tmp_path / "sae", config(architecture), tensors), Given())
    other = naive(config(architecture, **wrong), tensors, x)
    assert float((right.dictionary(x) - other).abs().max()) > 0.1


def test_a_file_is_read_by_hand(tmp_path):
    tensors = {
        "W_enc": torch.tensor([[1.0, 0.0], [0.0, 2.0]]),
        "b_enc": torch.tensor([0.0, -1.0]),
        "W_dec": torch.tensor([[1.0, 1.0], [0.0, 3.0]]),
        "b_dec": torch.tensor([1.0, 0.0]),
        "threshold": torch.tensor([0.5, 4.0]),
    }
    cfg = config("jumprelu", d_in=2, d_sae=2, dtype="float32")
    dictionary = FORMAT.read(put(tmp_path / "sae", cfg, tensors), Given()).dictionary
    # u = (3, 2) - (1, 0) = (2, 2); pre = (2, 2 * 2 - 1 = 3); 2 > 0.5 fires, 3 < 4 does not.
    assert dictionary.encode(torch.tensor([3.0, 2.0])).tolist() == [2.0, 0.0]
    # 2 * (1, 1) + (1, 0)
    assert dictionary(torch.tensor([3.0, 2.0])).tolist() == [3.0, 2.0]


@pytest.mark.parametrize("architecture", ["topk", "jumprelu_skip_transcoder"])
def test_sites_model_and_metadata_come_from_the_file(tmp_path, architecture):
    imported = FORMAT.read(
        put(tmp_path / "sae", config(architecture), theirs(architecture)), Given()
    )
    transcoder = "transcoder" in architecture
    found = imported.dictionary.config
    assert found.reads == ("mlp_norm@3" if transcoder else "mlp_out@3",)
    assert found.writes == ("mlp_out@3",)
    assert found.model == "gpt2-small"
    assert (imported.metadata["context_size"], imported.metadata["l0"]) == (256, 12.5)


def test_what_is_given_wins_over_the_file(tmp_path):
    folder = put(tmp_path / "sae", config("standard"), theirs("standard"))
    found = FORMAT.read(folder, Given(reads="resid_mid@1", model="mine")).dictionary.config
    assert (found.reads, found.writes, found.model) == (("resid_mid@1",), ("resid_mid@1",), "mine")


def test_what_is_given_wins_over_what_lmscope_kept(tmp_path, make_dictionary):
    FORMAT.write(make_dictionary(ReLU(), model="a", model_hash="abc").fold(), tmp_path / "sae")
    found = FORMAT.read(tmp_path / "sae", Given(reads="resid_mid@1", model="b")).dictionary.config
    assert (found.reads, found.writes) == (("resid_mid@1",), ("resid_mid@1",))
    assert (found.model, found.model_hash) == ("b", "abc")


def test_weights_take_the_dtype_that_the_config_names(tmp_path):
    folder = put(tmp_path / "sae", config("standard", dtype="torch.bfloat16"), theirs("standard"))
    imported = FORMAT.read(folder, Given())
    assert imported.dictionary.W_enc.dtype == torch.bfloat16
    assert any("bfloat16" in note for note in imported.notes)


def test_an_unfolded_norm_factor_is_applied_exactly(tmp_path, x):
    cfg = config("topk", normalize_activations="expected_average_only_in")
    tensors = theirs("topk")
    folder = put(tmp_path / "sae", cfg, tensors)
    (folder / "activation_scaler.json").write_text(
        '{"scaling_factor": 2.5, "has_whitening": false}'
    )
    imported = FORMAT.read(folder, Given())
    torch.testing.assert_close(imported.dictionary(x), naive(cfg, tensors, 2.5 * x) / 2.5)
    assert imported.dictionary.config.normalisation == "mean_norm"
    assert any("2.5" in note for note in imported.notes)


def test_hook_z_reads_all_heads_in_a_row(tmp_path):
    cfg = config("standard", reshape_activations="hook_z")
    cfg["metadata"]["hook_name"] = "blocks.5.attn.hook_z"
    imported = FORMAT.read(put(tmp_path / "sae", cfg, theirs("standard")), Given())
    assert imported.dictionary.config.reads == ("z@5",)
    FORMAT.write(imported.dictionary, tmp_path / "again")
    written = json.loads((tmp_path / "again" / "cfg.json").read_text())
    assert written["reshape_activations"] == "hook_z"


FOLDED = [
    (ReLU(), {}),
    (TopK(k=4), {"model_hash": "abc", "model": "m"}),
    (TopK(k=4, weight_by_decoder_norm=False), {}),
    (BatchTopK(k=4), {}),
    (JumpReLU(target_l0=7.0), {}),
    (ReLU(), {"d_write": 4}),
    (ReLU(), {"d_write": 4, "skip": True}),
    (JumpReLU(), {"d_write": 4}),
    (JumpReLU(), {"d_write": 4, "skip": True}),
    (JumpReLU(), {"skip": True}),
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("sparsity", "options"), FOLDED)
def test_a_folded_dictionary_comes_back_equal_in_every_bit(
    tmp_path, make_dictionary, sparsity, options, dtype
):
    dictionary = make_dictionary(sparsity, dtype=dtype, **options).fold()
    FORMAT.write(dictionary, tmp_path / "sae")
    again = FORMAT.read(tmp_path / "sae", Given()).dictionary
    assert again.config == dictionary.config
    expected = dictionary.state_dict()
    assert again.state_dict().keys() == expected.keys()
    for name, tensor in again.state_dict().items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize(("sparsity", "options"), FOLDED)
def test_what_is_written_computes_the_same_in_sae_lens(
    tmp_path, make_dictionary, sparsity, options, x
):
    dictionary = make_dictionary(sparsity, **options)
    FORMAT.write(dictionary, tmp_path / "sae")
    cfg = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    tensors = load_file(tmp_path / "sae" / "sae_weights.safetensors")
    torch.testing.assert_close(naive(cfg, tensors, x), dictionary(x))


def test_raw_units_are_written_as_they_are(tmp_path, make_dictionary):
    dictionary = make_dictionary(TopK(k=4), apply_b_dec_to_input=True)
    dictionary.scale_in.fill_(1.0)
    dictionary.scale_out.fill_(1.0)
    FORMAT.write(dictionary, tmp_path / "sae")
    again = FORMAT.read(tmp_path / "sae", Given()).dictionary
    assert again.config == dictionary.config
    assert torch.equal(again.W_dec, dictionary.W_dec)
    cfg = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert cfg["apply_b_dec_to_input"]
    assert cfg["rescale_acts_by_decoder_norm"]


def test_b_dec_of_an_input_with_a_linear_path_moves_into_the_bias(tmp_path, make_dictionary, x):
    dictionary = make_dictionary(ReLU(), skip=True, apply_b_dec_to_input=True)
    dictionary.scale_in.fill_(1.0)
    dictionary.scale_out.fill_(1.0)
    FORMAT.write(dictionary, tmp_path / "sae")
    cfg = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert (cfg["architecture"], cfg["apply_b_dec_to_input"]) == ("skip_transcoder", False)
    tensors = load_file(tmp_path / "sae" / "sae_weights.safetensors")
    torch.testing.assert_close(naive(cfg, tensors, x), dictionary(x))


def test_a_latent_without_a_decoder_row_divides_nothing_by_zero(tmp_path, make_dictionary, x):
    dictionary = make_dictionary(TopK(k=4))
    dictionary.W_dec[3] = 0
    dictionary = dictionary.fold()
    FORMAT.write(dictionary, tmp_path / "sae")
    cfg = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert not cfg["rescale_acts_by_decoder_norm"]
    tensors = load_file(tmp_path / "sae" / "sae_weights.safetensors")
    torch.testing.assert_close(naive(cfg, tensors, x), dictionary(x))
    assert FORMAT.read(tmp_path / "sae", Given()).dictionary.config == dictionary.config


def test_the_config_holds_what_sae_lens_6_reads(tmp_path, make_dictionary):
    FORMAT.write(make_dictionary(TopK(k=4)).fold(), tmp_path / "sae", {"prepend_bos": False})
    cfg = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    metadata = cfg.pop("metadata")
    assert cfg == {
        "architecture": "topk",
        "d_in": 6,
        "d_sae": 20,
        "dtype": "float64",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "k": 4,
        "rescale_acts_by_decoder_norm": True,
    }
    assert metadata["hook_name"] == "blocks.3.hook_resid_post"
    assert metadata["sae_lens_version"].startswith("6.")
    assert metadata["prepend_bos"] is False
    tensors = load_file(tmp_path / "sae" / "sae_weights.safetensors")
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "W_enc": (6, 20),
        "b_enc": (20,),
        "W_dec": (20, 6),
        "b_dec": (6,),
    }


def test_metadata_of_a_file_goes_out_again(tmp_path, make_dictionary):
    FORMAT.write(make_dictionary(ReLU()).fold(), tmp_path / "sae", {"l0": 3.5, "prepend_bos": True})
    metadata = FORMAT.read(tmp_path / "sae", Given()).metadata
    assert (metadata["l0"], metadata["prepend_bos"]) == (3.5, True)
    assert "lmscope" not in metadata


def test_a_file_that_was_changed_since_is_read_as_it_stands(tmp_path, make_dictionary):
    FORMAT.write(make_dictionary(TopK(k=4), model_hash="abc").fold(), tmp_path / "sae")
    path = tmp_path / "sae" / "cfg.json"
    path.write_text(path.read_text().replace('"k": 4,\n "rescale', '"k": 5,\n "rescale'))
    imported = FORMAT.read(tmp_path / "sae", Given())
    assert imported.dictionary.config.sparsity.k == 5
    assert imported.dictionary.config.model_hash is None
    assert any("left aside" in note for note in imported.notes)


def flat(**options):
    """A config as versions before 6.0 wrote it, shortened."""
    return {
        "model_name": "gpt2-small",
        "hook_point": "blocks.8.hook_resid_pre",
        "hook_point_layer": 8,
        "hook_point_head_index": None,
        "d_in": D,
        "d_sae": N,
        "dtype": "torch.float64",
        "l1_coefficient": 8e-5,
        "lr": 4e-4,
        "context_size": 128,
        "normalize_activations": False,
        **options,
    }


def test_a_flat_config_from_before_version_6_is_read(tmp_path, x):
    tensors = theirs("standard") | {"scaling_factor": torch.ones(N, dtype=torch.float64)}
    imported = FORMAT.read(put(tmp_path / "sae", flat(), tensors), Given())
    assert imported.dictionary.config.reads == ("resid_pre@8",)
    assert imported.dictionary.config.model == "gpt2-small"
    assert imported.metadata["context_size"] == 128
    torch.testing.assert_close(imported.dictionary(x), naive(config("standard"), tensors, x))


def test_a_flat_config_of_z_reads_all_heads_in_a_row(tmp_path):
    cfg = flat(hook_point="blocks.5.attn.hook_z")
    imported = FORMAT.read(put(tmp_path / "sae", cfg, theirs("standard")), Given())
    assert any("heads of z" in note for note in imported.notes)


def test_a_flat_topk_config_is_read_as_topk(tmp_path, x):
    cfg = flat(activation_fn_str="topk", activation_fn_kwargs={"k": 3}, sae_lens_version="4.1.0")
    tensors = theirs("topk")
    imported = FORMAT.read(put(tmp_path / "sae", cfg, tensors), Given())
    torch.testing.assert_close(imported.dictionary(x), naive(config("topk"), tensors, x))


def without(name):
    return lambda cfg, tensors: tensors.pop(name)


def field(**values):
    return lambda cfg, tensors: cfg.update(values)


def metadata(**values):
    return lambda cfg, tensors: cfg["metadata"].update(values)


@pytest.mark.parametrize(
    ("architecture", "change", "words"),
    [
        ("standard", field(architecture="abstopk"), "it keeps negative latents"),
        ("standard", field(architecture="matching_pursuit"), "one after another"),
        ("standard", field(architecture="temporal"), "predicts each token"),
        ("standard", field(architecture="batchtopk"), "save_inference_model"),
        ("standard", field(architecture="jumprel"), "Did you mean jumprelu"),
        ("standard", field(normalize_activations="layer_norm"), "its own mean and deviation"),
        ("standard", field(normalize_activations="constant_norm_rescale"), "its own norm"),
        ("standard", field(normalize_activations="covariance_whitening"), "whitens its input"),
        ("standard", field(normalize_activations="max"), "which is unknown"),
        (
            "standard",
            field(normalize_activations="expected_average_only_in"),
            "no 'activation_scaler.json' says the factor",
        ),
        ("standard", field(apply_b_dec_to_inputs=True), "Did you mean apply_b_dec_to_input"),
        ("standard", field(dtype="int8"), "unknown dtype 'int8'"),
        ("standard", field(d_in="6"), "'d_in' of"),
        ("standard", field(d_sae=21), "shape [6, 20]"),
        ("standard", field(reshape_activations="hook_q"), "which is unknown"),
        ("standard", metadata(hook_head_index=4), "one attention head"),
        ("standard", without("b_enc"), "lacks the tensor 'b_enc'"),
        (
            "standard",
            lambda cfg, t: t.update(W_skp=t["b_dec"].clone()),
            "'W_skp' that is not known",
        ),
        ("topk", lambda cfg, tensors: cfg.pop("k"), "lacks 'k'"),
        ("topk", field(k=0), "at least 1"),
        ("topk", field(k=21), "k = 21 latents cannot be kept of 20"),
        ("transcoder", field(apply_b_dec_to_input=True), "SAELens refuses too"),
        ("jumprelu", without("threshold"), "lacks the tensor 'threshold'"),
    ],
)
def test_what_cannot_be_taken_over_exactly_is_one_sentence(tmp_path, architecture, change, words):
    cfg, tensors = config(architecture), theirs(architecture)
    change(cfg, tensors)
    with pytest.raises(ArtifactError, match=re.escape(words)):
        FORMAT.read(put(tmp_path / "sae", cfg, tensors), Given())


@pytest.mark.parametrize(
    ("options", "factor", "words"),
    [
        ({"activation_fn_str": "tanh-relu"}, 1.0, "'tanh-relu'; relu and topk"),
        ({"finetuning_scaling_factor": True}, 1.0, "no longer applies"),
        ({}, 2.0, "scaling_factor other than 1"),
        ({"normalize_activations": True}, 1.0, "expected_average_only_in"),
    ],
)
def test_what_an_old_file_did_otherwise_is_one_sentence(tmp_path, options, factor, words):
    tensors = theirs("standard") | {"scaling_factor": torch.full((N,), factor)}
    with pytest.raises(ArtifactError, match=re.escape(words)):
        FORMAT.read(put(tmp_path / "sae", flat(**options), tensors), Given())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hook_name": "blocks.3.hook_mlp_outt"}, "Did you mean hook_mlp_out"),
        ({"hook_name": None}, "does not say which site it reads"),
    ],
)
def test_an_unknown_hook_asks_for_the_site(tmp_path, change, words):
    cfg = config("standard")
    cfg["metadata"] |= change
    folder = put(tmp_path / "sae", cfg, theirs("standard"))
    with pytest.raises(RecipeError, match=re.escape(words)):
        FORMAT.read(folder, Given())
    assert FORMAT.read(folder, HERE).dictionary.config.reads == ("resid_post@3",)


def test_a_transcoder_without_a_written_site_asks_for_it(tmp_path):
    cfg = config("transcoder")
    del cfg["metadata"]["hook_name_out"]
    folder = put(tmp_path / "sae", cfg, theirs("transcoder"))
    with pytest.raises(RecipeError, match="which site it writes"):
        FORMAT.read(folder, Given())
    assert FORMAT.read(folder, Given(writes="mlp_out@3")).dictionary.config.is_transcoder


def test_a_topk_transcoder_is_not_written(tmp_path, make_dictionary):
    with pytest.raises(ArtifactError, match="SAELens has no topk transcoder"):
        FORMAT.write(make_dictionary(TopK(k=4), d_write=4), tmp_path / "sae")
    assert not list(tmp_path.iterdir())


def test_a_batchtopk_dictionary_without_a_threshold_is_not_written(tmp_path, make_config):
    with pytest.raises(ArtifactError, match="has none yet"):
        FORMAT.write(Dictionary(make_config(BatchTopK(k=4))), tmp_path / "sae")


def test_a_folder_that_is_there_is_left_alone(tmp_path, make_dictionary):
    folder = tmp_path / "sae"
    folder.mkdir()
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(ArtifactError, match="is there already"):
        FORMAT.write(make_dictionary(ReLU()), folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_an_absent_config_and_a_damaged_one_are_one_sentence(tmp_path):
    folder = put(tmp_path / "sae", config("standard"), theirs("standard"))
    assert FORMAT.recognises(folder)
    (folder / "cfg.json").write_text("{")
    with pytest.raises(ArtifactError, match="damaged"):
        FORMAT.read(folder, Given())
    (folder / "cfg.json").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        FORMAT.read(folder, Given())
    assert not FORMAT.recognises(folder)


def test_the_format_is_a_writable_one():
    assert isinstance(FORMAT, WritableFormat)
