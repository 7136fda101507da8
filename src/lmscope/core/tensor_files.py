"""Tensors in safetensors files, with the errors that ordinary files have."""

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmscope.core.errors import ArtifactError


def write_tensors(path: Path | str, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors; meant for a temporary path of `core.files`.

    Raises:
        OSError: As an ordinary file would give it; the library itself hides the number in its text.
    """
    try:
        save_file(dict(tensors), str(path))
    except SafetensorError as error:
        if match := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(match[1]), str(error)) from None
        raise


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """The named tensors of a file, on the CPU.

    Raises:
        ArtifactError: The file is absent, cut short or of another format.
    """
    try:
        return load_file(str(path))
    except FileNotFoundError:
        raise ArtifactError(f"There are no tensors at '{path}'.") from None
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"The tensors of '{path}' cannot be read: {error}.") from None
