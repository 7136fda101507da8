"""dictionary_learning: each of its classes against a naive form of its inference."""

import json

import pytest
import torch

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.dictionaries.config import TopK
from lmscope.dictionaries.formats.dictionary_learning import FORMAT
from lmscope.dictionaries.formats.format import Format, Given

D, F, K = 7, 30, 4


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear():
    return {
        "encoder.weight": rand(F, D, seed=1),
        "encoder.bias": rand(F, seed=2),
        "decoder.weight": rand(D, F, seed=3),
    }


def plain():
    return {
        "W_enc": rand(D, F, seed=1),
        "b_enc": rand(F, seed=2),
        "W_dec": rand(F, D, seed=3),
        "b_dec": rand(D, seed=4),
    }


SCALARS = {"k": torch.tensor(K, dtype=torch.int32), "threshold": torch.tensor(1.25)}
GATED = {
    "r_mag": rand(F, seed=5) * 0.5,
    "gate_bias": rand(F, seed=6),
    "mag_bias": rand(F, seed=7),
    "decoder_bias": rand(D, seed=8),
    **{name: t for name, t in linear().items() if name != "encoder.bias"},
}
TENSORS = {
    "AutoEncoder": {"bias": rand(D, seed=4), **linear()},
    "AutoEncoderNew": {"decoder.bias": rand(D, seed=4), **linear()},
    "GatedAutoEncoder": GATED,
    "JumpReluAutoEncoder": {**plain(), "threshold": rand(F, seed=5).abs()},
    "AutoEncoderTopK": {"b_dec": rand(D, seed=4), **linear(), **SCALARS},
    "BatchTopKSAE": {"b_dec": rand(D, seed=4), **linear(), **SCALARS},
    "MatryoshkaBatchTopKSAE": {**plain(), **SCALARS, "group_sizes": torch.tensor([10, 20])},
}


def naive(kind, t, x):
    """Latents and output, as the library's classes define them."""
    match kind:
        case "AutoEncoder":
            f = ((x - t["bias"]) @ t["encoder.weight"].T + t["encoder.bias"]).relu()
            return f, f @ t["decoder.weight"].T + t["bias"]
        case "AutoEncoderNew":
            f = (x @ t["encoder.weight"].T + t["encoder.bias"]).relu()
            return f, f @ t["decoder.weight"].T + t["decoder.bias"]
        case "GatedAutoEncoder":
            x_enc = (x - t["decoder_bias"]) @ t["encoder.weight"].T
            on = x_enc + t["gate_bias"] > 0
            f = on * (t["r_mag"].exp() * x_enc + t["mag_bias"]).relu()
            return f, f @ t["decoder.weight"].T + t["decoder_bias"]
        case "JumpReluAutoEncoder":
            pre = x @ t["W_enc"] + t["b_enc"]
            f = (pre * (pre > t["threshold"])).relu()
            return f, f @ t["W_dec"] + t["b_dec"]
        case "AutoEncoderTopK":
            post = ((x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"]).relu()
            values, places = post.topk(K)
            f = torch.zeros_like(post).scatter(-1, places, values)
            return f, f @ t["decoder.weight"].T + t["b_dec"]
        case "BatchTopKSAE":
            post = ((x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"]).relu()
            f = post * (post > t["threshold"])
            return f, f @ t["decoder.weight"].T + t["b_dec"]
        case _:
            post = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
            f = post * (post > t["threshold"])
            return f, f @ t["W_dec"] + t["b_dec"]


@pytest.fixture
def write(tmp_path):
    def make(kind="AutoEncoder", tensors=None, name="trainer_0", **trainer):
        folder = tmp_path / name
        folder.mkdir()
        values = {
            "trainer_class": "AnyTrainer",
            "dict_class": kind,
            "activation_dim": D,
            "dict_size": F,
            "layer": 12,
            "lm_name": "google/gemma-2-2b",
            "submodule_name": "resid_post_layer_12",
        } | trainer
        config = {"trainer": values, "buffer": {"ctx_len": 128}}
        (folder / "config.json").write_text(json.dumps(config))
        torch.save(TENSORS[kind] if tensors is None else tensors, folder / "ae.pt")
        return folder

    return make


@pytest.mark.parametrize("kind", TENSORS)
def test_inference_is_that_of_the_class(write, kind):
    read = FORMAT.read(write(kind), Given()).dictionary
    x = rand(80, D, seed=9).double()
    f, out = naive(kind, {name: t.double() for name, t in TENSORS[kind].items()}, x)
    assert 0.02 < (f > 0).double().mean() < 0.9
    exact = read.double()
    assert torch.equal(exact.encode(x) > 0, f > 0)
    torch.testing.assert_close(exact.encode(x), f, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(exact(x), out, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["AutoEncoder", "AutoEncoderNew"])
def test_whether_b_dec_is_taken_from_the_input_matters(write, kind):
    read = FORMAT.read(write(kind), Given()).dictionary
    other = "AutoEncoderNew" if kind == "AutoEncoder" else "AutoEncoder"
    t = dict(TENSORS[kind]) | {"bias": TENSORS["AutoEncoder"]["bias"]}
    t["decoder.bias"] = t["bias"]
    x = rand(10, D, seed=9)
    assert not torch.allclose(read.encode(x), naive(other, t, x)[0])


def test_topk_selects_by_pre_activation_alone(write):
    config = FORMAT.read(write("AutoEncoderTopK"), Given()).dictionary.config
    assert config.sparsity == TopK(k=K, weight_by_decoder_norm=False)


def test_site_and_model_are_those_of_the_trainer(write):
    config = FORMAT.read(write(), Given()).dictionary.config
    assert (config.reads, config.model) == (("resid_post@12",), "google/gemma-2-2b")
    attention = write(name="b", submodule_name="attention_out_layer_3")
    assert FORMAT.read(attention, Given()).dictionary.config.reads == ("attn_out@3",)


def test_a_layer_alone_is_no_site(write):
    folder = write(submodule_name=None)
    with pytest.raises(RecipeError, match="does not say which site it reads"):
        FORMAT.read(folder, Given())
    assert FORMAT.read(folder, Given("mlp_out@12")).dictionary.config.writes == ("mlp_out@12",)


def test_a_threshold_that_was_never_estimated_is_refused(write):
    tensors = TENSORS["BatchTopKSAE"] | {"threshold": torch.tensor(-1.0)}
    with pytest.raises(ArtifactError, match="no threshold for inference"):
        FORMAT.read(write("BatchTopKSAE", tensors), Given())


def test_nothing_but_tensors_is_unpickled(write):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("code of a checkpoint ran",))

    folder = write(tensors={"encoder.weight": Trap()})
    with pytest.raises(ArtifactError, match=r"holds more than tensors.*not loaded"):
        FORMAT.read(folder, Given())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "AutoEncoder", "dict_class": "CrossCoder"}, "dict_class 'CrossCoder', whose"),
        ({"kind": "AutoEncoder", "dict_class": "BatchTopkSAE"}, "Did you mean BatchTopKSAE"),
        ({"kind": "AutoEncoder", "dict_class": "AutoEncoderNew"}, "lacks the tensor 'decoder.bias"),
        ({"tensors": {"a": [1, 2]}}, "holds no table of tensors"),
        ({"tensors": {}}, "lacks the matrix 'encoder.weight'"),
    ],
)
def test_what_is_not_known_is_refused(write, change, message):
    with pytest.raises(ArtifactError, match=message):
        FORMAT.read(write(**change), Given())


def test_half_downloaded_weights_are_one_sentence(write):
    folder = write()
    path = folder / "ae.pt"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ArtifactError, match="damaged or only half downloaded") as caught:
        FORMAT.read(folder, Given())
    assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        FORMAT.read(folder, Given())


def test_a_dictionary_that_takes_b_dec_writes_what_it_reads(write):
    with pytest.raises(ArtifactError, match="leave --writes out"):
        FORMAT.read(write(), Given("mlp_in@3", "mlp_out@3"))


def test_it_is_a_format_that_knows_its_folders(write, tmp_path):
    assert isinstance(FORMAT, Format)
    folder = write()
    assert FORMAT.recognises(folder)
    (folder / "ae.pt").unlink()
    assert FORMAT.recognises(folder)
    assert not FORMAT.recognises(tmp_path)
