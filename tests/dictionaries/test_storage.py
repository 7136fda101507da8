import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmscope.core.errors import ArtifactError
from lmscope.core.files import sha256_file
from lmscope.dictionaries.config import TopK
from lmscope.dictionaries.dictionary import Dictionary


@pytest.fixture
def folder(tmp_path, make_dictionary):
    make_dictionary(TopK(k=3), dtype=torch.float32).save(tmp_path / "one")
    return tmp_path / "one"


def edit_head(folder, **changes):
    head = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**head, **changes}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_saved_dictionary_loads_bit_equal_and_frozen(tmp_path, make_dictionary, dtype):
    dictionary = make_dictionary(TopK(k=3), d_write=4, skip=True, dtype=dtype)
    dictionary.save(tmp_path)
    loaded = Dictionary.load(tmp_path)
    assert loaded.config == dictionary.config
    assert not any(p.requires_grad for p in loaded.parameters())
    for name, tensor in dictionary.state_dict().items():
        assert loaded.state_dict()[name].dtype == dtype
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_saving_twice_gives_equal_bytes(folder, tmp_path, make_dictionary):
    make_dictionary(TopK(k=3), dtype=torch.float32).save(tmp_path / "two")
    for name in ("config.json", "weights.safetensors", "README.md"):
        assert (folder / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="There is no dictionary at"):
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


def test_a_damaged_config_is_refused(folder):
    (folder / "config.json").write_text('{"kind": ')
    with pytest.raises(ArtifactError, match="damaged"):
        Dictionary.load(folder)


def test_a_newer_format_is_refused(folder):
    edit_head(folder, format_version=99)
    with pytest.raises(ArtifactError, match=r"format 99.*update"):
        Dictionary.load(folder)


def test_another_kind_of_folder_is_refused(folder):
    edit_head(folder, kind="atlas")
    with pytest.raises(ArtifactError, match="dictionary"):
        Dictionary.load(folder)


def test_a_config_with_an_unknown_option_is_refused(folder):
    head = json.loads((folder / "config.json").read_text())
    edit_head(folder, dictionary={**head["dictionary"], "n_latnets": 3})
    with pytest.raises(ArtifactError, match="n_latents"):
        Dictionary.load(folder)


def test_weights_of_another_shape_are_refused(folder):
    weights = folder / "weights.safetensors"
    tensors = load_file(weights)
    save_file({**tensors, "W_enc": torch.zeros(3, 6)}, weights)
    edit_head(folder, sha256={"weights.safetensors": sha256_file(weights)})
    with pytest.raises(ArtifactError, match=r"no usable dictionary: 'W_enc' has shape \[3, 6\]"):
        Dictionary.load(folder)
