"""Which code computes the k-sparse products: torch's own operations, or the Triton kernels."""

import os
from importlib.util import find_spec

import torch

from lmscope.core.errors import RecipeError

VARIABLE = "LMSCOPE_TRITON"
"""Environment variable: `1` turns the kernels on, `0` off; `auto` or nothing leaves the default."""

_CHOICES = {"1": True, "0": False, "auto": None, "": None}


def use_triton(device: torch.device | str, asked: bool | None = None) -> bool:
    """Whether the Triton kernels compute the k-sparse products on a device.

    By default they do not, on any device: they were checked against naive loops in Triton's
    interpreter, but never timed on a GPU, so nothing says that they would be faster than torch's
    `embedding_bag` there. Whoever turns them on is told why when they cannot run.

    Args:
        device: Where the tensors lie.
        asked: True or False decides; None leaves it to the environment variable LMSCOPE_TRITON
            (`1`, `0` or `auto`), and that to the default.

    Raises:
        RecipeError: They were turned on and triton is not installed, or the device is no CUDA
            device (on a CPU they run only in the interpreter, TRITON_INTERPRET=1); or the
            variable says something else.
    """
    if asked is None:
        asked = _environment()
    if not asked:
        return False
    require_triton()
    kind = torch.device(device).type
    if kind != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise RecipeError(
            f"The Triton kernels need a CUDA device and the tensors are on '{kind}'; unset {VARIABLE} "
            "(torch's own operations then do the work), or set TRITON_INTERPRET=1 to test the kernels."
        )
    return True


def require_triton() -> None:
    """Check that the optional package triton is there.

    Raises:
        RecipeError: It is not.
    """
    if find_spec("triton") is None:
        raise RecipeError(
            "The Triton kernels were asked for and the package triton is not installed: "
            f"`pip install triton`, or unset {VARIABLE} to compute with torch's own operations."
        )


def _environment() -> bool | None:
    text = os.environ.get(VARIABLE, "")
    if text not in _CHOICES:
        raise RecipeError(f"{VARIABLE} is '{text}'; set it to 1, 0 or auto.")
    return _CHOICES[text]
