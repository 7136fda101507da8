"""One process: every group has one member, and nothing is sent."""

import pytest
import torch

from lmscope.core.errors import RecipeError
from lmscope.core.processes import ALONE, joined


def test_without_torchrun_one_process_joins_nobody():
    with joined() as processes:
        assert processes is ALONE
        assert processes.is_first
        assert processes.trains(["a", "b"]) == ["a", "b"]


def test_one_member_keeps_its_own_value_and_gradient():
    value = torch.tensor([2.0, 3.0], requires_grad=True)
    group = ALONE.world
    for same in (group.total, group.coupled_total, group.shared):
        assert same(value) is value
    assert group.gather(value)[0] is value
    assert group.values("x") == ["x"]
    assert group.exchange([value], [2])[0] is value
    assert group.any(True)
    assert not group.any(False)
    group.wait()


def test_axes_without_processes_say_how_to_start_some():
    with (
        pytest.raises(RecipeError, match="torchrun --nproc-per-node 4 -m lmscope"),
        joined(latent=4),
    ):
        pass


@pytest.mark.parametrize(("n", "axes"), [("6", {"latent": 4}), ("2", {"latent": 2, "site": 2})])
def test_axes_that_do_not_divide_the_processes_are_refused(monkeypatch, n, axes):
    monkeypatch.setenv("WORLD_SIZE", n)
    with pytest.raises(RecipeError, match=f"{n} processes cannot be shared"), joined(**axes):
        pass
