import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.dictionaries.config import BatchTopK, JumpReLU, ReLU, TopK
from lmscope.dictionaries.formats.format import Given, WritableFormat
from lmscope.dictionaries.formats.sparsify import FORMAT, hookpoint_name, sites_of

D, N = 6, 18


def theirs(skip=False, seed=0):
    """Random tensors by sparsify's names and shapes."""
    shapes = {"encoder.weight": (N, D), "encoder.bias": (N,), "W_dec": (N, D), "b_dec": (D,)}
    if skip:
        shapes["W_skip"] = (D, D)
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def config(**options):
    return {
        "activation": "topk",
        "expansion_factor": 32,
        "normalize_decoder": True,
        "num_latents": N,
        "k": 4,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": D,
        **options,
    }


def put(folder, cfg, tensors):
    folder.mkdir(parents=True)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file(tensors, folder / "sae.safetensors")
    return folder


def naive(cfg, t, x):
    """What sparsify documents, one token and one latent at a time: ReLU, then the k largest."""
    rows = []
    for token in x:
        u = token if cfg["transcode"] else token - t["b_dec"]
        pre = [max(float(t["encoder.weight"][j] @ u + t["encoder.bias"][j]), 0.0) for j in range(N)]
        output = t["b_dec"].clone()
        for j in sorted(range(N), key=lambda j: -pre[j])[: cfg["k"]]:
            output += pre[j] * t["W_dec"][j]
        if "W_skip" in t:
            output += t["W_skip"] @ token  # the same as token times its transpose
        rows.append(output)
    return torch.stack(rows)


@pytest.fixture
def x():
    return torch.randn(7, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("transcode", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_files_compute_what_sparsify_documents(tmp_path, x, transcode, skip):
    cfg, tensors = config(transcode=transcode, skip_connection=skip), theirs(skip)
    imported = FORMAT.read(put(tmp_path / "layers.5.mlp", cfg, tensors), Given())
    torch.testing.assert_close(imported.dictionary(x), naive(cfg, tensors, x))


def test_other_readings_of_the_same_weights_differ(tmp_path, x):
    cfg, tensors = config(skip_connection=True), theirs(skip=True)
    right = FORMAT.read(put(tmp_path / "layers.5", cfg, tensors), Given()).dictionary(x)
    turned = tensors | {"W_skip": tensors["W_skip"].T}
    norms = tensors["W_dec"].norm(dim=1)
    weighted = tensors | {
        "encoder.weight": tensors["encoder.weight"] * norms[:, None],
        "encoder.bias": tensors["encoder.bias"] * norms,
        "W_dec": tensors["W_dec"] / norms[:, None],
    }
    for wrong in (
        naive(cfg | {"transcode": True}, tensors, x),
        naive(cfg, turned, x),
        naive(cfg, weighted, x),
    ):
        assert float((right - wrong).abs().max()) > 0.1


def test_a_file_is_read_by_hand(tmp_path):
    tensors = {
        "encoder.weight": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        "encoder.bias": torch.tensor([0.0, 0.5]),
        "W_dec": torch.tensor([[10.0, 0.0], [0.0, 1.0]]),
        "b_dec": torch.tensor([1.0, 1.0]),
    }
    cfg = config(d_in=2, num_latents=2, k=1)
    dictionary = FORMAT.read(put(tmp_path / "layers.0", cfg, tensors), Given()).dictionary
    # u = (2, 2); pre = (2, 2.5): the second is larger, though its decoder row is ten times shorter.
    assert dictionary.encode(torch.tensor([3.0, 3.0])).tolist() == [0.0, 2.5]
    assert dictionary(torch.tensor([3.0, 3.0])).tolist() == [1.0, 3.5]


@pytest.mark.parametrize(
    ("hookpoint", "inner", "outer"),
    [
        ("layers.10", "resid_pre@10", "resid_post@10"),
        ("model.layers.10", "resid_pre@10", "resid_post@10"),
        ("transformer.h.3", "resid_pre@3", "resid_post@3"),
        ("gpt_neox.layers.7.attention", "attn_in@7", "attn_out@7"),
        ("layers.5.mlp", "mlp_in@5", "mlp_out@5"),
        ("layers.5.self_attn", "attn_in@5", "attn_out@5"),
        ("h.5.attn", "attn_in@5", "attn_out@5"),
        ("backbone.layers.5.mixer", "mixer_in@5", "mixer_out@5"),
        ("embed_tokens", None, "embed"),
        ("layers.5.mlp.gate_proj", None, None),
        ("something", None, None),
    ],
)
def test_hookpoints_are_modules_of_hugging_face_models(hookpoint, inner, outer):
    assert sites_of(hookpoint) == (inner, outer)


@pytest.mark.parametrize(
    ("name", "transcode", "reads", "writes"),
    [
        ("layers.5.mlp", False, "mlp_out@5", "mlp_out@5"),
        ("layers.5.mlp", True, "mlp_in@5", "mlp_out@5"),
        ("layers.5", True, "resid_pre@5", "resid_post@5"),
        ("layers.5.mlp/seed3", False, "mlp_out@5", "mlp_out@5"),
    ],
)
def test_the_folder_names_the_site(tmp_path, name, transcode, reads, writes):
    folder = put(tmp_path / name, config(transcode=transcode), theirs())
    found = FORMAT.read(folder, Given()).dictionary.config
    assert (found.reads, found.writes) == ((reads,), (writes,))


def test_the_run_above_says_the_model(tmp_path):
    folder = put(tmp_path / "layers.5", config(), theirs())
    (tmp_path / "config.json").write_text('{"model": "EleutherAI/pythia-160m", "batch_size": 32}')
    assert FORMAT.read(folder, Given()).dictionary.config.model == "EleutherAI/pythia-160m"
    assert FORMAT.read(folder, Given(model="mine")).dictionary.config.model == "mine"


def test_no_number_of_latents_means_the_expansion_factor(tmp_path, x):
    cfg = config(num_latents=0, expansion_factor=3)
    tensors = theirs()
    imported = FORMAT.read(put(tmp_path / "layers.5", cfg, tensors), Given())
    assert imported.dictionary.config.n_latents == 18
    torch.testing.assert_close(imported.dictionary(x), naive(cfg, tensors, x))


WRITTEN = [
    (TopK(k=4), {}),
    (TopK(k=4), {"apply_b_dec_to_input": True}),
    (TopK(k=4, weight_by_decoder_norm=False), {}),
    (TopK(k=4), {"skip": True}),
    (TopK(k=4), {"d_write": 6}),
    (TopK(k=4), {"d_write": 6, "skip": True}),
]


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize(("sparsity", "options"), WRITTEN)
def test_what_is_written_computes_the_same_in_sparsify(
    tmp_path, make_dictionary, sparsity, options, scale, x
):
    dictionary = make_dictionary(sparsity, n_latents=N, **options)
    dictionary.scale_in.fill_(scale)
    dictionary.scale_out.fill_(scale)
    FORMAT.write(dictionary, tmp_path / "any")
    cfg = json.loads((tmp_path / "any" / "cfg.json").read_text())
    tensors = load_file(tmp_path / "any" / "sae.safetensors")
    torch.testing.assert_close(naive(cfg, tensors, x), dictionary(x))
    again = FORMAT.read(
        tmp_path / "any",
        Given(reads=dictionary.config.reads[0], writes=dictionary.config.writes[0]),
    )
    torch.testing.assert_close(again.dictionary(x), dictionary(x))


@pytest.mark.parametrize(("sparsity", "options"), WRITTEN)
def test_a_second_round_changes_no_bit(tmp_path, make_dictionary, sparsity, options):
    dictionary = make_dictionary(sparsity, n_latents=N, model_hash="abc", **options)
    layer = "layers.3.mlp" if "d_write" in options else "layers.3"
    FORMAT.write(dictionary, tmp_path / "a" / layer)
    first = FORMAT.read(tmp_path / "a" / layer, Given()).dictionary
    FORMAT.write(first, tmp_path / "b" / layer)
    second = FORMAT.read(tmp_path / "b" / layer, Given()).dictionary
    assert first.config == second.config
    assert first.config.model_hash == "abc"
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "options", [{}, {"skip": True}, {"d_write": 6}, {"d_write": 6, "skip": True}]
)
def test_a_folded_dictionary_comes_back_equal_in_every_bit(
    tmp_path, make_dictionary, options, dtype
):
    dictionary = make_dictionary(TopK(k=4), dtype=dtype, **options).fold()
    FORMAT.write(dictionary, tmp_path / "layers.3.mlp")
    again = FORMAT.read(tmp_path / "layers.3.mlp", Given()).dictionary
    assert again.config == dictionary.config
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, dictionary.state_dict()[name]), name


def test_a_bias_that_was_trained_on_is_read_as_it_stands(tmp_path, make_dictionary, x):
    FORMAT.write(make_dictionary(TopK(k=4), n_latents=N), tmp_path / "layers.3")
    path = tmp_path / "layers.3" / "sae.safetensors"
    tensors = load_file(path)
    tensors["encoder.bias"] += 0.5
    save_file(tensors, path)
    imported = FORMAT.read(tmp_path / "layers.3", Given())
    torch.testing.assert_close(imported.dictionary(x), naive(config(), tensors, x))
    assert imported.dictionary.config.apply_b_dec_to_input


def test_the_config_is_the_one_that_sparsify_writes(tmp_path, make_dictionary):
    FORMAT.write(make_dictionary(TopK(k=4), n_latents=N), tmp_path / "any")
    cfg = json.loads((tmp_path / "any" / "cfg.json").read_text())
    assert cfg == config(expansion_factor=3)
    tensors = load_file(tmp_path / "any" / "sae.safetensors")
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "encoder.weight": (N, D),
        "encoder.bias": (N,),
        "W_dec": (N, D),
        "b_dec": (D,),
    }


def test_decoder_rows_of_other_norms_are_not_called_normalised(tmp_path, make_dictionary):
    FORMAT.write(make_dictionary(TopK(k=4, weight_by_decoder_norm=False)), tmp_path / "any")
    assert not json.loads((tmp_path / "any" / "cfg.json").read_text())["normalize_decoder"]


@pytest.mark.parametrize(
    ("sites", "name"),
    [
        (("resid_post@3", "resid_post@3"), "layers.3"),
        (("mlp_out@3", "mlp_out@3"), "layers.3.mlp"),
        (("mlp_in@3", "mlp_out@3"), "layers.3.mlp"),
        (("attn_out@3", "attn_out@3"), "layers.3.self_attn"),
        (("mlp_norm@3", "mlp_out@3"), None),
        (("embed", "embed"), "embed_tokens"),
    ],
)
def test_a_dictionary_has_the_hookpoint_of_its_module(make_config, sites, name):
    made = make_config(TopK(k=4)).model_copy(update={"reads": sites[:1], "writes": sites[1:]})
    assert hookpoint_name(made) == name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"activation": "groupmax"}, "largest latent of each of k groups"),
        ({"activation": "topkk"}, "Did you mean topk"),
        ({"signed": True}, "keeps negative latents"),
        ({"k": 0}, "at least 1"),
        ({"k": 19}, "k = 19 latents cannot be kept of 18"),
        ({"num_latents": 17}, "shape [18, 6]"),
        ({"skip_connection": True}, "lacks the tensor 'W_skip'"),
        ({"d_in": None}, "lacks 'd_in'"),
        ({"transcoder": True}, "Did you mean transcode"),
    ],
)
def test_what_cannot_be_taken_over_exactly_is_one_sentence(tmp_path, change, words):
    folder = put(tmp_path / "layers.5", config(**change), theirs())
    with pytest.raises(ArtifactError, match=re.escape(words)):
        FORMAT.read(folder, Given())


def test_older_configs_and_training_options_change_nothing(tmp_path, x):
    cfg = config(signed=False, multi_topk=True, normalize_decoder=False)
    tensors = theirs()
    imported = FORMAT.read(put(tmp_path / "layers.5", cfg, tensors), Given())
    torch.testing.assert_close(imported.dictionary(x), naive(cfg, tensors, x))


@pytest.mark.parametrize("transcode", [False, True])
def test_a_folder_that_is_no_hookpoint_asks_for_the_site(tmp_path, transcode):
    folder = put(tmp_path / "best", config(transcode=transcode), theirs())
    with pytest.raises(RecipeError, match="does not say which site it"):
        FORMAT.read(folder, Given())
    given = Given(reads="mlp_in@1", writes="mlp_out@1" if transcode else None)
    assert FORMAT.read(folder, given).dictionary.config.reads == ("mlp_in@1",)


@pytest.mark.parametrize("sparsity", [ReLU(), JumpReLU(), BatchTopK(k=4)])
def test_other_sparsities_are_not_written(tmp_path, make_dictionary, sparsity):
    with pytest.raises(ArtifactError, match=f"this dictionary is a {sparsity.kind} one"):
        FORMAT.write(make_dictionary(sparsity), tmp_path / "any")
    assert not list(tmp_path.iterdir())


def test_two_widths_are_not_written(tmp_path, make_dictionary):
    with pytest.raises(ArtifactError, match="reads 6 and writes 4"):
        FORMAT.write(make_dictionary(TopK(k=4), d_write=4), tmp_path / "any")


def test_the_format_is_a_writable_one_and_knows_its_folders(tmp_path):
    assert isinstance(FORMAT, WritableFormat)
    assert FORMAT.recognises(put(tmp_path / "layers.5", config(), theirs()))
    assert not FORMAT.recognises(tmp_path)
