"""The optimiser of one objective, and its state as named tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lmscope.core.errors import RunError
from lmscope.training.config import AdamConfig
from lmscope.training.objective import ParameterGroup

FUSED_DEVICES = ("cpu", "cuda")


class Optimiser:
    """Adam over one objective's groups (kingma2015adam), fused where the device has it.

    Differs: weight decay, where a group asks for it, is decoupled (loshchilov2019adamw).

    Args:
        groups: What is trained.
        options: Adam's constants.
        name: The objective's, for messages.
    """

    def __init__(self, groups: Sequence[ParameterGroup], options: AdamConfig, name: str) -> None:
        self.name = name
        self.parameters: dict[str, nn.Parameter] = {}
        for group in groups:
            self.parameters |= group.parameters
        self._factors = [group.lr_factor for group in groups]
        self._fused = {p.device.type for p in self.parameters.values()} <= set(FUSED_DEVICES)
        self._adam = torch.optim.AdamW(
            [
                {"params": list(g.parameters.values()), "weight_decay": g.weight_decay}
                for g in groups
            ],
            lr=0.0,
            betas=options.betas,
            eps=options.eps,
            fused=self._fused,
        )

    def gradients(self) -> list[Tensor]:
        """The gradients there are, in the order of the parameters."""
        return [p.grad for p in self.parameters.values() if p.grad is not None]

    def step(self, lr: float) -> None:
        """Move every parameter once and drop the gradients."""
        for group, factor in zip(self._adam.param_groups, self._factors, strict=True):
            group["lr"] = lr * factor
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """Weights and moments by parameter name; the tensors are the live ones."""
        moments = {
            name: dict(self._adam.state[p])
            for name, p in self.parameters.items()
            if p in self._adam.state
        }
        weights = {name: p.detach() for name, p in self.parameters.items()}
        return {"weights": weights, "moments": moments}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put weights and moments back.

        Raises:
            RunError: The names or shapes are those of another objective.
        """
        saved = {name: tuple(value.shape) for name, value in state["weights"].items()}
        here = {name: tuple(p.shape) for name, p in self.parameters.items()}
        if saved != here:
            raise RunError(
                f"The checkpoint of '{self.name}' holds {saved}, but this recipe trains {here}: "
                "resume with the recipe that the run was started with."
            )
        for name, parameter in self.parameters.items():
            parameter.copy_(state["weights"][name])
            for key, value in state["moments"].get(name, {}).items():
                on = "cpu" if key == "step" and not self._fused else parameter.device
                self._adam.state[parameter][key] = value.to(on, copy=True)
