"""Encoder: the dense product of a training step, in chunks of tokens, and what is found in each chunk.

In bfloat16 the product only finds candidates. A bound on its rounding error says which latents could
be among those that are asked for; their scores are computed again in float32, and decide. So a coarse
product changes no choice: more candidates make a step slower, never another one.

The bound is the smaller of two. With unit roundoff u, each factor is off by at most u of itself, so a
product is off by at most (2u + u^2) |x| |w| (Cauchy-Schwarz). And roundings that are spread evenly add up
to a standard deviation of at most sqrt(2/3) u |x|_4 |w|_4, with norms of order four: `DEVIATIONS` of it
are exceeded less than once in 1e10 pairs. Both are made small by taking the batch's mean from x first.
The bias is carried along as three bfloat16 columns, which together hold its 24 bits.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, overload

import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.dictionaries.pairs import Kept, by_latent, dot_pairs, keep_pairs, keep_places
from lmscope.dictionaries.products import chunk_tokens, linear
from lmscope.dictionaries.topk import Largest, block_size, largest, largest_pairs, survivors

DEVIATIONS = 7.0
"""Of the rounding error, within which a candidate is kept."""

BIAS_COLUMNS = 4
"""Three hold the bias; a fourth of zeros keeps the width even."""


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
        precision: Of the dense product; results are those of float32 with both.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, x: Tensor, precision: Literal["fp32", "bf16"]
    ) -> None:
        self.weight, self.bias = weight, bias
        self._coarse = _Coarse.of(weight, bias, x) if precision == "bf16" and len(x) else None

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

    def _largest(self, coarse: "_Coarse", x: Tensor, k: int) -> Largest:
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
            scores = linear(x, self.weight, self.bias).view(-1)
            places = (scores > floor).nonzero().squeeze(1)
            return Above(places, scores[places])
        scores = self._coarse.scores(x)
        # What is stored was rounded once more, in proportion to itself.
        eps = self._coarse.rounding
        lowest = floor - 2 * eps * abs(floor) - self._coarse.error(x) * (1 + 2 * eps)
        places = (scores >= lowest.to(scores.dtype)).view(-1).nonzero().squeeze(1)
        exact = self._exact(x, keep_places(places, len(x), len(self.weight)))
        is_above = exact > floor
        return Above(places[is_above], exact[is_above])

    def _exact(self, x: Tensor, pairs: Kept) -> Tensor:
        groups = by_latent(pairs, len(self.weight))
        return dot_pairs(x, self.weight, pairs, groups) + self.bias[pairs.latent]


class _Coarse(NamedTuple):
    """The same product in bfloat16, of `x - centre`."""

    weight: Tensor
    centre: Tensor
    longest: Tensor
    longest_4: Tensor

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, x: Tensor) -> "_Coarse":
        n_latents, d_read = weight.shape
        coarse = torch.zeros(
            n_latents, d_read + BIAS_COLUMNS, dtype=torch.bfloat16, device=weight.device
        )
        coarse[:, :d_read] = weight
        with torch.autocast(weight.device.type, enabled=False):
            centre = x.mean(0)
            rest = bias + weight @ centre
        for column in range(d_read, d_read + 3):
            coarse[:, column] = rest
            rest = rest - coarse[:, column]
        return cls(coarse, centre, _norm(weight).max(), _norm_4(weight).max())

    @property
    def rounding(self) -> float:
        """Twice the unit roundoff of scores as they are stored."""
        return torch.finfo(self.weight.dtype).eps

    def scores(self, x: Tensor) -> Tensor:
        """`[token, latent]`, coarse."""
        d_read = x.shape[1]
        coarse = torch.zeros(len(x), self.weight.shape[1], dtype=self.weight.dtype, device=x.device)
        coarse[:, :d_read] = x - self.centre
        coarse[:, d_read : d_read + 3] = 1.0
        return nnf.linear(coarse, self.weight)

    def error(self, x: Tensor) -> Tensor:
        """How far an entry may be from the exact one before it is stored, `[token, 1]`."""
        u = self.rounding / 2
        centred = x - self.centre
        length = _norm(centred)
        surely = (2 * u + u * u) * length * self.longest
        likely = DEVIATIONS * (2 / 3) ** 0.5 * u * _norm_4(centred) * self.longest_4
        # Sums in float32, and the mean that was taken away, are off by far less; a little pays for both.
        small = 2**-16 * length + 2**-20 * torch.linalg.vector_norm(self.centre)
        return torch.minimum(surely, likely) + small * self.longest


def _norm(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1, keepdim=True)


def _norm_4(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows.square(), dim=1, keepdim=True).sqrt()


def _chunks(x: Tensor) -> Iterator[Tensor]:
    return iter(x.split(chunk_tokens(len(x), x.device))) if len(x) else iter(())
