import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lmscope.core.errors import SiteError
from lmscope.core.site import Site
from lmscope.models.attention import AttentionSwitch
from lmscope.models.miniature import miniature
from lmscope.models.norms import RMS_NORM
from lmscope.models.taps import Body, FunctionResult, In, Out

SITE = Site("mixer_out", 0)


class Recorder:
    """A Station that adds to what it sees."""

    def __init__(self, add: float = 0.0) -> None:
        self.seen: list[Tensor] = []
        self.add = add

    def __call__(self, value: Tensor) -> Tensor:
        self.seen.append(value)
        return value + self.add if self.add else value


@pytest.fixture
def home() -> Any:
    """A Python module with a function that a model's code looks up when it calls it."""
    module = ModuleType("lmscope_test_home")
    module.scan = lambda x: x * 2  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    yield module
    del sys.modules[module.__name__]


def body_around(block: nn.Module) -> Body:
    hf = miniature("llama").hf
    return Body(hf, hf, nn.ModuleList([block]), RMS_NORM, AttentionSwitch(hf))


def calling(home: Any) -> nn.Module:
    class Mixer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return home.scan(x) + 1

    return nn.Sequential(Mixer(), nn.Identity())


def test_a_function_is_seen_only_inside_its_module(home: Any):
    block, usual = calling(home), home.scan
    station = Recorder(add=10.0)
    tap = FunctionResult("0", "lmscope_test_home", "scan")
    remove = tap.install(body_around(block), SITE, station)
    assert block(torch.ones(1)).item() == 1 * 2 + 10 + 1
    assert home.scan(torch.ones(1)).item() == 2  # outside: let through
    assert len(station.seen) == 1
    remove()
    assert home.scan is usual
    assert block(torch.ones(1)).item() == 3


def test_a_function_is_let_through_again_after_an_error(home: Any):
    block, station = calling(home), Recorder()
    remove = FunctionResult("0", "lmscope_test_home", "scan").install(
        body_around(block), SITE, station
    )
    with pytest.raises(TypeError):
        block(None)
    home.scan(torch.ones(1))
    assert not station.seen
    remove()


class Many(nn.Module):
    def forward(self, *, hidden_states: Tensor) -> Any:
        return hidden_states, "rest"


def test_keyword_inputs_and_tuple_outputs_are_replaced():
    block = Many()
    body, before, after = body_around(block), Recorder(add=1.0), Recorder(add=10.0)
    removes = [In().install(body, SITE, before), Out().install(body, SITE, after)]
    value, rest = block(hidden_states=torch.zeros(1))
    assert (value.item(), rest) == (11.0, "rest")
    for remove in removes:
        remove()
    assert block(hidden_states=torch.zeros(1))[0].item() == 0.0


def test_a_place_without_a_tensor_says_so():
    block = nn.Identity()
    remove = Out().install(body_around(block), SITE, Recorder())
    with pytest.raises(SiteError, match="did not fire"):
        block("text")
    remove()
    remove = In().install(body_around(block), SITE, Recorder())
    with pytest.raises(SiteError, match="did not fire"):
        block("text")
    remove()
