"""From `data=8,latent=2,site=4` and a number of devices to the mesh that they form."""

from math import gcd, prod

import torch

from lmscope.core.errors import RecipeError, did_you_mean
from lmscope.core.mesh import Mesh, started_processes

AXES = ("data", "latent", "site")


def choose_mesh(devices: int, text: str | None, n_dictionaries: int) -> Mesh:
    """The mesh of so many devices.

    Axes that are not named share what is left: site as much of it as divides the dictionaries, data
    the rest; if both are named, latent.

    Args:
        devices: How many.
        text: `axis=size` with commas between; None: no axis is named.
        n_dictionaries: Of the recipe.

    Raises:
        RecipeError: The text names no axes, or their sizes do not divide the devices.
    """
    named = parse_mesh(text) if text else {}
    left, rest = divmod(devices, prod(named.values()))
    if rest == 0 and "site" not in named:
        named["site"] = left if "data" in named else gcd(left, n_dictionaries)
        left //= named["site"]
    if rest == 0 and "data" not in named:
        named["data"], left = left, 1
    if rest == 0 and "latent" not in named:
        named["latent"], left = left, 1
    if rest or left != 1:
        raise RecipeError(
            f"The mesh '{text}' cannot be made of {devices} devices: the product of its axes must "
            "divide their number, and equal it if all three are named."
        )
    return Mesh(**named)


def run_axes(text: str | None) -> dict[str, int]:
    """The axes `latent` and `site` of a run; `data` takes the processes that they leave.

    Raises:
        RecipeError: The text names no axes, or its sizes do not multiply to the processes started.
    """
    named = parse_mesh(text) if text else {}
    axes = {axis: named.get(axis, 1) for axis in ("latent", "site")}
    n = started_processes()
    if "data" in named and prod(named.values()) != n:
        raise RecipeError(
            f"The mesh '{text}' is of {prod(named.values())} processes, and {n} started: leave data out, or "
            f"start them with torchrun --nproc-per-node {prod(named.values())}."
        )
    return axes


def device_type(device: str) -> str:
    """`cuda` or `cpu`: where a model that was asked for on `device` will lie."""
    asked = device.split(":")[0]
    return "cuda" if asked in ("auto", "cuda") and torch.cuda.is_available() else "cpu"


def parse_mesh(text: str) -> dict[str, int]:
    """The axes that a text names, e.g. `data=2,latent=4`.

    Raises:
        RecipeError: It is not of this form, or an axis is named twice.
    """
    named: dict[str, int] = {}
    for part in text.split(","):
        axis, _, size = (word.strip() for word in part.partition("="))
        if axis not in AXES:
            raise RecipeError(f"'{axis}' is no axis of a mesh.{did_you_mean(axis, AXES)}")
        if not size.isdecimal() or int(size) < 1 or axis in named:
            raise RecipeError(
                f"'{text}' is no mesh: write each axis once with its number of devices, "
                "e.g. --mesh data=8,latent=2."
            )
        named[axis] = int(size)
    return named
