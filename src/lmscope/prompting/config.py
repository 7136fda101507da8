"""What is searched, how, and how it becomes rows of a soft prompt, as plain values; imports no torch."""

import math
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0.0)]

_DIAGONAL_FROM: Final = 200
_FEWEST: Final = 4
_MEMORY_MIB: Final = 1024


class ProjectionConfig(Config):
    """How d numbers become the rows of a soft prompt at one layer: a fixed random matrix (sun2022bbt, section 3)."""

    d_subspace: Count = 500
    """Numbers that are searched."""
    law: Literal["normal", "uniform", "rademacher-sparse", "formula2022"] = "normal"
    """Of the matrix' entries. The first three have a mean of 0 and the same standard deviation, with which a search
    that starts at its first step size gives values of alpha times the layer's own deviation. `rademacher-sparse`
    has about sqrt(d) entries of one size and either sign in each row, the rest are 0 (li2006sparse). `formula2022`
    is the formula of sun2022bbt's first version, which knows neither alpha nor a step size."""
    alpha: Positive = 1.0
    """Size of the first candidates, in standard deviations of the layer's own values."""
    storage: Literal["auto", "dense", "blocks"] = "auto"
    """`dense` keeps the matrix, `blocks` draws it anew whenever it is used; the numbers are the same bit for bit.
    `auto` keeps it where the matrices of all layers fit in `memory_mib`."""
    memory_mib: Count = _MEMORY_MIB
    """Mebibytes for the matrices of all layers together."""

    @model_validator(mode="after")
    def _check(self) -> "ProjectionConfig":
        if self.law == "formula2022" and self.alpha != 1.0:
            raise RecipeError(
                f"alpha = {self.alpha} has no effect under the law 'formula2022': leave it out or choose 'normal'."
            )
        if self.storage != "auto" and self.memory_mib != _MEMORY_MIB:
            raise RecipeError(
                f"memory_mib has no effect under the storage '{self.storage}': leave it out or choose 'auto'."
            )
        return self


class EvolutionConfig(Config):
    """Search by an evolution strategy that adapts its step size and covariance (hansen2016cma).

    Differs: sun2022bbt names no step-size rule and took its library's default, `csa` at the time; later versions of
    that library take `tpa` from 300 numbers on.
    """

    kind: Literal["evolution"] = "evolution"
    sigma: Positive = 1.0
    """The first step size: standard deviation of the first candidates around the start."""
    popsize: Annotated[int, Field(ge=0)] = 20
    """Candidates of a generation; 0: 4 + 3 ln(d)."""
    step_size: Literal["csa", "tpa"] = "csa"
    """`csa`: by the length of the path of the mean (hansen2016cma). `tpa`: by two candidates ahead of and behind
    its last step (hansen2008tpa)."""
    covariance: Literal["auto", "full", "diagonal"] = "auto"
    """`diagonal`: one variance a number (ros2008separable). `full` needs the package cma and time that grows with
    d^2 and more. `auto`: full below 200 numbers."""
    mirrors: bool = False
    """Whether the worst sixth of a generation comes again in the next, turned around the mean (auger2011mirrored)."""
    bound: Positive | None = None
    """Every number stays within plus and minus this; absent: no bound."""

    @model_validator(mode="after")
    def _check(self) -> "EvolutionConfig":
        if 0 < self.popsize < _FEWEST:
            raise RecipeError(
                f"A generation of {self.popsize} candidates is too small: give at least {_FEWEST}, or 0 for 4 + 3 ln(d)."
            )
        return self

    def n_candidates(self, n_dims: int) -> int:
        """Candidates of a generation of so many numbers."""
        return self.popsize or _FEWEST + int(3 * math.log(n_dims))

    def is_full(self, n_dims: int) -> bool:
        """Whether the covariance of so many numbers is learned whole."""
        small = n_dims < _DIAGONAL_FROM
        return self.covariance == "full" or (self.covariance == "auto" and small)


class RandomSearchConfig(Config):
    """Candidates around the start that nothing is learned from: what a search must beat at equal calls."""

    kind: Literal["random"] = "random"
    sigma: Positive = 1.0
    """Their standard deviation."""
    popsize: Count = 20
    """Candidates of a generation."""
    bound: Positive | None = None
    """Every number stays within plus and minus this; absent: no bound."""


class BayesConfig(Config):
    """Search by a Gaussian process and its lower confidence bound, for few numbers (srinivas2010ucb, sun2023mp2)."""

    kind: Literal["bayes"] = "bayes"
    kappa: Annotated[float, Field(ge=0.0)] = 2.0
    """Standard deviations that are taken from the expected loss: more explores more."""
    bound: Positive = 5.0
    """Every number stays within plus and minus this."""
    n_random: Count = 20
    """Candidates drawn evenly from the box before the first that is chosen."""


SearchConfig = Annotated[
    EvolutionConfig | RandomSearchConfig | BayesConfig, Field(discriminator="kind")
]
"""How candidates are proposed."""
