"""Readings: what a target is in the model itself, where nothing is held."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.circuits.frozen import Frozen
from lmscope.circuits.scores import ScoreTarget
from lmscope.circuits.targets import (
    DirectionTarget,
    FeatureTarget,
    LogitTarget,
    Target,
    position_of,
)
from lmscope.core.errors import DataError
from lmscope.core.site import Site


@dataclass(frozen=True)
class Reading:
    """How a target is read.

    Attributes:
        site: Where.
        value: From what stands there to the target, one for each row.
    """

    site: Site
    value: Callable[[Tensor], Tensor]

    def __call__(self, values: Mapping[Site, Tensor]) -> Float[Tensor, "row"]:
        """The target in each row of what was read."""
        return self.value(values[self.site])


@runtime_checkable
class StandsFor(Protocol):
    """A target that stands for another, e.g. the top prediction for a logit."""

    def read_by(self, frozen: Frozen) -> Target:
        """That other on a prompt."""
        ...


def reading_of(frozen: Frozen, target: Target) -> Reading:
    """How the model itself is asked for a target.

    Raises:
        DataError: The target is of a kind that can be traced only.
    """
    if isinstance(target, StandsFor):
        target = target.read_by(frozen)
    match target:
        case LogitTarget():
            return _logit(frozen, target)
        case FeatureTarget():
            return _feature(frozen, target)
        case DirectionTarget():
            place = position_of(frozen, target.position)
            vector = target.vector.to(frozen.embed)
            return Reading(target.site, lambda x: x[:, place].to(vector) @ vector)
        case ScoreTarget():
            return _score(frozen, target)
        case _:
            raise DataError(
                f"A {type(target).__name__} can be traced but not read in the model: take a logit, a feature, a "
                "direction or a score."
            )


def _logit(frozen: Frozen, target: LogitTarget) -> Reading:
    """Before any softcap, as it is traced."""
    weights, place = frozen.replacement.model.weights, position_of(frozen, target.position)
    wide, bias = weights.W_U.detach(), weights.b_U

    def of(token: int) -> Tensor:
        return torch.cat(
            [wide[:, token], wide.new_zeros(1) if bias is None else bias[token : token + 1]]
        )

    row = of(target.token).to(frozen.embed)
    if target.against is not None:
        row = row - of(target.against).to(row)
    elif target.demeaned:
        mean = wide.to(row).mean(1)
        row = row - torch.cat(
            [mean, mean.new_zeros(1) if bias is None else bias.to(row).mean()[None]]
        )
    return Reading(Site("final"), lambda x: x[:, place].to(row) @ row[:-1] + row[-1])


def _feature(frozen: Frozen, target: FeatureTarget) -> Reading:
    _, branch = frozen.branch(target.site)
    assert branch.features is not None
    dictionary, place = branch.features.dictionary, position_of(frozen, target.position)
    row = dictionary.W_enc[target.latent] * dictionary.scale_in
    bias = dictionary.encoder_bias()[target.latent]
    return Reading(dictionary.config.read_site, lambda x: x[:, place].to(row) @ row + bias)


def _score(frozen: Frozen, target: ScoreTarget) -> Reading:
    i, j = position_of(frozen, target.query), position_of(frozen, target.key)
    cap = frozen.replacement.model.weights.attention(target.layer).softcap

    def value(scores: Tensor) -> Tensor:
        found = scores[:, target.head, i, j].to(frozen.embed)
        return found if cap is None else torch.atanh(found / cap) * cap

    return Reading(Site("scores", target.layer), value)
