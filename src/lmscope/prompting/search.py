"""Search: it proposes candidates, is told their losses, and can stop and go on at any time."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, RunError


class Best(NamedTuple):
    """A candidate and its loss."""

    z: Float64[np.ndarray, "subspace"]
    loss: float


class Search(ABC):
    """Minimises a loss of d numbers by asking and being told (sun2022bbt, section 3).

    Candidates wait until they are told, and the best is kept.

    Random numbers come from a stream of their own for each generation, so no state of a generator
    needs keeping and NumPy's global one is never touched.

    Args:
        config: Its settings; a state of other settings is refused.
        n_dims: Numbers of a candidate.
        seed: The recipe's seed.
        name: Names its stream of random numbers, e.g. a site; searches of different names are independent.
    """

    def __init__(self, config: Config, n_dims: int, seed: int, name: str) -> None:
        self.n_dims = n_dims
        self.seed = seed
        self.name = name
        self._settings = f"{config.digest()}-{n_dims}-{seed}-{name}"
        self._kind = str(config.to_mapping()["kind"])
        self._asked: Float64[np.ndarray, "candidate subspace"] | None = None
        self._n_told = 0
        self._n_generations = 0
        self._best: Best | None = None
        self._latest_best: Best | None = None

    @property
    @abstractmethod
    def popsize(self) -> int:
        """Candidates that the next `ask` gives."""

    @property
    @abstractmethod
    def mean(self) -> Float64[np.ndarray, "subspace"]:
        """The point that stands for all that was learned, not for one lucky candidate."""

    @abstractmethod
    def _propose(self) -> Float64[np.ndarray, "candidate subspace"]:
        """Candidates, as a function of what was told and of the number of the generation alone."""

    @abstractmethod
    def _learn(
        self,
        z: Float64[np.ndarray, "candidate subspace"],
        losses: Float64[np.ndarray, "candidate"],
    ) -> None:
        """Take in a generation."""

    @abstractmethod
    def _own_state(self) -> dict[str, Any]:
        """What `_load_own_state` needs."""

    @abstractmethod
    def _load_own_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""

    @property
    def n_told(self) -> int:
        """Candidates whose loss was told."""
        return self._n_told

    @property
    def n_generations(self) -> int:
        """How often losses were told."""
        return self._n_generations

    @property
    def best(self) -> Best:
        """The candidate with the lowest loss ever told; the first of equal ones.

        Raises:
            RunError: Nothing was told yet.
        """
        return self._told(self._best)

    @property
    def latest_best(self) -> Best:
        """The candidate with the lowest loss told last time.

        Raises:
            RunError: Nothing was told yet.
        """
        return self._told(self._latest_best)

    def ask(self) -> Float64[np.ndarray, "candidate subspace"]:
        """Candidates; the same ones until their losses are told."""
        if self._asked is None:
            self._asked = self._propose()
        return self._asked.copy()

    def tell(
        self,
        z: Float64[np.ndarray, "candidate subspace"],
        losses: Float64[np.ndarray, "candidate"],
    ) -> None:
        """Learn from the losses of all that `ask` gave, in its order.

        Raises:
            RunError: These are not the candidates that were asked for, or a loss is no finite number;
                nothing was learned.
        """
        if self._asked is None or not np.array_equal(z, self._asked):
            raise RunError(
                f"The search '{self.name}' was told losses of candidates that it did not propose: tell exactly "
                "what ask() gave, in its order."
            )
        if not np.isfinite(losses).all():
            raise RunError(
                f"{int((~np.isfinite(losses)).sum())} of {len(losses)} losses told to the search '{self.name}' are "
                "no finite numbers: compute in float32, or lower alpha."
            )
        found = int(losses.argmin())
        self._latest_best = Best(z[found].copy(), float(losses[found]))
        if self._best is None or self._latest_best.loss < self._best.loss:
            self._best = self._latest_best
        self._learn(self._asked, losses)
        self._n_told += len(losses)
        self._n_generations += 1
        self._asked = None

    def state(self) -> dict[str, Any]:
        """What a fresh search of the same settings goes on from: plain values and numpy arrays by name.

        Candidates that were asked for and not told are proposed again.
        """
        state: dict[str, Any] = {
            "kind": self._kind,
            "settings": self._settings,
            "n_told": self._n_told,
            "n_generations": self._n_generations,
        }
        for key, kept in (("best", self._best), ("latest_best", self._latest_best)):
            if kept is not None:
                state |= {f"{key}_z": kept.z.copy(), f"{key}_loss": kept.loss}
        return state | self._own_state()

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state: the candidates to come are the same bit for bit.

        Arrays may come back as anything that NumPy reads, e.g. tensors on the CPU.

        Raises:
            ArtifactError: The state is another search's.
        """
        if state.get("settings") != self._settings:
            raise ArtifactError(
                f"The state of a search ({state.get('kind')}, {state.get('settings')}) does not fit '{self.name}' "
                f"({self._kind}, {self._settings}): go on with the settings that it was saved with."
            )
        self._n_told = int(state["n_told"])
        self._n_generations = int(state["n_generations"])
        self._best, self._latest_best = _read_best(state, "best"), _read_best(state, "latest_best")
        self._asked = None
        self._load_own_state(state)

    def _told(self, kept: Best | None) -> Best:
        if kept is None:
            raise RunError(f"The search '{self.name}' has no best candidate: no loss was told yet.")
        return Best(kept.z.copy(), kept.loss)


def array_of(state: dict[str, Any], key: str) -> Float64[np.ndarray, "*shape"]:
    """A copy of an array of a state, whatever it was stored as."""
    return np.asarray(state[key]).astype(np.float64)


def reflected(
    z: Float64[np.ndarray, "*shape"], bound: float | None
) -> Float64[np.ndarray, "*shape"]:
    """Numbers folded back into plus and minus `bound` at its walls; those inside are left as they are."""
    if bound is None:
        return z
    folded = bound - np.abs((z + bound) % (4 * bound) - 2 * bound)
    return np.where(np.abs(z) <= bound, z, folded)


def _read_best(state: dict[str, Any], key: str) -> Best | None:
    if f"{key}_z" not in state:
        return None
    return Best(array_of(state, f"{key}_z"), float(state[f"{key}_loss"]))
