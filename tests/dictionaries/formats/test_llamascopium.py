"""Llamascopium v2: every activation function against a naive loop over its documented inference."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.dictionaries.config import BatchTopK, TopK
from lmscope.dictionaries.formats.format import Format, Given
from lmscope.dictionaries.formats.llamascopium import FORMAT

D, F, K = 8, 40, 3
NORMS = {"blocks.2.ln2.hook_normalized": 7.5, "blocks.2.hook_mlp_out": 0.75}


@pytest.fixture
def write(tmp_path):
    """A transcoder's folder; `config` keys and the name of the weights can be changed."""

    def make(act_fn="jumprelu", weights="sae_weights.safetensors", name="one", **config):
        g = torch.Generator().manual_seed(3)
        values = {
            "sae_type": "sae",
            "device": "cpu",
            "dtype": "torch.float32",
            "d_model": D,
            "expansion_factor": F / D,
            "use_decoder_bias": True,
            "act_fn": act_fn,
            "norm_activation": "dataset-wise",
            "sparsity_include_decoder_norm": True,
            "top_k": K,
            "use_triton_kernel": False,
            "sparsity_threshold_for_triton_spmm_kernel": 0.996,
            "jumprelu_threshold_window": 2.0,
            "hook_point_in": "blocks.2.ln2.hook_normalized",
            "hook_point_out": "blocks.2.hook_mlp_out",
            "use_glu_encoder": False,
        } | config
        tensors = {
            "W_E": torch.randn(D, F, generator=g) * 0.5,
            "b_E": torch.randn(F, generator=g) * 0.3,
            "W_D": torch.randn(F, D, generator=g) * (0.2 + torch.rand(F, 1, generator=g)),
            "b_D": torch.randn(D, generator=g),
        }
        if act_fn == "jumprelu":
            log = torch.randn(F, generator=g) * 0.5
            tensors["activation_function.log_jumprelu_threshold"] = log
        for hook, norm in NORMS.items():
            tensors[f"dataset_average_activation_norm.{hook}"] = torch.tensor(norm)
        folder = tmp_path / name
        (folder / weights).parent.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(values))
        save_file(tensors, folder / weights)
        return folder, values, {name: t.double() for name, t in tensors.items()}

    return make


@pytest.fixture
def x():
    g = torch.Generator().manual_seed(1)
    return torch.randn(60, D, generator=g, dtype=torch.float64) * 3


def gate(scores, values, tensors):
    """What passes, of pre-activations as the activation function sees them."""
    match values["act_fn"]:
        case "relu":
            return scores > 0
        case "jumprelu":
            return scores > tensors["activation_function.log_jumprelu_threshold"].exp()
        case "topk":
            passes = torch.zeros_like(scores, dtype=torch.bool)
            for row, places in zip(passes, scores.topk(values["top_k"]).indices, strict=True):
                row[places] = True
            return passes & (scores > 0)


def naive(values, t, x):
    """Which latents fire, and the output in raw units."""
    folded = values["norm_activation"] == "inference"
    s_in, s_out = (1.0 if folded else math.sqrt(D) / norm for norm in NORMS.values())
    h = (x * s_in) @ t["W_E"] + t["b_E"]
    norms = t["W_D"].norm(dim=1) if values["sparsity_include_decoder_norm"] else 1.0
    f = h * gate(h * norms, values, t)
    b_D = t["b_D"] if values["use_decoder_bias"] else 0.0
    return f > 0, (f @ t["W_D"] + b_D) / s_out


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("norm", ["dataset-wise", "inference"])
@pytest.mark.parametrize("act_fn", ["relu", "jumprelu", "topk"])
def test_inference_is_the_librarys_own(write, x, act_fn, norm, include):
    options = {"norm_activation": norm, "sparsity_include_decoder_norm": include}
    folder, values, tensors = write(act_fn, **options)
    read = FORMAT.read(folder, Given()).dictionary.double()
    fires, out = naive(values, tensors, x)
    assert 0 < fires.double().mean() < 1
    assert torch.equal(read.encode(x) > 0, fires)
    torch.testing.assert_close(read(x), out, rtol=1e-5, atol=1e-4)


def test_to_leave_the_decoder_norm_out_of_the_gate_is_another_reading(write, x):
    for act_fn in ("jumprelu", "topk"):
        folder, values, tensors = write(act_fn, name=act_fn)
        read = FORMAT.read(folder, Given()).dictionary.double()
        wrong, _ = naive(values | {"sparsity_include_decoder_norm": False}, tensors, x)
        assert ((read.encode(x) > 0) != wrong).any()


def test_sites_and_sparsity_are_those_of_the_config(write):
    folder, _, _ = write("topk", sparsity_include_decoder_norm=False)
    config = FORMAT.read(folder, Given(model="m")).dictionary.config
    assert (config.reads, config.writes, config.model) == (("mlp_norm@2",), ("mlp_out@2",), "m")
    assert config.sparsity == TopK(k=K, weight_by_decoder_norm=False)


def test_batchtopk_without_a_threshold_asks_for_one_when_used(write, x):
    imported = FORMAT.read(write("batchtopk")[0], Given())
    assert imported.dictionary.config.sparsity == BatchTopK(k=K)
    assert any("calibrate_threshold" in note for note in imported.notes)
    with pytest.raises(RecipeError, match="no threshold yet"):
        imported.dictionary.encode(x)


def test_weights_lie_where_the_library_looks_for_them(write):
    folder, _, _ = write(weights="checkpoints/final.safetensors")
    assert FORMAT.read(folder, Given()).dictionary.config.n_latents == F
    (folder / "checkpoints/final.safetensors").rename(folder / "checkpoints/final.pt")
    with pytest.raises(ArtifactError, match=r"final\.pt' is no safetensors file"):
        FORMAT.read(folder, Given())
    (folder / "checkpoints/final.pt").unlink()
    with pytest.raises(ArtifactError, match=r"sae_weights\.safetensors' is missing"):
        FORMAT.read(folder, Given())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sae_type": "crosscoder"}, "is a crosscoder, which reads several sites"),
        ({"sae_type": "lorsa"}, "is a lorsa, which is an attention layer"),
        ({"sae_type": "clt"}, "is a clt, which writes several"),
        ({"sae_type": "molt"}, "is a molt, which"),
        ({"sae_type": "saee"}, "unknown sae_type 'saee'. Did you mean sae"),
        ({"act_fn": "layertopk"}, 'act_fn = "layertopk"'),
        ({"norm_activation": "token-wise"}, 'norm_activation = "token-wise"'),
        ({"use_glu_encoder": True}, "use_glu_encoder = true"),
        ({"expansion_factor": 0}, "expansion_factor = 0, no number above 0"),
        ({"expansion_factor": 2}, r"'W_E' .* has shape \[8, 40\]"),
        ({"top_kk": 3}, "unknown field 'top_kk'.*Did you mean top_k"),
        ({"hook_point_in": "blocks.9.hook_resid_post"}, "needs the mean norm of its activations"),
    ],
)
def test_what_cannot_be_represented_is_refused(write, change, message):
    with pytest.raises(ArtifactError, match=message):
        FORMAT.read(write(**change)[0], Given())


def test_it_is_a_format_that_knows_its_folders(write, tmp_path):
    assert isinstance(FORMAT, Format)
    assert FORMAT.recognises(write()[0])
    (tmp_path / "config.json").write_text('{"trainer": {}}')
    assert not FORMAT.recognises(tmp_path)
