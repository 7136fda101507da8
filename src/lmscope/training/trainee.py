"""Trainee: one objective in the loop, with the optimiser and the random numbers that it owns."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lmscope.core.errors import RecipeError, RunError
from lmscope.core.processes import ALONE, Processes
from lmscope.core.rng import stream_seed
from lmscope.training.config import TrainingConfig
from lmscope.training.objective import Objective
from lmscope.training.optimiser import Optimiser


class Trainee:
    """Trains one objective, touching nothing of another.

    Args:
        objective: What is minimised.
        options: Precision, clip and optimiser.
        seed: The recipe's; the objective's torch random state starts from it and from its name.
        batches: The stream's batches, from which the objective makes its own.
        processes: Who trains the same objective beside this process.

    Raises:
        RecipeError: The objective trains nothing, or is cut into micro-batches against its nature.
    """

    def __init__(
        self,
        objective: Objective,
        options: TrainingConfig,
        seed: int,
        batches: Iterator[Any],
        processes: Processes = ALONE,
    ) -> None:
        self._processes = processes
        self.objective = objective
        self.name = objective.name
        self._options = options
        if objective.batch_coupled and options.accumulate > 1:
            raise RecipeError(
                f"The loss of '{self.name}' couples the rows of a batch, so accumulate = "
                f"{options.accumulate} would change it: set training.accumulate to 1."
            )
        self.optimiser = Optimiser(
            objective.parameter_groups(), options.adam, self.name, processes.latent
        )
        if not self.optimiser.parameters:
            raise RecipeError(f"'{self.name}' has no parameters to train.")
        self.device = next(iter(self.optimiser.parameters.values())).device
        self._random = _seeded(stream_seed(seed, "training", self.name), self.device)
        self._batches = objective.batches(batches)
        self._first_bad_step = torch.full((), -1, dtype=torch.int64, device=self.device)
        self.begin_step()

    def begin_step(self) -> None:
        """Start the sums of a new step."""
        self.loss = torch.zeros((), device=self.device)
        self.weight = torch.zeros((), device=self.device)
        self.terms: dict[str, Tensor] = {}

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        """Within the block torch's random numbers are this trainee's; outside they never moved."""
        outer = random_state(self.device)
        set_random_state(self._random, self.device)
        try:
            yield
        finally:
            self._random = random_state(self.device)
            set_random_state(outer, self.device)

    def backward(self, step: int) -> bool:
        """Add one micro-batch's gradients; False when the batches have ended."""
        with self._own_random_numbers():
            try:
                batch = next(self._batches)
            except StopIteration:
                return False
            bf16 = self._options.precision == "bf16"
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
                loss = self.objective.loss(batch, step)
            loss.sum.backward()
        self.loss = self.loss + loss.sum.detach()
        self.weight = self.weight + loss.weight
        for name, value in loss.terms.items():
            self.terms[name] = self.terms.get(name, 0) + value.detach() * loss.weight
        return True

    def step(self, step: int, lr: float) -> None:
        """Divide by the summed weight, clip, and move the parameters once."""
        with self._own_random_numbers():
            self._add_up()
            self._scale_gradients()
            self.optimiser.step(lr)
            self.objective.after_step(step)
        self.loss = self.loss / self.weight
        bad = ~torch.isfinite(self.loss) & (self._first_bad_step < 0)
        self._first_bad_step = torch.where(bad, step, self._first_bad_step)

    def _add_up(self) -> None:
        """Add the sums and gradients of the processes that trained on the rest of the batch."""
        data = self._processes.data
        if data.size == 1:
            return
        figures = {"loss": self.loss, "weight": self.weight, **self.terms}
        summed = data.sum_(torch.stack([value.double() for value in figures.values()]))
        figures = dict(zip(figures, summed.to(self.loss.dtype).unbind(), strict=True))
        self.loss, self.weight = figures.pop("loss"), figures.pop("weight")
        self.terms = figures
        for parameter in self.optimiser.parameters.values():
            if parameter.grad is None:  # of rows that are all left out here
                parameter.grad = torch.zeros_like(parameter)
            data.sum_(parameter.grad)

    def _scale_gradients(self) -> None:
        divisor = self.weight
        if clip := self._options.gradient_clip:
            norm = self.optimiser.gradient_norm() / divisor
            divisor = divisor * ((norm + 1e-6) / clip).clamp(min=1.0)
        self.optimiser.divide_gradients(divisor)

    def metrics(self) -> dict[str, float]:
        """The last step's loss and terms as numbers; waits for the device."""
        means = {name: float(value / self.weight) for name, value in self.terms.items()}
        return {"loss": float(self.loss), **means}

    def check_finite(self, kept: str) -> None:
        """Waits for the device.

        Args:
            kept: A sentence on what is saved.

        Raises:
            RunError: The loss of some step since the last check was not finite.
        """
        if (step := int(self._first_bad_step)) >= 0:
            raise RunError(
                f"The loss of '{self.name}' is not a finite number at step {step}: lower training.lr, "
                f"or set training.gradient_clip. {kept}"
            )

    def state(self) -> dict[str, Any]:
        """Weights, moments, random numbers and the objective's own state; live tensors."""
        return {
            "optimiser": self.optimiser.state(),
            "random": self._random,
            "objective": self.objective.state(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.optimiser.load_state(state["optimiser"])
        self.objective.load_state(state["objective"])
        self._random = {key: state["random"].get(key, mine) for key, mine in self._random.items()}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Torch's global random state, on the CPU and on a CUDA device where that is the one."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Put back what `random_state` gave."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def _seeded(seed: int, device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.Generator().manual_seed(seed).get_state()}
    if device.type == "cuda":
        state["cuda"] = torch.Generator(device).manual_seed(seed).get_state()
    return state
