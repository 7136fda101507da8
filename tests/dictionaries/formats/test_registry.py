"""Formats by name and by their files; a tree of dictionaries; what is none of them."""

import json

import pytest
import torch

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.dictionaries.config import DictionaryConfig, JumpReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.formats import registry, source
from lmscope.dictionaries.formats.format import Format, Given, WritableFormat


@pytest.fixture
def save(tmp_path):
    """A small random dictionary, written in a format."""

    def make(path, to="lmscope", sparsity=None, layer=3):
        config = DictionaryConfig(
            reads=(f"mlp_in@{layer}",),
            writes=(f"mlp_out@{layer}",),
            d_read=6,
            d_write=6,
            n_latents=20,
            sparsity=sparsity or JumpReLU(),
            normalisation="none",
        )
        dictionary = Dictionary(config)
        g = torch.Generator().manual_seed(layer)
        with torch.no_grad():
            for parameter in dictionary.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=g))
        registry.named(to).write(dictionary.requires_grad_(False), tmp_path / path)
        return tmp_path / path

    return make


def test_every_format_has_its_name_and_a_convention():
    for name, one in zip(registry.MODULES, registry.formats(), strict=True):
        assert isinstance(one, Format)
        assert one.name == name
        assert one.convention.endswith(".")
        assert f"({name})" in registry.LOOKED_FOR


@pytest.mark.parametrize(
    "name", [n for n in registry.MODULES if isinstance(registry.named(n), WritableFormat)]
)
def test_what_a_format_writes_is_recognised_as_that_format(save, name):
    folder = save("one", name, sparsity=TopK(k=3) if name == "sparsify" else None)
    assert registry.recognise(folder).name == name


def test_a_misspelt_format_names_near_ones():
    with pytest.raises(RecipeError, match=r"'saelens'\. Did you mean sae-lens"):
        registry.named("saelens")


def test_a_folder_of_no_format_lists_what_was_looked_for(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ArtifactError) as caught:
        registry.recognise(tmp_path)
    assert "holds no dictionary of a known format" in str(caught.value)
    for name in registry.MODULES:
        assert name in str(caught.value)
    with pytest.raises(ArtifactError, match="There is nothing at"):
        registry.recognise(tmp_path / "absent")


def test_a_folder_of_two_formats_asks_which(tmp_path):
    (tmp_path / "params.npz").write_bytes(b"")
    (tmp_path / "ae.pt").write_bytes(b"")
    with pytest.raises(
        ArtifactError, match=r"gemma-scope and dictionary-learning: say which with --from"
    ):
        registry.recognise(tmp_path)


def test_a_tree_is_walked_in_order_and_each_dictionary_found_once(save, tmp_path):
    save("tree/b/one")
    save("tree/a", "sae-lens")
    save("tree/.hidden/one")
    (tmp_path / "tree/c").mkdir()
    found = source.find_all(tmp_path / "tree")
    assert [(one.name, one.format.name) for one in found] == [
        ("a", "sae-lens"),
        ("b/one", "lmscope"),
    ]
    only = source.find_all(tmp_path / "tree", "lmscope")
    assert [one.name for one in only] == ["b/one"]
    assert [one.name for one in source.find_all(tmp_path / "tree/a")] == ["."]
    with pytest.raises(ArtifactError, match="no dictionary of a known format"):
        source.find_all(tmp_path / "tree/c")
    with pytest.raises(ArtifactError, match="There is nothing at"):
        source.find_all(tmp_path / "absent")


def test_a_set_of_layers_gives_each_layer(save, tmp_path):
    dictionaries = {str(n): Dictionary.load(save(f"n{n}", layer=n)) for n in range(11)}
    registry.named("circuit-tracer").write_set(dictionaries, tmp_path / "set")
    found = source.find_all(tmp_path / "set")
    assert [one.path.name for one in found] == [f"layer_{n}.safetensors" for n in range(11)]
    last = found[-1].format.read(found[-1].path, Given()).dictionary
    assert torch.equal(last.W_enc, dictionaries["10"].W_enc)


def test_from_pretrained_reads_any_format_of_a_folder_here(save, tmp_path):
    native = Dictionary.load(save("native"))
    for name in ("native", "lens"):
        folder = tmp_path / name if name == "native" else save(name, "sae-lens")
        read = Dictionary.from_pretrained(str(folder))
        assert torch.equal(read.W_enc, native.W_enc)
        assert not read.W_enc.requires_grad
    below = Dictionary.from_pretrained(str(tmp_path), subfolder="lens", format="sae-lens")
    assert torch.equal(below.threshold, native.threshold)
    given = Dictionary.from_pretrained(str(tmp_path / "native"), reads="mlp_norm@4", model="m")
    assert given.config.reads == ("mlp_norm@4",)
    assert (given.config.writes, given.config.model) == (("mlp_out@3",), "m")


def test_from_pretrained_says_what_is_wrong_with_a_path(save, tmp_path):
    with pytest.raises(ArtifactError, match="There is nothing at"):
        Dictionary.from_pretrained("./absent")
    with pytest.raises(ArtifactError, match="There is nothing at"):
        Dictionary.from_pretrained(str(save("one")), subfolder="absent")
    with pytest.raises(ArtifactError, match="which has no revision"):
        Dictionary.from_pretrained(str(tmp_path / "one"), revision="main")
    with pytest.raises(RecipeError, match="No dictionary format is called"):
        Dictionary.from_pretrained(str(tmp_path / "one"), format="nope")
    with pytest.raises(ArtifactError, match="no folder here, and no name on the hub"):
        Dictionary.from_pretrained("just-a-word")


def test_a_health_artifact_is_no_dictionary(tmp_path):
    (tmp_path / "manifest.json").write_text('{"kind": "health"}')
    with pytest.raises(ArtifactError, match="no dictionary of a known format"):
        registry.recognise(tmp_path)
