import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.dictionaries.config import BatchTopK, JumpReLU, ReLU, TopK
from lmscope.dictionaries.formats.circuit_tracer import FORMAT
from lmscope.dictionaries.formats.format import Given, SetFormat

D, N = 6, 20
SPARSITIES = [
    ReLU(),
    JumpReLU(),
    TopK(k=4),
    TopK(k=4, weight_by_decoder_norm=False),
    BatchTopK(k=4),
]


def theirs(layer, *, threshold=None, skip=False):
    """Random tensors by circuit-tracer's names and shapes."""
    shapes = {"W_enc": (N, D), "b_enc": (N,), "W_dec": (N, D), "b_dec": (D,)}
    if skip:
        shapes["W_skip"] = (D, D)
    generator = torch.Generator().manual_seed(layer)
    drawn = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }
    if threshold is not None:
        drawn["activation_function.threshold"] = torch.full(threshold, 0.7, dtype=torch.float64)
    return drawn


def put(folder, lines="", n_layers=2, **options):
    """A set in circuit-tracer's layout."""
    folder.mkdir()
    (folder / "config.yaml").write_text(
        'model_name: "google/gemma-2-2b"\nmodel_kind: transcoder_set\n'
        "feature_input_hook: hook_resid_mid\nfeature_output_hook: hook_mlp_out\n"
        f"scan: some/set\n{lines}"
    )
    for layer in range(n_layers):
        save_file(theirs(layer, **options), folder / f"layer_{layer}.safetensors")
    return folder


def naive(t, x, k=None):
    """What circuit-tracer documents, one token and one latent at a time."""
    rows = []
    for token in x:
        pre = [float(t["W_enc"][j] @ token + t["b_enc"][j]) for j in range(N)]
        if k is not None:
            kept = set(sorted(range(N), key=lambda j: -pre[j])[:k])
            latents = [pre[j] if j in kept else 0.0 for j in range(N)]
        elif "activation_function.threshold" in t:
            limits = t["activation_function.threshold"].expand(N)
            latents = [pre[j] if pre[j] > float(limits[j]) else 0.0 for j in range(N)]
        else:
            latents = [max(value, 0.0) for value in pre]
        output = t["b_dec"].clone()
        for j in range(N):
            output += latents[j] * t["W_dec"][j]
        if "W_skip" in t:
            output += t["W_skip"] @ token
        rows.append(output)
    return torch.stack(rows)


@pytest.fixture
def x():
    return torch.randn(7, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.fixture
def make_set(make_dictionary):
    """Transcoders of layers 0 to n - 1."""

    def make(sparsity, n_layers=3, read="mlp_in", dtype=torch.float64, **options):
        layers = {}
        for n in range(n_layers):
            made = make_dictionary(sparsity, seed=n, d_write=D, dtype=dtype, **options)
            made.config = made.config.model_copy(
                update={"reads": (f"{read}@{n}",), "writes": (f"mlp_out@{n}",)}
            )
            layers[f"any-{n}"] = made
        return layers

    return make


@pytest.mark.parametrize(
    ("lines", "options", "k"),
    [
        ("", {}, None),
        ("activation: relu\n", {}, None),
        ("", {"threshold": (N,)}, None),
        ("", {"threshold": ()}, None),
        ("", {"skip": True}, None),
        ("activation: topk\nk: 4\n", {}, 4),
    ],
)
def test_sets_compute_what_circuit_tracer_documents(tmp_path, x, lines, options, k):
    folder = put(tmp_path / "set", lines, **options)
    layers = FORMAT.read_set(folder, Given())
    assert list(layers) == ["layer_0", "layer_1"]
    for layer, imported in enumerate(layers.values()):
        expected = naive(theirs(layer, **options), x, k)
        torch.testing.assert_close(imported.dictionary(x), expected)


def test_the_topk_of_few_positive_values_is_where_the_two_differ(tmp_path, x):
    folder = put(tmp_path / "set", "activation: topk\nk: 20\n", n_layers=1)
    imported = FORMAT.read(folder, Given())
    assert not torch.allclose(imported.dictionary(x), naive(theirs(0), x, 20))
    assert any("negative" in note for note in imported.notes)
    assert "negative" in FORMAT.convention


def test_a_file_is_read_by_hand(tmp_path):
    folder = put(tmp_path / "set", n_layers=0)
    tensors = {
        "W_enc": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        "b_enc": torch.tensor([0.0, 1.0]),
        "W_dec": torch.tensor([[1.0, 2.0], [5.0, 5.0]]),
        "b_dec": torch.tensor([0.0, 1.0]),
        "activation_function.threshold": torch.tensor([0.5, 4.0]),
        "W_skip": torch.tensor([[0.0, 1.0], [0.0, 0.0]]),
    }
    save_file(tensors, folder / "layer_0.safetensors")
    # pre = (2, 3 + 1): the second does not pass 4; 2 * (1, 2) + (0, 1) + (3, 0)
    assert FORMAT.read(folder, Given()).dictionary(torch.tensor([2.0, 3.0])).tolist() == [5.0, 5.0]


@pytest.mark.parametrize(
    ("hook", "site"),
    [
        ("hook_resid_mid", "resid_mid@1"),
        ("ln2.hook_normalized", "mlp_norm@1"),
        ("mlp.hook_in", "mlp_in@1"),
    ],
)
def test_hooks_are_sites(tmp_path, hook, site):
    folder = put(tmp_path / "set")
    path = folder / "config.yaml"
    path.write_text(
        path.read_text().replace("hook_resid_mid", hook).replace("hook_mlp_out", "mlp.hook_out")
    )
    found = FORMAT.read(folder / "layer_1.safetensors", Given()).dictionary.config
    assert (found.reads, found.writes) == ((site,), ("mlp_out@1",))
    assert found.model == "google/gemma-2-2b"


def test_a_set_is_read_with_patterns_of_sites(tmp_path):
    layers = FORMAT.read_set(put(tmp_path / "set"), Given(reads="mlp_norm@*", model="mine"))
    assert [one.dictionary.config.reads for one in layers.values()] == [
        ("mlp_norm@0",),
        ("mlp_norm@1",),
    ]
    assert {one.dictionary.config.model for one in layers.values()} == {"mine"}
    with pytest.raises(RecipeError, match=re.escape("write mlp_norm@* for a set")):
        FORMAT.read_set(tmp_path / "set", Given(reads="mlp_norm@0"))


def test_a_listed_set_is_read_in_the_order_of_the_list(tmp_path, x):
    folder = put(tmp_path / "set", "transcoders:\n- b.safetensors\n- a.safetensors\n")
    (folder / "layer_0.safetensors").rename(folder / "a.safetensors")
    (folder / "layer_1.safetensors").rename(folder / "b.safetensors")
    layers = FORMAT.read_set(folder, Given())
    torch.testing.assert_close(layers["layer_0"].dictionary(x), naive(theirs(1), x))
    assert layers["layer_0"].dictionary.config.writes == ("mlp_out@0",)


def test_a_file_without_a_config_needs_its_sites(tmp_path, x):
    path = tmp_path / "layer_4.safetensors"
    save_file(theirs(4), path)
    with pytest.raises(RecipeError, match="which site it writes"):
        FORMAT.read(path, Given())
    imported = FORMAT.read(path, Given(reads="mlp_in@4", writes="mlp_out@4"))
    torch.testing.assert_close(imported.dictionary(x), naive(theirs(4), x))
    assert any("taken as ReLU" in note for note in imported.notes)


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_what_is_written_computes_the_same_in_circuit_tracer(
    tmp_path, make_set, x, sparsity, skip, scale
):
    layers = make_set(sparsity, skip=skip, n_layers=2)
    for one in layers.values():
        one.scale_in.fill_(scale)
        one.scale_out.fill_(scale)
    FORMAT.write_set(layers, tmp_path / "set")
    k = 4 if isinstance(sparsity, TopK) else None
    for n, dictionary in enumerate(layers.values()):
        tensors = load_file(tmp_path / "set" / f"layer_{n}.safetensors")
        torch.testing.assert_close(naive(tensors, x, k), dictionary(x))


@pytest.mark.parametrize("sparsity", [ReLU(), JumpReLU(), TopK(k=4, weight_by_decoder_norm=False)])
def test_folded_transcoders_come_back_equal_in_every_bit(tmp_path, make_set, sparsity):
    layers = {
        name: one.fold() for name, one in make_set(sparsity, skip=True, dtype=torch.float32).items()
    }
    FORMAT.write_set(layers, tmp_path / "set")
    again = FORMAT.read_set(tmp_path / "set", Given())
    for one, other in zip(layers.values(), again.values(), strict=True):
        assert other.dictionary.config == one.config
        for name, tensor in other.dictionary.state_dict().items():
            assert torch.equal(tensor, one.state_dict()[name]), name


@pytest.mark.parametrize(
    ("sparsity", "text"),
    [
        (ReLU(), 'activation: "relu"\n'),
        (JumpReLU(), ""),
        (TopK(k=4), 'activation: "topk"\nk: 4\n'),
    ],
)
def test_the_config_says_what_the_loader_asks_for(tmp_path, make_set, sparsity, text):
    FORMAT.write_set(make_set(sparsity, model="gpt2"), tmp_path / "set")
    assert (tmp_path / "set" / "config.yaml").read_text() == (
        'model_kind: "transcoder_set"\nmodel_name: "gpt2"\nscan: "set"\n'
        f'feature_input_hook: "mlp.hook_in"\nfeature_output_hook: "hook_mlp_out"\n{text}'
    )
    tensors = load_file(tmp_path / "set" / "layer_1.safetensors")
    expected = {"W_enc": (N, D), "b_enc": (N,), "W_dec": (N, D), "b_dec": (D,)}
    if isinstance(sparsity, JumpReLU):
        expected["activation_function.threshold"] = (N,)
    assert {name: tuple(t.shape) for name, t in tensors.items()} == expected


def test_a_negative_threshold_lets_no_negative_latent_through(tmp_path, make_set, x):
    layers = make_set(JumpReLU(), n_layers=1)
    layers["any-0"].threshold.fill_(-0.5)
    FORMAT.write_set(layers, tmp_path / "set")
    tensors = load_file(tmp_path / "set" / "layer_0.safetensors")
    torch.testing.assert_close(naive(tensors, x), layers["any-0"](x))


def edit(old, new):
    def change(folder):
        path = folder / "config.yaml"
        path.write_text(path.read_text().replace(old, new))

    return change


def tensor(**values):
    def change(folder):
        tensors = load_file(folder / "layer_0.safetensors") | values
        kept = {name: t for name, t in tensors.items() if t is not None}
        save_file(kept, folder / "layer_0.safetensors")

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (edit("transcoder_set", "cross_layer_transcoder"), "whose latents write several layers"),
        (edit("scan: some/set", "activation: topk"), "does not say k"),
        (edit("scan: some/set", "activation: toppk"), "Did you mean topk"),
        (edit("scan: some/set", "activation: jumprelu"), "that a jumprelu set has"),
        (edit("model_kind: transcoder_set", ""), "lacks 'model_kind'"),
        (edit("scan: some/set", "transcoders:\n- hf://a/b/c.npz"), "fetch the files"),
        (edit("scan: some/set", "transcoders:\n- gone.safetensors"), "no safetensors file"),
        (tensor(b_enc=torch.zeros(N + 1)), "'b_enc' of"),
        (tensor(b_dec=None), "lacks the tensor 'b_dec'"),
        (tensor(W_dec=None), "lacks a matrix 'W_dec'"),
        (tensor(log_thresholds=torch.zeros(N)), "'log_thresholds' that is not known"),
        (
            tensor(**{"activation_function.threshold": torch.full((N,), -0.1)}),
            "let negative latents through",
        ),
        (
            lambda folder: (
                edit("scan: some/set", "activation: relu")(folder),
                tensor(**{"activation_function.threshold": torch.ones(N)})(folder),
            ),
            "'activation_function.threshold' that is not known",
        ),
        (lambda folder: (folder / "config.yaml").unlink(), "has no config.yaml"),
        (lambda folder: (folder / "layer_0.safetensors").unlink(), "no layer_N.safetensors"),
    ],
)
def test_what_cannot_be_taken_over_exactly_is_one_sentence(tmp_path, change, words):
    folder = put(tmp_path / "set", n_layers=1)
    change(folder)
    with pytest.raises(ArtifactError, match=re.escape(words)):
        FORMAT.read_set(folder, Given())


def test_many_layers_are_not_one_dictionary(tmp_path):
    folder = put(tmp_path / "set")
    with pytest.raises(RecipeError, match="a set of 2 transcoders"):
        FORMAT.read(folder, Given())


def test_layers_of_a_set_leave_no_gap_and_share_their_config(tmp_path, make_set):
    layers = make_set(TopK(k=4))
    for names, words in (
        (("any-0", "any-2"), "the transcoder of layer 1 is missing"),
        (("any-1",), "the transcoder of layer 0 is missing"),
    ):
        with pytest.raises(ArtifactError, match=words):
            FORMAT.write_set({name: layers[name] for name in names}, tmp_path / "set")
    with pytest.raises(ArtifactError, match="Two transcoders of layer 0"):
        FORMAT.write_set({"a": layers["any-0"], "b": layers["any-0"]}, tmp_path / "set")
    other = make_set(TopK(k=5))
    with pytest.raises(ArtifactError, match="share their k; those of layers 0 and 1 differ"):
        FORMAT.write_set({"a": layers["any-0"], "b": other["any-1"]}, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_what_is_no_transcoder_of_a_layer_is_not_written(tmp_path, make_dictionary):
    for options, words in (
        ({}, "This dictionary reads 'resid_post@3' and writes 'resid_post@3'"),
        ({"d_write": 4}, "reads 6 and writes 4"),
    ):
        with pytest.raises(ArtifactError, match=re.escape(words[1:])):
            FORMAT.write(make_dictionary(ReLU(), **options), tmp_path / "set")


def test_a_site_without_a_transformer_lens_name_is_not_written(tmp_path, make_set):
    with pytest.raises(ArtifactError, match="'mixer_in@0' has no TransformerLens name"):
        FORMAT.write_set(make_set(ReLU(), read="mixer_in"), tmp_path / "set")


def test_the_format_holds_sets_and_knows_its_folders(tmp_path):
    assert isinstance(FORMAT, SetFormat)
    folder = put(tmp_path / "set")
    assert FORMAT.recognises(folder)
    assert FORMAT.recognises(folder / "layer_1.safetensors")
    assert not FORMAT.recognises(folder / "config.yaml")
    assert not FORMAT.recognises(tmp_path)
