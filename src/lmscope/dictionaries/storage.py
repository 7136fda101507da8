"""The native folder of a dictionary: `config.json`, `weights.safetensors`, `README.md`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.files import atomic_path, sha256_file, write_text
from lmscope.dictionaries.config import DictionaryConfig

KIND = "dictionary"
FORMAT_VERSION = 1
_CONFIG, _WEIGHTS, _CARD = "config.json", "weights.safetensors", "README.md"


def write(path: Path | str, config: DictionaryConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write a folder; the config, which names the weights' hash, comes last and makes it whole.

    Raises:
        ArtifactError: The folder cannot be written.
    """
    path = Path(path)
    with atomic_path(path / _WEIGHTS) as temporary:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(plain, temporary)
    write_text(path / _CARD, _card(config))
    head = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "sha256": {_WEIGHTS: sha256_file(path / _WEIGHTS)},
        "dictionary": config.to_mapping(),
    }
    write_text(path / _CONFIG, json.dumps(head, indent=1, sort_keys=True) + "\n")


def read(path: Path | str) -> tuple[DictionaryConfig, dict[str, Tensor]]:
    """The config and the tensors of a folder.

    Raises:
        ArtifactError: The folder is missing, damaged, or of a newer format.
    """
    path = Path(path)
    head = _read_head(path)
    try:
        config = DictionaryConfig.from_mapping(head["dictionary"], f"'{path / _CONFIG}'")
        expected = head["sha256"][_WEIGHTS]
    except RecipeError as error:
        raise ArtifactError(str(error)) from None
    except (KeyError, TypeError):
        raise ArtifactError(
            f"'{path / _CONFIG}' lacks a part; save the dictionary again."
        ) from None
    weights = path / _WEIGHTS
    try:
        if sha256_file(weights) != expected:
            raise ArtifactError(
                f"'{weights}' is damaged: it is not the file that '{_CONFIG}' names; copy it again."
            )
        return config, load_file(weights)
    except FileNotFoundError:
        raise ArtifactError(f"'{weights}' is missing; copy the whole folder.") from None
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"'{weights}' cannot be read: {error}.") from None


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


def _read_head(path: Path) -> dict[str, Any]:
    try:
        head = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            f"There is no dictionary at '{path}': '{_CONFIG}' is missing."
        ) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"'{path / _CONFIG}' is damaged: {error}.") from None
    if not isinstance(head, dict) or head.get("kind") != KIND:
        raise ArtifactError(f"'{path / _CONFIG}' describes no dictionary of this project.")
    version = head.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise ArtifactError(f"'{path / _CONFIG}' has no format version; save the dictionary again.")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"'{path}' has format {version}, this version reads up to {FORMAT_VERSION}: update lmscope."
        )
    return head


def _card(config: DictionaryConfig) -> str:
    kind = "Transcoder" if config.is_transcoder else "Sparse autoencoder"
    sites = " -> ".join(f"`{s}`" for s in dict.fromkeys((*config.reads, *config.writes)))
    model = "" if config.model is None else f" of `{config.model}`"
    return (
        f"# {kind} at {sites}{model}\n\n"
        f"{config.n_latents} latents, sparsity `{config.sparsity.kind}`, reads {config.d_read} and "
        f"writes {config.d_write} coordinates.\n\n"
        "```python\nfrom lmscope import Dictionary\n\n"
        'dictionary = Dictionary.load("this folder")\n'
        "reconstruction = dictionary(activations)\n```\n"
    )
