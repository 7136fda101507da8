"""The native folder of a dictionary: `config.json`, `weights.safetensors`, `README.md`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.dictionaries.card import NOTHING_KNOWN, Provenance, write_card
from lmscope.dictionaries.config import DictionaryConfig
from lmscope.runs.artifact import read_manifest, write_artifact

KIND: Final = "dictionary"
FORMAT_VERSION: Final = 1
READABLE: Final = (FORMAT_VERSION,)
"""Formats that `read` knows: this one and, once there is one, the one before."""
CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "weights.safetensors"
CARD_FILE: Final = "README.md"


def write(
    path: Path | str,
    config: DictionaryConfig,
    tensors: Mapping[str, Tensor],
    provenance: Provenance = NOTHING_KNOWN,
) -> None:
    """Write a dictionary as an artifact, with its card.

    Raises:
        ArtifactError: Something is there already, or the folder cannot be written.
    """
    card = write_card(config, FORMAT_VERSION, provenance)
    with write_artifact(path, KIND, FORMAT_VERSION) as folder:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            save_file(plain, folder / WEIGHTS_FILE)
        except SafetensorError as error:  # its own error also where the disk is full
            raise ArtifactError(f"'{path}' cannot be written: {error}.") from error
        text = json.dumps(config.to_mapping(), indent=1, sort_keys=True) + "\n"
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
        (folder / CARD_FILE).write_text(card, encoding="utf-8")


def read(path: Path | str) -> tuple[DictionaryConfig, dict[str, Tensor]]:
    """The config and the tensors of an artifact, every byte checked against its manifest.

    Raises:
        ArtifactError: The folder is missing, damaged, or of another kind or format.
    """
    path = Path(path)
    read_manifest(path, KIND, READABLE, verify=True)
    config = _config(path)
    try:
        return config, load_file(path / WEIGHTS_FILE)
    except (OSError, ValueError, SafetensorError) as error:
        raise ArtifactError(f"'{path}' holds no usable dictionary: {error}.") from None


def read_config(path: Path | str) -> DictionaryConfig:
    """The config of an artifact; its weights are not looked at.

    Raises:
        ArtifactError: As of `read`.
    """
    path = Path(path)
    read_manifest(path, KIND, READABLE)
    return _config(path)


def _config(path: Path) -> DictionaryConfig:
    try:
        values = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"{CONFIG_FILE} is no object")
        return DictionaryConfig.from_mapping(values, f"'{path / CONFIG_FILE}'")
    except RecipeError as error:
        raise ArtifactError(str(error)) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"'{path}' holds no usable dictionary: {error}.") from None


def check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Compare names, shapes and dtypes of tensors with those that a config asks for.

    Raises:
        ArtifactError: The first difference.
    """
    if missing := sorted(expected.keys() - found.keys()):
        raise ArtifactError(f"the weights lack '{missing[0]}'.")
    if surplus := sorted(found.keys() - expected.keys()):
        raise ArtifactError(f"the weights hold '{surplus[0]}', which the configuration does not.")
    dtype = found["W_enc"].dtype
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            raise ArtifactError(
                f"'{name}' has shape {list(tensor.shape)} where the configuration asks for "
                f"{list(expected[name].shape)}."
            )
        if not tensor.is_floating_point() or tensor.dtype != dtype:
            raise ArtifactError(
                f"'{name}' is {tensor.dtype}, 'W_enc' {dtype}: one float is needed."
            )
