"""Coarse encoders: a dense product of few bits, and a bound on how far each entry may be off.

A coarse product only finds candidates; float32 decides among them (`dictionaries.encoding`). So bounds
may be wide, which costs time, but not narrow. Two hold, and the smaller is taken:

| | surely | likely, one standard deviation |
|---|---|---|
| bfloat16, unit roundoff u | (2u + u^2) |x| |w| (Cauchy-Schwarz) | sqrt(2/3) u |x|_4 |w|_4, norms of order four |
| int8, steps s of x and t of w | | sqrt((s^2 |w|^2 + t^2 |x|^2) / 12) |

The likely one takes roundings for spread evenly; `DEVIATIONS` of it are exceeded less than once in 1e10
pairs. A row whose largest number dwarfs the others rounds those to nothing in int8, which is no even
spread: such tokens are computed in float32, and such weights are not quantised at all.

Both are made small by taking the batch's mean from x first.
"""

from typing import Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as nnf
from jaxtyping import Bool, Float
from torch import Tensor

from lmscope.dictionaries.products import linear

CoarsePrecision = Literal["bf16", "int8"]

DEVIATIONS = 7.0
"""Of the rounding error, within which a candidate is kept."""

BIAS_COLUMNS = 4
"""Three hold the bias in bfloat16, all of its 24 bits; a fourth of zeros keeps the width even."""

LARGEST_CODE = 127
"""Of an int8 number."""

LARGEST_STEP = 1.0
"""Of int8 numbers, in mean absolute values of their row, up to which roundings are spread evenly."""

MOST_FLOAT_TOKENS = 1 / 32
"""Tokens of a batch that int8 leaves to float32 at most; with more of them it does not pay."""


@runtime_checkable
class Coarse(Protocol):
    """An encoder's product with few bits."""

    @property
    def rounding(self) -> float:
        """How far a score may be off in proportion to itself, beside its `error`."""
        ...

    def scores(self, x: Float[Tensor, "token read"]) -> Float[Tensor, "token latent"]:
        """Of each token and latent, coarse."""
        ...

    def error(self, x: Float[Tensor, "token read"]) -> Float[Tensor, "token 1"]:
        """How far an entry may be from the exact one."""
        ...


def coarse_encoder(
    weight: Float[Tensor, "latent read"],
    bias: Float[Tensor, "latent"],
    x: Float[Tensor, "token read"],
    precision: CoarsePrecision,
) -> Coarse:
    """An encoder in that precision; in bfloat16 where int8 is asked for and would not pay.

    Args:
        weight: The encoder's.
        bias: The encoder's.
        x: The batch, whose mean makes the product finer.
        precision: Of the product.
    """
    with torch.autocast(weight.device.type, enabled=False):
        centre = x.mean(0)
        at_centre = bias + weight @ centre
    if precision == "int8":
        int8 = Int8Encoder(weight, at_centre, centre)
        if int8.pays(x):
            return int8
    return Bfloat16Encoder(weight, at_centre, centre)


class Bfloat16Encoder:
    """Scores of `x - centre` in bfloat16; the bias is carried along in columns.

    Args:
        weight: The encoder's.
        bias: Scores of the centre.
        centre: Taken from each token first.
    """

    rounding = torch.finfo(torch.bfloat16).eps
    """Twice the unit roundoff of scores as they are stored."""

    def __init__(self, weight: Tensor, bias: Tensor, centre: Tensor) -> None:
        n_latents, d_read = weight.shape
        self._centre = centre
        self._weight = torch.zeros(
            n_latents, d_read + BIAS_COLUMNS, dtype=torch.bfloat16, device=weight.device
        )
        self._weight[:, :d_read] = weight
        rest = bias
        for column in range(d_read, d_read + 3):
            self._weight[:, column] = rest
            rest = rest - self._weight[:, column]
        self._longest, self._longest_4 = _norm(weight).max(), _norm_4(weight).max()

    def scores(self, x: Float[Tensor, "token read"]) -> Float[Tensor, "token latent"]:
        """See `Coarse`."""
        d_read = x.shape[1]
        shape = len(x), self._weight.shape[1]
        coarse = torch.zeros(shape, dtype=torch.bfloat16, device=x.device)
        coarse[:, :d_read] = x - self._centre
        coarse[:, d_read : d_read + 3] = 1.0
        return nnf.linear(coarse, self._weight)

    def error(self, x: Float[Tensor, "token read"]) -> Float[Tensor, "token 1"]:
        """See `Coarse`."""
        u = self.rounding / 2
        centred = x - self._centre
        length = _norm(centred)
        surely = (2 * u + u * u) * length * self._longest
        likely = DEVIATIONS * (2 / 3) ** 0.5 * u * _norm_4(centred) * self._longest_4
        # Sums in float32, and the mean that was taken away, are off by far less; a little pays for both.
        small = 2**-16 * length + 2**-20 * torch.linalg.vector_norm(self._centre)
        return torch.minimum(surely, likely) + small * self._longest


class Int8Encoder:
    """Scores of `x - centre` from int8 factors, each token and each latent with its own step.

    Args:
        weight: The encoder's.
        bias: Scores of the centre.
        centre: Taken from each token first.
    """

    rounding = 0.0
    """Scores are stored in float32."""

    def __init__(self, weight: Tensor, bias: Tensor, centre: Tensor) -> None:
        self._centre, self._bias, self._float_weight = centre, bias, weight
        step = _step(weight)
        self._codes = _codes(weight, step).t()
        self._steps = step.squeeze(1)
        self._widest = step.max()
        self._longest = _norm(weight).max()
        self._is_even = bool(_is_even(weight, step).all())

    def pays(self, x: Float[Tensor, "token read"]) -> bool:
        """Whether int8 serves these weights and nearly all of these tokens."""
        if not self._is_even:
            return False
        centred = x - self._centre
        n_float = len(x) - int(_is_even(centred, _step(centred)).sum())
        return n_float <= len(x) * MOST_FLOAT_TOKENS

    def scores(self, x: Float[Tensor, "token read"]) -> Float[Tensor, "token latent"]:
        """See `Coarse`."""
        centred = x - self._centre
        step = _step(centred)
        scores = torch._int_mm(_codes(centred, step), self._codes).float().mul_(self._steps)
        torch.addcmul(self._bias, scores, step, out=scores)
        is_even = _is_even(centred, step)
        if not is_even.all():
            scores[~is_even] = linear(centred[~is_even], self._float_weight, self._bias)
        return scores

    def error(self, x: Float[Tensor, "token read"]) -> Float[Tensor, "token 1"]:
        """See `Coarse`."""
        centred = x - self._centre
        step, length = _step(centred), _norm(centred)
        variance = (step * self._longest).square() + (self._widest * length).square()
        likely = DEVIATIONS * (variance / 12).sqrt()
        likely = likely.where(_is_even(centred, step)[:, None], 0.0)
        small = 2**-16 * length + 2**-20 * torch.linalg.vector_norm(self._centre)
        return likely + small * self._longest


def _step(rows: Tensor) -> Float[Tensor, "row 1"]:
    """Of one code of int8; rows of zeros have a step too."""
    # Three times as fast as the norm of that order.
    largest = torch.maximum(rows.amax(1, keepdim=True), -rows.amin(1, keepdim=True))
    return largest.clamp(min=torch.finfo(rows.dtype).tiny * LARGEST_CODE) / LARGEST_CODE


def _codes(rows: Tensor, step: Tensor) -> Tensor:
    return (rows / step).round_().to(torch.int8)


def _is_even(rows: Tensor, step: Tensor) -> Bool[Tensor, "row"]:
    """Whether the roundings of a row are spread evenly."""
    mean = rows.abs().mean(1)
    # A row of zeros is exact.
    return (step.squeeze(1) <= LARGEST_STEP * mean) | (mean == 0)


def _norm(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1, keepdim=True)


def _norm_4(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows.square(), dim=1, keepdim=True).sqrt()
