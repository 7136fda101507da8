"""What a circuit is traced from: a logit, a difference of two, a direction, a feature."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.circuits.frozen import Frozen
from lmscope.circuits.frozen_norm import Biases, BiasKey
from lmscope.core.errors import DataError
from lmscope.core.site import Site


@dataclass(frozen=True, eq=False)
class Start:
    """Where tracing begins: a vector that reads the stream, and the constants above it.

    Attributes:
        name: What is traced, for people.
        value: The target in the linear model.
        stage: Stages below the stream that is read.
        read: What reads it, at each position.
        biases: What constants above it add.
        position: Where it stands; of a score, of its query.
        token: Vocabulary id of a logit.
        against: Of the logit that is taken away from it.
        site: What the dictionary of a feature writes, or where a direction or score is read.
        latent: Of a feature.
    """

    name: str
    value: float
    stage: int
    read: Float[Tensor, "1 pos model"]
    biases: Biases
    position: int | None = None
    token: int | None = None
    against: int | None = None
    site: Site | None = None
    latent: int | None = None


@runtime_checkable
class Target(Protocol):
    """Something of a frozen model that is linear in its stream."""

    def start(self, frozen: Frozen) -> Start:
        """Where tracing begins.

        Raises:
            DataError: There is no such position, token, latent or site.
        """
        ...


@dataclass(frozen=True)
class LogitTarget:
    """A logit before any softcap, or how far it lies above another or above the mean.

    Attributes:
        token: Vocabulary id.
        position: Negative ones count from the end.
        against: Another token whose logit is taken away.
        demeaned: Whether the mean over the vocabulary is taken away.
    """

    token: int
    position: int = -1
    against: int | None = None
    demeaned: bool = False

    def start(self, frozen: Frozen) -> Start:
        """As of `Target`."""
        weights = frozen.replacement.model.weights
        place = position_of(frozen, self.position)
        size = weights.W_U.shape[1]
        for token in (self.token, *([] if self.against is None else [self.against])):
            if not 0 <= token < size:
                raise DataError(f"There is no token {token}: the vocabulary has {size}, from 0.")
        like = frozen.embed
        direction = weights.W_U[:, self.token].detach().to(like)
        constant = None if weights.b_U is None else weights.b_U.detach().to(like)
        bias = like.new_zeros(()) if constant is None else constant[self.token]
        if self.against is not None:
            direction = direction - weights.W_U[:, self.against].detach().to(like)
            bias = bias if constant is None else bias - constant[self.against]
        if self.demeaned and self.against is None:
            direction = direction - weights.W_U.detach().to(like).mean(1)
            bias = bias if constant is None else bias - constant.mean()
        read = torch.zeros_like(like)[None]
        read[0, place] = direction
        biases = Biases()
        if constant is not None:
            biases.add(BiasKey(frozen.final_key, "b_U"), bias[None])
        below = frozen.norm.back(read, biases)
        final = frozen.norm(frozen.streams[-1])[place]
        value = float(final @ direction + bias)
        name = f"logit {self.token} @{place}"
        if self.against is not None:
            name += f" - logit {self.against}"
        return Start(
            name,
            value,
            len(frozen.stages),
            below,
            biases,
            position=place,
            token=self.token,
            against=self.against,
        )


@dataclass(frozen=True, eq=False)
class DirectionTarget:
    """The stream at one position along a vector.

    Attributes:
        site: `resid_pre`, `resid_mid`, `resid_post` of a layer, or `final` (after the final norm).
        position: Negative ones count from the end.
        vector: What it is multiplied with.
        name: For people.
    """

    site: Site
    position: int
    vector: Float[Tensor, "model"]
    name: str = "direction"

    def start(self, frozen: Frozen) -> Start:
        """As of `Target`."""
        place = position_of(frozen, self.position)
        read = torch.zeros_like(frozen.embed)[None]
        read[0, place] = self.vector.to(frozen.embed)
        biases = Biases()
        if self.site.part == "final":
            value = float(frozen.norm(frozen.streams[-1])[place] @ read[0, place])
            below = frozen.norm.back(read, biases)
            return Start(
                self.name,
                value,
                len(frozen.stages),
                below,
                biases,
                position=place,
                site=self.site,
            )
        stage = _stage_of_stream(frozen, self.site)
        value = float(frozen.streams[stage][place] @ read[0, place])
        return Start(self.name, value, stage, read, biases, position=place, site=self.site)


@dataclass(frozen=True)
class FeatureTarget:
    """A feature's pre-activation; of one that does not fire it says why not.

    Attributes:
        site: What its dictionary writes.
        position: Negative ones count from the end.
        latent: Its number.
    """

    site: Site
    position: int
    latent: int

    def start(self, frozen: Frozen) -> Start:
        """As of `Target`."""
        stage, branch = frozen.branch(self.site)
        if branch.features is None:
            raise DataError(f"No dictionary writes '{self.site}', so it has no features.")
        dictionary = branch.features.dictionary
        if not 0 <= self.latent < dictionary.config.n_latents:
            raise DataError(
                f"There is no latent {self.latent}: the dictionary at '{self.site}' has "
                f"{dictionary.config.n_latents}, from 0."
            )
        place = position_of(frozen, self.position)
        row = dictionary.W_enc[self.latent] * dictionary.scale_in
        read = frozen.embed.new_zeros(1, frozen.n_positions, len(row))
        read[0, place] = row
        biases = Biases()
        constant = dictionary.encoder_bias()[self.latent]
        biases.add(BiasKey(self.site.layer or 0, f"b_enc {self.site.part}"), constant[None])
        value = float(branch.read_value(frozen.streams[stage])[place] @ row + constant)
        name = f"{self.site}/{self.latent} @{place}"
        below = branch.back_read(read, biases)
        return Start(
            name,
            value,
            stage,
            below,
            biases,
            position=place,
            site=self.site,
            latent=self.latent,
        )


def position_of(frozen: Frozen, position: int) -> int:
    """A position counted from the start.

    Raises:
        DataError: The prompt has not so many tokens.
    """
    length = frozen.n_positions
    if not -length <= position < length:
        raise DataError(
            f"There is no position {position}: the prompt has {length} tokens, 0 to {length - 1}."
        )
    return position % length


def _stage_of_stream(frozen: Frozen, site: Site) -> int:
    """Stages below a site of the stream."""
    layer = site.layer or 0
    parts = {"resid_pre": ("attn_out",), "resid_mid": ("mlp_out",)}
    if site.part == "resid_post":
        above = [i for i, branch in frozen.branches() if (branch.site.layer or 0) > layer]
        return min(above, default=len(frozen.stages))
    if site.part not in parts:
        raise DataError(
            f"A direction is read at resid_pre, resid_mid, resid_post or final; '{site}' was asked for."
        )
    for i, branch in frozen.branches():
        if branch.site.part in parts[site.part] and branch.site.layer == layer:
            return i
    raise DataError(f"The model has no '{site}'.")
