"""Gemma Scope: npz and safetensors layouts, what path and config say, and the sites' conventions."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.dictionaries.formats.format import Format, Given
from lmscope.dictionaries.formats.gemma_scope import FORMAT

D, F = 6, 24


def arrays(lower=False, skip=False, d_read=D):
    rng = np.random.default_rng(5)
    names = ("w_enc", "w_dec") if lower else ("W_enc", "W_dec")
    made = {
        names[0]: rng.normal(size=(d_read, F)),
        names[1]: rng.normal(size=(F, D)),
        "b_enc": rng.normal(size=F),
        "b_dec": rng.normal(size=D),
        "threshold": rng.uniform(0.2, 2, size=F),
    }
    if skip:
        made["affine_skip_connection"] = rng.normal(size=(d_read, D))
    return {name: array.astype(np.float32) for name, array in made.items()}


@pytest.fixture
def first(tmp_path):
    def make(path, **options):
        folder = tmp_path / path
        folder.mkdir(parents=True)
        values = arrays(**options)
        np.savez(folder / "params.npz", **values)
        return folder, {name: torch.from_numpy(a).double() for name, a in values.items()}

    return make


@pytest.fixture
def second(tmp_path):
    def make(path, config, skip=False, **options):
        folder = tmp_path / path
        folder.mkdir(parents=True)
        values = arrays(lower=True, skip=skip, **options)
        save_file(
            {n: torch.from_numpy(a) for n, a in values.items()}, folder / "params.safetensors"
        )
        if config is not None:
            (folder / "config.json").write_text(json.dumps(config))
        return folder, {name: torch.from_numpy(a).double() for name, a in values.items()}

    return make


@pytest.fixture
def x():
    g = torch.Generator().manual_seed(1)
    return torch.randn(50, D, generator=g, dtype=torch.float64)


def naive(t, x):
    """JumpReLU as the release documents it; b_dec is added, never taken away."""
    t = {name.replace("w_", "W_"): value for name, value in t.items()}
    pre = x @ t["W_enc"] + t["b_enc"]
    f = (pre > t["threshold"]) * pre.relu()
    out = f @ t["W_dec"] + t["b_dec"]
    skip = t.get("affine_skip_connection")
    return f, out if skip is None else out + x @ skip


@pytest.mark.parametrize(
    ("path", "reads", "writes", "model"),
    [
        ("gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82", "resid_post@12", None, "2b"),
        ("gemma-scope-9b-it-mlp/layer_3/width_16k/average_l0_9", "mlp_out@3", None, "9b-it"),
        ("gemma-scope-9b-pt-att/layer_0/width_1m/average_l0_9", "z@0", None, "9b"),
        (
            "models--google--gemma-scope-2b-pt-transcoders/snapshots/abc/layer_3/width_16k/average_l0_54",
            "mlp_norm@3",
            "mlp_out@3",
            "2b",
        ),
    ],
)
def test_gemma_2_files_are_known_by_their_path(first, x, path, reads, writes, model):
    folder, tensors = first(path)
    imported = FORMAT.read(folder, Given())
    config = imported.dictionary.config
    assert (config.reads, config.writes) == ((reads,), (writes or reads,))
    assert config.model == f"google/gemma-2-{model}"
    f, out = naive(tensors, x)
    assert 0.05 < (f > 0).double().mean() < 0.9
    read = imported.dictionary.double()
    torch.testing.assert_close(read.encode(x), f)
    torch.testing.assert_close(read(x), out)
    with_b_dec_taken = naive(tensors, x - tensors["b_dec"])[0]
    assert not torch.allclose(read.encode(x), with_b_dec_taken)


def test_a_gemma_2_transcoder_says_that_it_reads_before_the_norms_gain(first):
    folder, _ = first("gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_54")
    notes = FORMAT.read(folder, Given()).notes
    assert any("before the norm's gain" in note for note in notes)


def test_an_attention_dictionary_reads_heads_side_by_side(first):
    folder, _ = first("gemma-scope-2b-pt-att/layer_3/width_16k/average_l0_54", d_read=D)
    imported = FORMAT.read(folder, Given())
    assert any("heads of 'z@3' side by side" in note for note in imported.notes)


def test_embedding_dictionaries_are_scaled_to_the_embedding_that_gemma_uses(first, x):
    folder, tensors = first("gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6")
    read = FORMAT.read(folder, Given()).dictionary
    assert read.config.reads == ("embed",)
    _, out = naive(tensors, x)
    used = x * math.sqrt(D)
    torch.testing.assert_close(read.double()(used), out * math.sqrt(D), rtol=1e-5, atol=1e-4)


def test_a_path_that_says_nothing_needs_the_site(first):
    folder, _ = first("somewhere/params")
    with pytest.raises(RecipeError, match=r"does not say which site it reads.*--reads"):
        FORMAT.read(folder, Given())
    config = FORMAT.read(folder, Given("resid_post@3", model="m")).dictionary.config
    assert (config.reads, config.writes, config.model) == (
        ("resid_post@3",),
        ("resid_post@3",),
        "m",
    )


TRANSCODER = {
    "hf_hook_point_in": "model.layers.12.pre_feedforward_layernorm.output",
    "hf_hook_point_out": "model.layers.12.post_feedforward_layernorm.output",
    "width": F,
    "model_name": "google/gemma-3-270m-pt",
    "architecture": "jump_relu",
    "l0": 120,
    "affine_connection": True,
    "type": "transcoder",
}


def test_a_gemma_3_transcoder_reads_after_the_gain_and_has_a_linear_path(second, x):
    folder, tensors = second("transcoder/layer_12_width_16k_l0_big_affine", TRANSCODER, skip=True)
    imported = FORMAT.read(folder, Given())
    read = imported.dictionary.double()
    assert (read.config.reads, read.config.writes) == (("mlp_in@12",), ("mlp_out@12",))
    assert read.config.model == "google/gemma-3-270m-pt"
    torch.testing.assert_close(read(x), naive(tensors, x)[1])
    tensors["affine_skip_connection"] = tensors["affine_skip_connection"].T
    assert not torch.allclose(read(x), naive(tensors, x)[1]), "the skip path the other way round"
    assert any("after the norm's gain" in note for note in imported.notes)


@pytest.mark.parametrize(
    ("path", "reads", "writes"),
    [
        ("gemma-scope-2-1b-pt/resid_post_all/layer_10_width_262k_l0_small", "resid_post@10", None),
        ("gemma-scope-2-4b-it/attn_out/layer_5_width_16k_l0_small", "z@5", None),
        ("gemma-scope-2-4b-it/mlp_out_all/layer_5_width_16k_l0_small", "mlp_out@5", None),
        ("gemma-scope-2-1b-pt/transcoder_all/layer_5_width_16k_l0_big", "mlp_in@5", "mlp_out@5"),
    ],
)
def test_a_gemma_3_folder_without_config_is_known_by_its_path(second, path, reads, writes):
    config = FORMAT.read(second(path, None)[0], Given()).dictionary.config
    assert (config.reads, config.writes) == ((reads,), (writes or reads,))
    assert config.model is not None
    assert config.model.removeprefix("google/gemma-3-") == path[14:19]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "topk"}, 'architecture = "topk"'),
        ({"type": "crosscoder"}, 'type = "crosscoder"'),
        ({"widht": 3}, "unknown field 'widht'.*Did you mean width"),
    ],
)
def test_what_cannot_be_represented_is_refused(second, change, message):
    with pytest.raises(ArtifactError, match=message):
        FORMAT.read(second("one", TRANSCODER | change)[0], Given())


def test_nothing_is_unpickled(first):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("code of a checkpoint ran",))

    folder, _ = first("one")
    np.savez(folder / "params.npz", W_enc=np.array([Trap()], dtype=object))
    with pytest.raises(ArtifactError, match="damaged"):
        FORMAT.read(folder, Given("resid_post@1"))


def test_half_downloaded_arrays_are_one_sentence(first):
    folder, _ = first("one")
    path = folder / "params.npz"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ArtifactError, match="damaged or only half downloaded"):
        FORMAT.read(folder, Given("resid_post@1"))


def test_a_layer_of_a_cross_layer_transcoder_is_refused(second):
    folder, _ = second("one", None)
    path = folder / "params.safetensors"
    values = {n: torch.from_numpy(a) for n, a in arrays(lower=True).items()}
    save_file(values | {"w_dec": torch.zeros(F, 3, D)}, path)
    with pytest.raises(ArtifactError, match="'W_dec' as a matrix of one dictionary"):
        FORMAT.read(folder, Given("mlp_in@1", "mlp_out@1"))


def test_it_is_a_format_that_knows_its_folders_and_files(first, second, tmp_path):
    assert isinstance(FORMAT, Format)
    folder, _ = first("one")
    assert FORMAT.recognises(folder)
    assert FORMAT.recognises(folder / "params.npz")
    assert FORMAT.recognises(second("two", None)[0])
    assert not FORMAT.recognises(tmp_path)
    given = Given("resid_post@1")
    by_file = FORMAT.read(folder / "params.npz", given).dictionary
    assert torch.equal(by_file.W_enc, FORMAT.read(folder, given).dictionary.W_enc)
