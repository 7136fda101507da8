"""Llama Scope v1: the authors' inference, exactly, and the wrong readings in use elsewhere, which differ."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.dictionaries.config import JumpReLU, ReLU, TopK
from lmscope.dictionaries.formats.format import Format, Given
from lmscope.dictionaries.formats.llama_scope import FORMAT, KEYS

D, F, K = 16, 128, 5


def hyperparams(norm_in, norm_out, threshold, **changes):
    """All 30 fields, as the authors' files have them."""
    is_transcoder = norm_in != norm_out
    hook = "blocks.19.hook_mlp_out" if is_transcoder else "blocks.15.hook_resid_post"
    values = {
        "device": "cuda",
        "seed": 42,
        "dtype": "torch.bfloat16",
        "hook_point_in": "blocks.19.ln2.hook_normalized" if is_transcoder else hook,
        "hook_point_out": hook,
        "use_decoder_bias": True,
        "apply_decoder_bias_to_pre_encoder": False,
        "expansion_factor": F // D,
        "d_model": D,
        "d_sae": F,
        "bias_init_method": "all_zero",
        "act_fn": "jumprelu",
        "jump_relu_threshold": threshold,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": norm_in, "out": norm_out},
        "decoder_exactly_fixed_norm": False,
        "sparsity_include_decoder_norm": True,
        "use_glu_encoder": False,
        "init_decoder_norm": 0.5,
        "init_encoder_norm": 0.5,
        "init_encoder_with_decoder_transpose": not is_transcoder,
        "lp": 1,
        "l1_coefficient": 0.00008,
        "l1_coefficient_warmup_steps": 39062,
        "top_k": K,
        "k_warmup_steps": 39062,
        "use_batch_norm_mse": True,
        "use_ghost_grads": False,
        "tp_size": 1,
        "ddp_size": 1,
    }
    assert values.keys() == KEYS
    assert len(values) == 30
    return values | changes


@pytest.fixture
def write(tmp_path):
    """A folder in the authors' layout with random bf16 weights, decoder norms around 1.5."""

    def make(norm_in=10.8125, norm_out=10.8125, threshold=0.35546875, name="one", **changes):
        g = torch.Generator().manual_seed(7)
        tensors = {
            "encoder.weight": torch.randn(F, D, generator=g) * 0.3,
            "encoder.bias": torch.randn(F, generator=g) * 0.2,
            "decoder.weight": torch.randn(D, F, generator=g)
            * (0.2 + 0.4 * torch.rand(F, generator=g)),
            "decoder.bias": torch.randn(D, generator=g),
        }
        folder = tmp_path / name
        (folder / "checkpoints").mkdir(parents=True)
        values = hyperparams(norm_in, norm_out, threshold, **changes)
        (folder / "hyperparams.json").write_text(json.dumps(values))
        bf16 = {key: t.to(torch.bfloat16).contiguous() for key, t in tensors.items()}
        save_file(bf16, folder / "checkpoints" / "final.safetensors")
        return folder

    return make


def stored(folder):
    """Tensors and fields of a folder, in float64, in which the reference computes."""
    values = json.loads((folder / "hyperparams.json").read_text())
    tensors = load_file(folder / "checkpoints" / "final.safetensors")
    return {name: t.double() for name, t in tensors.items()}, values


def official(folder, x):
    """The authors' inference, one latent after the other: activations and reconstruction."""
    t, values = stored(folder)
    norm = values["dataset_average_activation_norm"]
    s_in, s_out = math.sqrt(D) / norm["in"], math.sqrt(D) / norm["out"]
    b_enc, b_dec = t["encoder.bias"] / s_in, t["decoder.bias"] / s_out
    W_dec = t["decoder.weight"] * (s_in / s_out)
    f = torch.zeros(len(x), F, dtype=torch.float64)
    out = b_dec.expand(len(x), D).clone()
    for i in range(F):
        n = W_dec[:, i].square().sum().sqrt()
        h = (x @ t["encoder.weight"][i]) * n + b_enc[i] * n
        f[:, i] = torch.where(h > values["jump_relu_threshold"], h, 0.0)
        out += f[:, i : i + 1] * (W_dec[:, i] / n)
    return f, out


def trained_pre(folder, x):
    """Pre-activations in training units, without any fold."""
    t, values = stored(folder)
    norm = values["dataset_average_activation_norm"]
    s_in, s_out = math.sqrt(D) / norm["in"], math.sqrt(D) / norm["out"]
    return (x * s_in) @ t["encoder.weight"].T + t["encoder.bias"], s_in, s_out, t


SHAPES = [(10.8125, 10.8125, 0.35546875), (64.0, 6.09375, 0.162109375), (62.0, 0.80078125, 0.009)]
"""L15R-8x, L19TC-8x, L0TC-8x: norms and thresholds that the authors published."""


@pytest.fixture
def x():
    g = torch.Generator().manual_seed(1)
    return torch.randn(200, D, generator=g, dtype=torch.float64) * 3


@pytest.mark.parametrize(("norm_in", "norm_out", "threshold"), SHAPES)
def test_inference_is_the_authors_own(write, x, norm_in, norm_out, threshold):
    folder = write(norm_in, norm_out, threshold)
    read = FORMAT.read(folder, Given()).dictionary
    f, out = official(folder, x)
    assert 0.02 < (f > 0).double().mean() < 0.9, "the gate must bite for the test to say anything"
    exact = read.double()
    assert torch.equal(exact.encode(x) > 0, f > 0)
    torch.testing.assert_close(exact.encode(x), f, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(exact(x), out, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("norm_in", "norm_out", "threshold"), SHAPES)
def test_weights_are_those_of_the_authors_order_bit_for_bit(write, norm_in, norm_out, threshold):
    folder = write(norm_in, norm_out, threshold)
    read = FORMAT.read(folder, Given()).dictionary
    t = {name: v.float() for name, v in load_file(folder / "checkpoints/final.safetensors").items()}
    s_in, s_out = math.sqrt(D) / norm_in, math.sqrt(D) / norm_out
    W_dec = t["decoder.weight"].T.contiguous() * (s_in / s_out)
    n = torch.linalg.vector_norm(W_dec, dim=1)
    assert read.W_dec.dtype == torch.float32
    assert torch.equal(read.W_dec, W_dec / n[:, None])
    assert torch.equal(read.W_enc, t["encoder.weight"] * n[:, None])
    assert torch.equal(read.b_enc, t["encoder.bias"] / s_in * n)
    assert torch.equal(read.b_dec, t["decoder.bias"] / s_out)
    assert torch.equal(read.threshold, torch.full((F,), threshold))


@pytest.mark.parametrize(("norm_in", "norm_out", "threshold"), SHAPES)
def test_the_gate_in_training_units_is_the_same_gate(write, x, norm_in, norm_out, threshold):
    folder = write(norm_in, norm_out, threshold)
    h, _, s_out, t = trained_pre(folder, x)
    gate = h * t["decoder.weight"].norm(dim=0) > threshold * s_out
    assert torch.equal(gate, FORMAT.read(folder, Given()).dictionary.double().encode(x) > 0)


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_a_gate_without_the_decoder_norm_is_another(write, x, shape):
    folder = write(*shape)
    h, s_in, _, _ = trained_pre(folder, x)
    ours = FORMAT.read(folder, Given()).dictionary.double().encode(x) > 0
    assert ((h > shape[2] * s_in) != ours).double().mean() > 0.01


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_an_unscaled_threshold_is_another_gate(write, x, shape):
    folder = write(*shape)
    h, _, _, t = trained_pre(folder, x)
    ours = FORMAT.read(folder, Given()).dictionary.double().encode(x) > 0
    assert ((h > shape[2]) != ours).double().mean() > 0.01
    with_norm = h * t["decoder.weight"].norm(dim=0) > shape[2]
    assert (with_norm != ours).double().mean() > 0.01


def test_top_k_is_not_the_gate(write, x):
    folder = write()
    active = (FORMAT.read(folder, Given()).dictionary.encode(x.float()) > 0).sum(-1)
    assert (active != K).double().mean() > 0.5


def test_dividing_a_transcoders_output_by_the_input_scale_is_wrong_by_their_ratio(write, x):
    folder = write(64.0, 6.09375, 0.162109375)
    _, s_in, s_out, _ = trained_pre(folder, x)
    ours = FORMAT.read(folder, Given()).dictionary.double()(x)
    _, out = official(folder, x)
    wrong = out * s_out / s_in
    torch.testing.assert_close(ours, out, rtol=1e-5, atol=1e-5)
    assert (wrong / ours).median() == pytest.approx(s_out / s_in, rel=1e-3)
    assert s_out / s_in == pytest.approx(10.5, abs=0.1)


def test_sites_are_those_of_the_hook_points(write):
    sae = FORMAT.read(write(name="sae"), Given()).dictionary.config
    assert (sae.reads, sae.writes) == (("resid_post@15",), ("resid_post@15",))
    tc = FORMAT.read(write(64.0, 6.0, 0.1, name="tc"), Given())
    assert tc.dictionary.config.reads == ("mlp_norm@19",)
    assert tc.dictionary.config.writes == ("mlp_out@19",)
    assert any("before the norm's gain" in note for note in tc.notes)
    config = FORMAT.read(write(name="given"), Given("resid_post@3", model="mine")).dictionary.config
    assert (config.reads, config.writes) == (("resid_post@3",), ("resid_post@3",))
    assert config.model == "mine"


def test_the_model_is_known_from_the_authors_folder_name(write):
    config = FORMAT.read(write(name="Llama3_1-8B-Base-L15R-8x"), Given()).dictionary.config
    assert config.model == "meta-llama/Llama-3.1-8B"


def test_the_hook_point_without_a_site_asks_for_one(write):
    folder = write(hook_point_in="blocks.3.hook_mlp_in", hook_point_out="blocks.3.hook_mlp_in")
    with pytest.raises(RecipeError, match=r"'blocks\.3\.hook_mlp_in', which is no site.*--reads"):
        FORMAT.read(folder, Given())
    assert FORMAT.read(folder, Given(reads="mlp_in@3")).dictionary.config.reads == ("mlp_in@3",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"act_fn": "gelu"}, r'act_fn = "gelu".*"jumprelu" or "topk" or "relu" can'),
        ({"norm_activation": "token-wise"}, 'norm_activation = "token-wise"'),
        ({"apply_decoder_bias_to_pre_encoder": True}, "apply_decoder_bias_to_pre_encoder = true"),
        ({"sparsity_include_decoder_norm": False}, "sparsity_include_decoder_norm = false"),
        ({"use_glu_encoder": True}, "use_glu_encoder = true"),
        ({"jump_relu_threshold": -0.1}, "jump_relu_threshold of at least 0"),
        ({"jump_relu_threshold": None}, "jump_relu_threshold of at least 0"),
        ({"dataset_average_activation_norm": {"in": 3.0}}, "mean norms"),
        ({"dataset_average_activation_norm": None}, "mean norms"),
        ({"d_sae": 64}, r"'encoder.weight' .* has shape \[128, 16\] where"),
        ({"d_model": "16"}, "d_model = '16', no whole number"),
        ({"jump_relu_treshold": 1}, "'jump_relu_treshold'.*Did you mean jump_relu_threshold"),
    ],
)
def test_what_cannot_be_represented_is_refused(write, change, message):
    with pytest.raises(ArtifactError, match=message):
        FORMAT.read(write(**change), Given())


def test_topk_and_relu_checkpoints_are_read_as_what_they_are(write, x):
    topk = FORMAT.read(write(name="topk", act_fn="topk"), Given()).dictionary
    assert topk.config.sparsity == TopK(k=K)
    h, _, _, t = trained_pre(write(name="again"), x)
    best = (h.relu() * t["decoder.weight"].norm(dim=0)).topk(K).indices.sort().values
    kept = topk.double().encode_sparse(x).indices.sort().values
    assert torch.equal(best, kept)
    assert FORMAT.read(write(name="relu", act_fn="relu"), Given()).dictionary.config.sparsity == (
        ReLU()
    )


def test_a_decoder_row_of_zeros_never_fires(write, x):
    folder = write()
    path = folder / "checkpoints/final.safetensors"
    tensors = load_file(path)
    tensors["decoder.weight"][:, 3] = 0
    save_file(tensors, path)
    read = FORMAT.read(folder, Given()).dictionary
    assert not read.W_dec.isnan().any()
    assert not read.encode(x.float())[:, 3].any()


def test_a_dictionary_without_a_decoder_bias_has_zeros(write):
    folder = write(use_decoder_bias=False)
    path = folder / "checkpoints/final.safetensors"
    tensors = load_file(path)
    del tensors["decoder.bias"]
    save_file(tensors, path)
    assert not FORMAT.read(folder, Given()).dictionary.b_dec.any()


def test_half_downloaded_weights_are_one_sentence(write):
    folder = write()
    path = folder / "checkpoints/final.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="damaged or only half downloaded"):
        FORMAT.read(folder, Given())
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(ArtifactError, match="Git LFS pointer"):
        FORMAT.read(folder, Given())
    path.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        FORMAT.read(folder, Given())


def test_it_is_a_format_that_knows_its_folders(write, tmp_path):
    assert isinstance(FORMAT, Format)
    assert FORMAT.recognises(write())
    assert not FORMAT.recognises(tmp_path)
    (tmp_path / "hyperparams.json").write_text("{}")
    assert not FORMAT.recognises(tmp_path)


def test_its_sparsity_is_jumprelu(write):
    imported = FORMAT.read(write(), Given())
    assert imported.dictionary.config.sparsity == JumpReLU()
    assert imported.metadata["l1_coefficient_warmup_steps"] == 39062
    assert any("top_k = 5 of the file is not used" in note for note in imported.notes)
