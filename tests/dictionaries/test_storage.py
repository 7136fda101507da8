import json
import shutil

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from lmscope.core.errors import ArtifactError
from lmscope.dictionaries import storage
from lmscope.dictionaries.config import TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.runs.artifact import write_artifact


@pytest.fixture
def folder(tmp_path, make_dictionary):
    make_dictionary(TopK(k=3), dtype=torch.float32).save(tmp_path / "one")
    return tmp_path / "one"


def rewrite(folder, kind="dictionary", version=1, **files):
    """The same artifact, whole, with other content."""
    contents = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.json"}
    contents |= {name.replace("__", "."): content for name, content in files.items()}
    shutil.rmtree(folder)
    with write_artifact(folder, kind, version) as new:
        for name, content in contents.items():
            (new / name).write_bytes(content)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_saved_dictionary_loads_bit_equal_and_frozen(tmp_path, make_dictionary, dtype):
    dictionary = make_dictionary(TopK(k=3), d_write=4, skip=True, dtype=dtype)
    dictionary.save(tmp_path / "one")
    loaded = Dictionary.load(tmp_path / "one")
    assert loaded.config == dictionary.config
    assert not any(p.requires_grad for p in loaded.parameters())
    for name, tensor in dictionary.state_dict().items():
        assert loaded.state_dict()[name].dtype == dtype
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_saving_twice_gives_equal_bytes(folder, tmp_path, make_dictionary):
    make_dictionary(TopK(k=3), dtype=torch.float32).save(tmp_path / "two")
    for name in ("config.json", "weights.safetensors", "README.md", "manifest.json"):
        assert (folder / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="absent"):
        Dictionary.load(tmp_path / "absent")


def test_missing_weights_are_named(folder):
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"weights\.safetensors' is missing"):
        Dictionary.load(folder)


def test_truncated_weights_are_refused(folder):
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match="is damaged"):
        Dictionary.load(folder)


def test_one_changed_byte_is_refused(folder):
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ArtifactError, match="is damaged"):
        Dictionary.load(folder)


def test_a_dictionary_is_never_written_over(folder, make_dictionary):
    with pytest.raises(ArtifactError, match="exists already"):
        make_dictionary(TopK(k=3)).save(folder)


def test_a_full_disk_leaves_nothing_half_written(tmp_path, make_dictionary, monkeypatch):
    def full(tensors, path):
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(storage, "save_file", full)
    with pytest.raises(ArtifactError, match="No space left"):
        make_dictionary(TopK(k=3)).save(tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


def test_a_newer_format_is_refused(folder):
    rewrite(folder, version=99)
    with pytest.raises(ArtifactError, match=r"format 99.*upgrade"):
        Dictionary.load(folder)


def test_another_kind_of_folder_is_refused(folder):
    rewrite(folder, kind="atlas")
    with pytest.raises(ArtifactError, match="its kind is 'atlas'"):
        Dictionary.load(folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config__json": b'{"reads": '}, "no usable dictionary"),
        ({"config__json": b"[]"}, r"config\.json is no object"),
        ({"weights__safetensors": b"nonsense"}, "no usable dictionary"),
        ({"weights__safetensors": save({"W_enc": torch.zeros(3, 6)})}, "weights lack 'W_dec'"),
    ],
)
def test_content_that_is_no_dictionary_is_refused(folder, files, message):
    rewrite(folder, **files)
    with pytest.raises(ArtifactError, match=message):
        Dictionary.load(folder)


def test_a_config_with_an_unknown_option_is_refused(folder):
    values = json.loads((folder / "config.json").read_text())
    rewrite(folder, config__json=json.dumps({**values, "n_latnets": 3}).encode())
    with pytest.raises(ArtifactError, match="n_latents"):
        Dictionary.load(folder)


def test_weights_of_another_shape_are_refused(folder):
    tensors = load_file(folder / "weights.safetensors")
    rewrite(folder, weights__safetensors=save({**tensors, "W_enc": torch.zeros(3, 6)}))
    with pytest.raises(ArtifactError, match=r"no usable dictionary: 'W_enc' has shape \[3, 6\]"):
        Dictionary.load(folder)
