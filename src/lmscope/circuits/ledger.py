"""Ledger: what a target is the sum of, to the last constant."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.circuits.frozen_norm import BiasKey
from lmscope.core.errors import LmscopeError
from lmscope.core.site import Site

ROUNDINGS: Final = 32
"""A sum may miss by so many units of rounding of the sum of sizes."""


class LedgerError(LmscopeError):
    """The parts of a target do not sum to it: its circuit cannot be trusted."""


@dataclass(frozen=True, eq=False)
class Ledger:
    """target = tokens + positions + errors + leaves + biases + cut (ge2024circuits, theorem 3.1, with all parts).

    Attributes:
        target: The value that was traced.
        tokens: Of each token embedding.
        positions: Of each position embedding; zeros in models without.
        errors: Of what dictionaries leave over, by site.
        leaves: Of outputs that are not traced through, by site.
        biases: Of every constant of the model and its dictionaries.
        cut: Of features that were reached and not traced further.
        sizes: Sum of the sizes of all parts, of features as well; rounding is measured by it.
        eps: Unit of rounding of the numbers.
    """

    target: float
    tokens: Float[Tensor, "pos"]
    positions: Float[Tensor, "pos"]
    errors: Mapping[Site, Float[Tensor, "pos"]]
    leaves: Mapping[Site, Float[Tensor, "pos"]]
    biases: Mapping[BiasKey, float]
    cut: float
    sizes: float
    eps: float

    @property
    def total(self) -> float:
        """The sum of all parts."""
        return sum(self.summary().values())

    @property
    def residual(self) -> float:
        """What the sum misses the target by."""
        return self.target - self.total

    @property
    def tolerance(self) -> float:
        """What rounding may leave."""
        return ROUNDINGS * self.eps * (self.sizes + abs(self.target))

    @property
    def recovered(self) -> float:
        """Share of the target that kept paths bring from tokens and positions; NaN for a target of 0."""
        parts = self.summary()
        named = parts["tokens"] + parts["positions"]
        return named / self.target if self.target else float("nan")

    def summary(self) -> dict[str, float]:
        """The parts by kind."""
        return {
            "tokens": float(self.tokens.double().sum()),
            "positions": float(self.positions.double().sum()),
            "errors": sum(float(e.double().sum()) for e in self.errors.values()),
            "leaves": sum(float(e.double().sum()) for e in self.leaves.values()),
            "biases": sum(self.biases.values()),
            "cut": self.cut,
        }

    def check(self) -> None:
        """Refuse a sum that misses its target by more than rounding.

        Raises:
            LedgerError: It does, or is not finite.
        """
        if not abs(self.residual) <= self.tolerance:
            raise LedgerError(
                f"The parts sum to {self.total:.6g} instead of {self.target:.6g}, which rounding does not explain "
                f"(at most {self.tolerance:.2g}): the circuit was not made. Please report the model."
            )

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "target": self.target,
            **self.summary(),
            "residual": self.residual,
            "tolerance": self.tolerance,
            "recovered": self.recovered,
            "by_bias": {str(key): value for key, value in sorted(self.biases.items())},
            "by_error": {str(site): float(e.double().sum()) for site, e in self.errors.items()},
            "by_leaf": {str(site): float(e.double().sum()) for site, e in self.leaves.items()},
        }


def sizes(*parts: Tensor) -> float:
    """Sum of the sizes of all numbers."""
    return float(sum(torch.as_tensor(p).double().abs().sum() for p in parts))
