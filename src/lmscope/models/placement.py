"""Placement: a model's layers on several devices, or partly in memory or on disk, by accelerate.

A model that fits no single device is loaded layer by layer onto several; accelerate's hooks carry
each layer's input to where the layer lies, and fetch the weights of layers kept elsewhere when
their turn comes. To whoever uses the model it looks as if it lay on one device, its `home`: that of
the input embeddings. Batches go there, values that are read come back there, and edits are called
there, whatever device their layer runs on.
"""

import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from lmscope.core.errors import ModelError, did_you_mean

SPREAD = "spread"
"""The device name that stands for all devices of this process."""

DeviceMap = Mapping[str, str | int]
"""Submodules of the Hugging Face model by name, and where each lies: a device, or `disk`."""


def device_map(
    device: str | DeviceMap, find_device: Callable[[str], torch.device]
) -> str | dict[str, str]:
    """What transformers is told of a model that is to lie on several devices.

    Args:
        device: `spread` fills the GPUs evenly, then memory, then the disk; or a device for each
            submodule.
        find_device: Gives the device of a name, or says that there is none.

    Raises:
        ModelError: accelerate is not installed, a device of the map does not exist, or `spread` is
            asked for in one of several processes.
    """
    if find_spec("accelerate") is None:
        raise ModelError(
            "A model on several devices needs the package accelerate, which is not installed: "
            "`pip install 'lmscope[gguf]'` brings it."
        )
    if isinstance(device, str):
        if (n := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
            raise ModelError(
                f"'{device}' takes all devices for one process, and {n} processes run here: "
                "start one process, or give each its own device."
            )
        return "auto"
    if not device:
        raise ModelError("The device map is empty; name a device for every submodule.")
    places = {name: f"cuda:{at}" if isinstance(at, int) else at for name, at in device.items()}
    return {name: at if at == "disk" else str(find_device(at)) for name, at in places.items()}


def check_names(hf: nn.Module, device: str | DeviceMap) -> None:
    """Check that every name of a device map stands for something in the model.

    Raises:
        ModelError: One does not; it would have had no effect.
    """
    known = {name for name, _ in hf.named_modules()} | {name for name, _ in hf.named_parameters()}
    for name in () if isinstance(device, str) else device:
        if name not in known:
            raise ModelError(
                f"The device map names '{name}', which {type(hf).__name__} has not got."
                f"{did_you_mean(name, sorted(known))}"
            )


def summary(hf: PreTrainedModel) -> str | None:
    """One sentence on where a spread model lies; None when it lies whole on one device."""
    places: Mapping[str, Any] = getattr(hf, "hf_device_map", {})
    counts = Counter(f"cuda:{at}" if isinstance(at, int) else str(at) for at in places.values())
    if len(counts) < 2 and "disk" not in counts:
        return None
    parts = ", ".join(f"{n} on {place}" for place, n in sorted(counts.items()))
    slow = {"cpu", "disk"} & counts.keys() if counts.keys() - {"cpu", "disk"} else {"disk"}
    named = " and ".join(sorted(slow & counts.keys()))
    note = f" What lies on {named} is fetched again in every pass, which is slow." if named else ""
    return f"Parts of the model by device: {parts}.{note}"


def home(hf: PreTrainedModel) -> torch.device:
    """The device of the input embeddings, or the one they run on where they are kept elsewhere."""
    embeddings = hf.get_input_embeddings()
    weight = embeddings.weight
    assert isinstance(weight, torch.Tensor)
    hook = getattr(embeddings, "_hf_hook", None)
    if weight.is_meta and hook is not None:
        return torch.device(hook.execution_device)
    return weight.device


@contextmanager
def weights_at_hand(module: nn.Module) -> Iterator[None]:
    """Within the block a module's own weights are there to use, also those kept on disk."""
    if not hasattr(module, "_hf_hook"):
        yield
        return
    from accelerate.utils import align_module_device

    with align_module_device(module):
        yield


@contextmanager
def quiet_accelerate() -> Iterator[None]:
    """Silence accelerate's remarks; `summary` and `check_names` say what matters."""
    log = logging.getLogger("accelerate.big_modeling")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The following device_map keys do not match")
            yield
    finally:
        log.setLevel(level)
