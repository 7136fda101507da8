"""Oracle: candidates in, losses out, every call counted and none beyond the budget."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from lmscope.core.errors import BudgetError, RunError
from lmscope.prompting.layouts import Level
from lmscope.prompting.losses import LOSSES, METRICS, LossName, MetricName
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.scorer import Scorer

_REMEMBERED: Final = 4096


@dataclass(frozen=True)
class DevScore:
    """A prompt on examples that the search does not see.

    Attributes:
        metric: The task's, higher is better.
        loss: Lower is better; it decides between equal metrics.
    """

    metric: float
    loss: float

    def better_than(self, other: "DevScore | None") -> bool:
        """Whether this is to be preferred."""
        return other is None or (self.metric, -self.loss) > (other.metric, -other.loss)


@dataclass
class Oracle:
    """What a search may ask (sun2022bbt): one call is one candidate on all training examples.

    A candidate that was asked for before is answered from memory and not counted again. Calls for
    training and those for choosing are counted apart.

    Attributes:
        train, dev: Who scores; without `dev` there is nothing to choose by.
        loss: What is searched by.
        metric: What is chosen by.
        n_calls: The most calls on training examples.
        n_asked, n_dev_asked: Calls so far.
        n_remembered: Candidates that were answered from memory.
    """

    train: Scorer
    dev: Scorer | None
    n_calls: int
    loss: LossName = "cross_entropy"
    metric: MetricName = "accuracy"
    n_asked: int = 0
    n_dev_asked: int = 0
    n_remembered: int = 0
    _known: dict[bytes, float] = field(default_factory=dict, repr=False)

    @property
    def n_left(self) -> int:
        """Calls that are left."""
        return self.n_calls - self.n_asked

    def losses(
        self, prompts: Prompts, level: Level | None = None
    ) -> Float64[np.ndarray, "candidate"]:
        """The loss of each candidate on the training examples.

        Args:
            prompts: Candidates.
            level: Where they begin to differ; what is added below it is the level's.

        Raises:
            BudgetError: There are more new candidates than calls left; nothing was computed.
            RunError: A loss is no number.
        """
        keys = self._keys(prompts, level)
        new = [i for i, key in enumerate(keys) if key not in self._known and key not in keys[:i]]
        if len(new) > self.n_left:
            raise BudgetError(
                f"{len(new)} candidates were asked for and {self.n_left} of {self.n_calls} calls are left: "
                "raise the budget, or stop here."
            )
        if new:
            chosen = Prompts({at: v[new] if len(v) > 1 else v for at, v in prompts.added.items()})
            found = LOSSES[self.loss](self.train.scores(chosen, level), self.train.labels)
            values = found.cpu().double().numpy()
            if not np.isfinite(values).all():
                raise RunError(
                    "The model gave a score that is no number under a candidate: use float32, or a smaller alpha."
                )
            self._known |= {keys[i]: float(v) for i, v in zip(new, values, strict=True)}
        self.n_asked += len(new)
        self.n_remembered += len(keys) - len(new)
        result = np.array([self._known[key] for key in keys])
        self._forget()
        return result

    def choose_by(self, prompts: Prompts) -> tuple[DevScore, ...]:
        """Each candidate on the examples that are held out of the search.

        Raises:
            RunError: There are none.
        """
        if self.dev is None:
            raise RunError("There are no examples to choose by: give a dev split.")
        scores = self.dev.scores(prompts)
        self.n_dev_asked += len(prompts)
        losses = LOSSES[self.loss](scores, self.dev.labels).tolist()
        metrics = METRICS[self.metric](scores, self.dev.labels).tolist()
        return tuple(DevScore(m, loss) for m, loss in zip(metrics, losses, strict=True))

    def state(self) -> dict[str, Any]:
        """The counters, from which a search goes on."""
        return {
            "n_asked": self.n_asked,
            "n_dev_asked": self.n_dev_asked,
            "n_remembered": self.n_remembered,
            "known": {key.hex(): value for key, value in self._known.items()},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from counters."""
        self.n_asked = int(state["n_asked"])
        self.n_dev_asked = int(state["n_dev_asked"])
        self.n_remembered = int(state["n_remembered"])
        self._known = {bytes.fromhex(key): float(v) for key, v in state["known"].items()}

    def _keys(self, prompts: Prompts, level: Level | None) -> list[bytes]:
        below = (
            [] if level is None else [(at, level.below.added[at][0]) for at in level.below.layers]
        )
        found = []
        for i in range(len(prompts)):
            own = [
                (at, prompts.added[at][i if len(prompts.added[at]) > 1 else 0])
                for at in prompts.layers
            ]
            lowest = 0 if level is None else level.layer
            found.append(_digest([*below, *(one for one in own if one[0] >= lowest)]))
        return found

    def _forget(self) -> None:
        for key in list(self._known)[: max(0, len(self._known) - _REMEMBERED)]:
            del self._known[key]


def _digest(layers: list[tuple[int, Tensor]]) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for layer, rows in layers:
        if torch.count_nonzero(rows):  # nothing added is the same as no such layer
            found.update(f"{layer}:".encode())
            found.update(np.ascontiguousarray(rows.detach().cpu().float().numpy()).tobytes())
    return found.digest()
