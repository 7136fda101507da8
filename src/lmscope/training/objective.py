"""Objective: what the one training loop minimises."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn


class Loss(NamedTuple):
    """A loss as a sum and the weight to divide it by, so that batches can be cut and merged exactly.

    Attributes:
        sum: Scalar, summed over what the weight counts, with its graph; float32.
        weight: What the sum runs over, e.g. the number of tokens; a number or a detached scalar.
        terms: Scalars to log, detached; each a mean over the same weight (`mse`, `l0`).
    """

    sum: Tensor
    weight: float | Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class ParameterGroup:
    """Trained parameters that share their optimiser's options.

    Attributes:
        parameters: By a name that is unique in the objective; checkpoints use it.
        lr_factor: Times the recipe's learning rate.
        weight_decay: Decoupled decay, per step and unit of learning rate.
        split: Whether the processes of the latent axis hold other rows of each; else all hold the same.
    """

    parameters: Mapping[str, nn.Parameter]
    lr_factor: float = 1.0
    weight_decay: float = 0.0
    split: bool = False


@runtime_checkable
class Stream(Protocol):
    """Batches in a fixed order that can be continued exactly; the loop looks into none of them."""

    @property
    def total_batches(self) -> int | None:
        """How many batches the stream gives from its start to its end, where that is known."""
        ...

    def __iter__(self) -> Iterator[Any]: ...

    def __next__(self) -> Any: ...

    def state(self) -> dict[str, Any]:
        """Where the stream stands, in plain values and tensors."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state` was taken."""
        ...


@runtime_checkable
class Objective(Protocol):
    """One thing to train, with its own parameters, random numbers and state.

    The loop gives each objective its own optimiser, schedule, gradient clip and torch random state,
    so that objectives trained side by side equal the same ones trained alone, bit for bit. An
    objective therefore touches nothing that another one owns.
    """

    @property
    def name(self) -> str:
        """Unique in the run; letters, digits and `_ . @ = -`, as it becomes a file name."""
        ...

    @property
    def batch_coupled(self) -> bool:
        """Whether the loss of one row depends on the other rows of its batch.

        Such a loss cannot be cut into micro-batches; the loop refuses `accumulate > 1`.
        """
        ...

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """What is trained. The same tensors at every call, updated in place."""
        ...

    def batches(self, stream: Iterator[Any]) -> Iterator[Any]:
        """The batches to train on: `stream` itself, a change of it, or the objective's own.

        It must draw lazily: nothing is taken from `stream` before a batch is asked for, and
        whatever the iterator remembers between batches belongs to `state()`.
        """
        ...

    def loss(self, batch: Any, step: int) -> Loss:
        """The loss of one batch at a step, counted from 0; called once per micro-batch.

        Of several processes each gives the sum and the weight of its own rows, which the loop adds up over
        the data axis, and gradients of its own rows. On the latent axis all give the same sum, and
        full gradients of the parameters that all hold.
        """
        ...

    def after_step(self, step: int) -> None:
        """Called after the optimiser's step: renormalise, count, anneal."""
        ...

    def state(self) -> dict[str, Any]:
        """All that continuing needs beside the parameters: buffers, counters, generators.

        Plain values, lists, dicts with text keys, tensors, and parts of tensors (`tensor_tree.Part`).
        """
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`; its tensors lie on the CPU."""
        ...
