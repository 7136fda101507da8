"""The optimiser of one objective, and its state as named tensors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmscope.core.errors import RunError
from lmscope.core.processes import ALONE_GROUP, Group
from lmscope.training.config import AdamConfig
from lmscope.training.objective import ParameterGroup
from lmscope.training.tensor_tree import Part, as_part, take_part

FUSED_DEVICES = ("cpu", "cuda")


class Optimiser:
    """Adam over one objective's groups (kingma2015adam), fused where the device has it.

    Differs: weight decay, where a group asks for it, is decoupled (loshchilov2019adamw).

    Args:
        groups: What is trained.
        options: Adam's constants.
        name: The objective's, for messages.
        latent: The processes that hold the other rows of split parameters.
    """

    def __init__(
        self,
        groups: Sequence[ParameterGroup],
        options: AdamConfig,
        name: str,
        latent: Group = ALONE_GROUP,
    ) -> None:
        self.name = name
        self._latent = latent
        self._split = {name for group in groups if group.split for name in group.parameters}
        self.parameters: dict[str, nn.Parameter] = {}
        for group in groups:
            self.parameters |= group.parameters
        self._factors = [group.lr_factor for group in groups]
        self._fused = {p.device.type for p in self.parameters.values()} <= set(FUSED_DEVICES)
        self._adam: Any = torch.optim.AdamW(  # Any: `grad_scale` is set as torch.amp sets it
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

    def gradient_norm(self) -> Tensor:
        """The norm of all gradients together, the rows that other processes hold included."""
        if self._latent.size == 1:
            return torch.nn.utils.get_total_norm(self.gradients())
        found = {name: p.grad for name, p in self.parameters.items() if p.grad is not None}
        here = [g for name, g in found.items() if name in self._split]
        everywhere = [g for name, g in found.items() if name not in self._split]
        square = self._latent.sum_(torch.nn.utils.get_total_norm(here).square())
        return (square + torch.nn.utils.get_total_norm(everywhere).square()).sqrt()

    def divide_gradients(self, divisor: Float[Tensor, ""]) -> None:
        """Let the next step see the gradients divided by one number.

        A fused Adam divides while it reads them, which saves a pass over all weights.
        """
        if self._fused:
            self._adam.grad_scale = divisor.float()  # the only dtype that it takes
            self._adam.found_inf = None
            return
        for gradient in self.gradients():
            gradient.div_(divisor)

    def step(self, lr: float) -> None:
        """Move every parameter once and drop the gradients."""
        for group, factor in zip(self._adam.param_groups, self._factors, strict=True):
            group["lr"] = lr * factor
        self._adam.step()
        self._adam.grad_scale = None
        self._adam.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """Weights and moments by parameter name; the tensors, or parts of them, are the live ones."""
        weights = {name: self._saved(name, p.detach()) for name, p in self.parameters.items()}
        moments = {
            name: {key: self._saved(name, value) for key, value in self._adam.state[p].items()}
            for name, p in self.parameters.items()
            if p in self._adam.state
        }
        return {"weights": weights, "moments": moments}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Put weights and moments back.

        Raises:
            RunError: The names or shapes are those of another objective.
        """
        saved = {name: tuple(value.shape) for name, value in state["weights"].items()}
        here = {name: self._whole_shape(name, p) for name, p in self.parameters.items()}
        if saved != here:
            raise RunError(
                f"The checkpoint of '{self.name}' holds {saved}, but this recipe trains {here}: "
                "resume with the recipe that the run was started with."
            )
        for name, parameter in self.parameters.items():
            parameter.copy_(self._own(name, state["weights"][name]))
            for key, value in state["moments"].get(name, {}).items():
                on = "cpu" if key == "step" and not self._fused else parameter.device
                own = self._own(name, value)
                self._adam.state[parameter][key] = own.to(on, copy=True)

    def _saved(self, name: str, value: Tensor) -> Tensor | Part:
        """A weight or moment as a checkpoint takes it; the count of steps is the same everywhere."""
        if name not in self._split or not value.ndim:
            return value
        return as_part(value, self._latent.rank, self._latent.size)

    def _own(self, name: str, whole: Tensor) -> Tensor:
        """The rows of a saved value that this process holds."""
        if name not in self._split or not whole.ndim:
            return whole
        return take_part(whole, self._latent.rank, self._latent.size)

    def _whole_shape(self, name: str, here: Tensor) -> tuple[int, ...]:
        shape = tuple(here.shape)
        return (shape[0] * self._latent.size, *shape[1:]) if name in self._split else shape
