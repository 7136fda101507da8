"""Encoder: the dense product of a training step, in chunks of tokens, and what is found in each chunk.

In bfloat16 or int8 the product only finds candidates. A bound on its rounding error says which latents
could be among those that are asked for; their scores are computed again in float32, and decide. So a
coarse product changes no choice: more candidates make a step slower, never another one.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.dictionaries.coarse import Coarse, coarse_encoder
from lmscope.dictionaries.pairs import Kept, by_latent, dot_pairs, keep_pairs, keep_places
from lmscope.dictionaries.products import chunk_tokens, linear
from lmscope.dictionaries.topk import (
    Largest,
    block_size,
    largest,
    largest_pairs,
    places_from,
    survivors,
)

EncodePrecision = Literal["fp32", "bf16", "int8"]
"""Of the dense product; results are those of float32 with all."""


class Above(NamedTuple):
    """Flat places in `[token, latent]`, ascending, and the scores there."""

    places: Int[Tensor, "pair"]
    scores: Float[Tensor, "pair"]


class Encoder:
    """`x @ weight.T + bias`, of which only the large entries are asked for.

    Args:
        weight: `[latent, read]`.
        bias: `[latent]`.
        x: The batch, whose mean makes the coarse product finer.
        precision: Of the dense product; results are those of float32 with all.
    """

    def __init__(self, weight: Tensor, bias: Tensor, x: Tensor, precision: EncodePrecision) -> None:
        self.weight, self.bias = weight, bias
        self._coarse: Coarse | None = None
        if precision != "fp32" and len(x):
            self._coarse = coarse_encoder(weight, bias, x, precision)

    def largest(self, x: Float[Tensor, "token read"], k: int) -> Largest:
        """The k largest entries of each token.

        Where so many are kept that blocks do not pay (`topk.block_size`), the product is in float32.
        """
        if self._coarse is not None and block_size(len(self.weight), k) > 1:
            return self._largest(self._coarse, x, k)
        found = [largest(linear(part, self.weight, self.bias), k) for part in _chunks(x)]
        if not found:
            return Largest(x.new_zeros(0, k), x.new_zeros(0, k, dtype=torch.int64))
        return Largest(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    @overload
    def above(self, x: Tensor, floor: float) -> Above: ...
    @overload
    def above(self, x: Tensor, floor: float, most: int) -> Above | None: ...
    def above(self, x: Tensor, floor: float, most: int | None = None) -> Above | None:
        """All entries above a floor; None if they are more than `most`.

        Args:
            x: `[token, read]`.
            floor: Entries are above it, not at it.
            most: As many as are wanted.
        """
        places, scores = [x.new_zeros(0, dtype=torch.int64)], [x.new_zeros(0)]
        n_found = start = 0
        for part in _chunks(x):
            found = self._above(part, floor)
            n_found += len(found.places)
            if most is not None and n_found > most:
                return None
            places.append(found.places + start)
            scores.append(found.scores)
            start += len(part) * len(self.weight)
        return Above(torch.cat(places), torch.cat(scores))

    def _largest(self, coarse: Coarse, x: Tensor, k: int) -> Largest:
        tokens, latents, start = [], [], 0
        for part in _chunks(x):
            pairs, _ = survivors(
                coarse.scores(part).float(), k, 2 * coarse.error(part), coarse.rounding
            )
            tokens.append(pairs.token + start)
            latents.append(pairs.latent)
            start += len(part)
        pairs = keep_pairs(torch.cat(tokens), torch.cat(latents), len(x))
        return largest_pairs(self._exact(x, pairs), pairs, k)

    def _above(self, x: Tensor, floor: float) -> Above:
        if self._coarse is None:
            scores = linear(x, self.weight, self.bias)
            # The smallest number above the floor.
            least = torch.nextafter(scores.new_tensor(floor), scores.new_tensor(torch.inf))
            places = places_from(scores, least.expand(len(x), 1))
            return Above(places, scores.view(-1)[places])
        scores = self._coarse.scores(x)
        # What is stored was rounded once more, in proportion to itself.
        eps = self._coarse.rounding
        lowest = floor - 2 * eps * abs(floor) - self._coarse.error(x) * (1 + 2 * eps)
        places = places_from(scores, lowest.to(scores.dtype))
        exact = self._exact(x, keep_places(places, len(x), len(self.weight)))
        is_above = exact > floor
        return Above(places[is_above], exact[is_above])

    def _exact(self, x: Tensor, pairs: Kept) -> Tensor:
        groups = by_latent(pairs, len(self.weight))
        return dot_pairs(x, self.weight, pairs, groups) + self.bias[pairs.latent]


def fastest_precision(weight: Tensor) -> EncodePrecision:
    """The precision of the dense product that takes the least time on the processor of an encoder."""
    is_float = weight.device.type == "cpu" and weight.dtype == torch.float32
    # Public in all but name: torch itself chooses its kernels by it. Processors that compute in
    # bfloat16 do so in int8 too, twice as fast.
    return "int8" if is_float and torch.cpu._is_avx512_bf16_supported() else "fp32"


def _chunks(x: Tensor) -> Iterator[Tensor]:
    return iter(x.split(chunk_tokens(len(x), x.device))) if len(x) else iter(())
