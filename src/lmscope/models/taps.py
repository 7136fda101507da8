"""Taps: the four ways in which a value inside a Hugging Face model is seen and replaced.

| tap | gives |
|---|---|
| module (`In`, `Out`) | what goes into or comes out of a submodule |
| attention (`AttentionPart`) | a part of the open attention function |
| function (`FunctionResult`) | what a module-level function returns while a submodule runs |
| derived (`Normalised`, `StreamAfter`) | what is computed from the above, and written back |

A tap is a value of a family's table. Installed, it hands every value to a Station and lets the
model go on with what the Station returns.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lmscope.core.errors import SiteError
from lmscope.core.site import Site
from lmscope.models import attention
from lmscope.models.norms import NormStyle
from lmscope.models.placement import weights_at_hand

Remove = Callable[[], object]
"""Takes an installed tap away again."""


Station = Callable[[Tensor], Tensor]
"""Who waits at a tap: sees a value and gives the value to go on with.

What it gives back is another tensor than the one it saw, or that one unchanged.
"""


@dataclass(frozen=True)
class Body:
    """A Hugging Face model's parts, as taps look for them.

    Attributes:
        hf: The whole model, with its head.
        core: The model below the head.
        blocks: Its layers.
        norm: How it normalises.
        switch: Turns the open attention on and off.
    """

    hf: PreTrainedModel
    core: nn.Module
    blocks: nn.ModuleList
    norm: NormStyle
    switch: attention.AttentionSwitch

    def find(self, site: Site, path: str) -> nn.Module:
        """The submodule at `path` of what holds the site: a block, or the model."""
        if site.part == "logits":
            scope: nn.Module = self.hf
        else:
            scope = self.core if site.layer is None else self.blocks[site.layer]
        return scope.get_submodule(path)


@runtime_checkable
class Tap(Protocol):
    """One way to a value; a frozen, hashable value itself."""

    def install(self, body: Body, site: Site, station: Station) -> Remove:
        """Hand the values of `site` to the station from now on."""
        ...


@dataclass(frozen=True)
class In:
    """What goes into the submodule at `path` (the block or model itself when empty)."""

    path: str = ""

    def install(self, body: Body, site: Site, station: Station) -> Remove:
        """Hook the module's input."""
        module = body.find(site, self.path)
        hook = partial(_see_input, site, station)
        return module.register_forward_pre_hook(hook, with_kwargs=True).remove


@dataclass(frozen=True)
class Out:
    """What comes out of the submodule at `path`: its first result, or a field by name."""

    path: str = ""
    field: str | None = None

    def install(self, body: Body, site: Site, station: Station) -> Remove:
        """Hook the module's output."""
        module = body.find(site, self.path)
        return module.register_forward_hook(partial(_see_output, site, station, self.field)).remove


@dataclass(frozen=True)
class AttentionPart:
    """`q`, `k`, `v`, `scores`, `pattern` or `z` of the attention module at `path`."""

    path: str
    part: str

    def install(self, body: Body, site: Site, station: Station) -> Remove:
        """Turn the model to the open attention and watch the part."""
        with ExitStack() as stack:
            stack.callback(attention.watch(body.find(site, self.path), self.part, station))
            stack.callback(body.switch.take())
            return stack.pop_all().close


@dataclass(frozen=True)
class FunctionResult:
    """What a function of a Python module returns while the submodule at `path` runs.

    For what no submodule computes: the function is rebound while the tap is installed, so code
    that looks it up in its module when it calls it (as model code does) is seen.

    Attributes:
        path: The submodule; calls outside it are let through.
        home: The Python module that the model's code looks the function up in.
        name: The function.
    """

    path: str
    home: str
    name: str

    def install(self, body: Body, site: Site, station: Station) -> Remove:
        """Rebind the function."""
        scope, home = body.find(site, self.path), import_module(self.home)
        usual, inside = getattr(home, self.name), list[bool]()
        with ExitStack() as stack:
            enter = scope.register_forward_pre_hook(lambda *_: inside.append(True))
            leave = scope.register_forward_hook(lambda *_: inside.clear(), always_call=True)
            stack.callback(enter.remove)
            stack.callback(leave.remove)
            stack.callback(setattr, home, self.name, usual)
            setattr(home, self.name, partial(_see_result, site, station, usual, inside))
            return stack.pop_all().close


@dataclass(frozen=True)
class Normalised:
    """The value inside the norm at `path`, before its gain and bias."""

    path: str

    def install(self, body: Body, site: Site, station: Station) -> Remove:
        """Compute the value from the norm's input; write an edit through gain and bias."""
        module = body.find(site, self.path)
        hook = partial(_see_normalised, site, station, body.norm)
        return module.register_forward_hook(hook, with_kwargs=True).remove


@dataclass(frozen=True)
class StreamAfter:
    """The residual stream that the norm at `path` reads and that a later sum carries on.

    One tensor feeds both branches, so an edit writes into that tensor: a changed input of the
    norm alone would leave the carried stream as it was, without a sign.
    """

    path: str

    def install(self, body: Body, site: Site, station: Station) -> Remove:
        """Hook the norm's input and write edits in place."""
        module = body.find(site, self.path)
        hook = partial(_see_stream, site, station)
        return module.register_forward_pre_hook(hook, with_kwargs=True).remove


# The hooks themselves. Each returns None when the value comes back as it went.

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def _see_input(site: Site, station: Station, _module: nn.Module, args: Args, kwargs: Kwargs) -> Any:
    value = _input(site, args, kwargs)
    new = station(value)
    if new is value:
        return None
    return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})


def _see_output(
    site: Site, station: Station, field: str | None, _module: nn.Module, _args: Args, output: Any
) -> Any:
    value, replaced = _output(site, output, field)
    new = station(value)
    return None if new is value else replaced(new)


def _see_result(
    site: Site,
    station: Station,
    usual: Callable[..., Any],
    inside: list[bool],
    *args: Any,
    **kwargs: Any,
) -> Any:
    result = usual(*args, **kwargs)
    if not inside:
        return result
    value, replaced = _output(site, result, None)
    new = station(value)
    return result if new is value else replaced(new)


def _see_normalised(
    site: Site,
    station: Station,
    style: NormStyle,
    norm: nn.Module,
    args: Args,
    kwargs: Kwargs,
    output: Tensor,
) -> Any:
    value = style.normalise(norm, _input(site, args, kwargs).to(output.device))
    new = station(value)
    if new is value:
        return None
    with weights_at_hand(norm):
        return style.replace(norm, output, value, new)


def _see_stream(site: Site, station: Station, _norm: nn.Module, args: Args, kwargs: Kwargs) -> None:
    stream = _input(site, args, kwargs)
    new = station(stream)
    if new is not stream:
        stream.copy_(new)


def _input(site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    value = args[0] if args else kwargs.get("hidden_states")
    if isinstance(value, torch.Tensor):
        return value
    raise SiteError(f"'{site}' did not fire: the model calls that place without a tensor.")


def _output(site: Site, output: Any, field: str | None) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """The tensor in a module's result, and the result with another tensor in its place."""
    if isinstance(output, torch.Tensor):
        return output, lambda new: new
    if isinstance(output, tuple) and isinstance(output[0], torch.Tensor):
        return output[0], lambda new: (new, *output[1:])
    if isinstance(output, dict):
        name = next(iter(output)) if field is None else field
        if isinstance(output.get(name), torch.Tensor):
            return output[name], lambda new: type(output)(**{**output, name: new})
    raise SiteError(f"'{site}' did not fire: {type(output).__name__} holds no such tensor.")
