"""What the stream at one position is the sum of: one vector for each thing that wrote there."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.circuits.frozen import Branch, Frozen
from lmscope.core.site import Site


class Writer(NamedTuple):
    """One summand.

    Attributes:
        kind: `token`, `position`, `feature`, `error`, `bias` (what a dictionary writes everywhere), `skip`,
            or `output` (of a layer without a dictionary, whole).
        site: What it writes to; None for token and position.
        latent: Of a feature; else None.
    """

    kind: str
    site: Site | None = None
    latent: int | None = None

    def __str__(self) -> str:
        if self.site is None:
            return self.kind
        return (
            f"{self.site}/{self.latent}" if self.kind == "feature" else f"{self.kind} {self.site}"
        )


@dataclass(frozen=True, eq=False)
class Writers:
    """The summands of the stream at one position.

    Attributes:
        position: Which one.
        names: What they are.
        vectors: What they write; the sum is the stream.
    """

    position: int
    names: tuple[Writer, ...]
    vectors: Float[Tensor, "writer model"]


def writers(frozen: Frozen, stage: int, position: int) -> Writers:
    """What wrote to the stream below a stage.

    Args:
        frozen: The run.
        stage: How many stages lie below.
        position: Where.
    """
    names = [Writer("token")]
    vectors = [frozen.embed[position][None]]
    if frozen.pos_embed is not None:
        names.append(Writer("position"))
        vectors.append(frozen.pos_embed[position][None])
    for below, branches in enumerate(frozen.stages[:stage]):
        if branches[0].is_stream:  # it stands for all that was there
            names, vectors = [], []
        for branch in branches:
            found, rows = _of(branch, frozen.streams[below], position)
            names += found
            vectors.append(rows)
    return Writers(position, tuple(names), torch.cat(vectors))


def _of(branch: Branch, x: Tensor, position: int) -> tuple[list[Writer], Tensor]:
    if branch.features is None:
        out = branch.leaf
        if out is None:
            assert branch.linear is not None
            out = branch.linear(x)
        return [Writer("output", branch.site)], out[position][None]
    features = branch.features
    here = (features.position == position).nonzero().squeeze(-1)
    names = [Writer("feature", branch.site, int(latent)) for latent in features.latent[here]]
    rows = [features.value[here, None] * features.only(here).decoder_rows]
    names += [Writer("error", branch.site), Writer("bias", branch.site)]
    rows += [
        features.error[position][None],
        (features.stands[position] * features.decoder_bias)[None],
    ]
    if features.skip is not None:
        names.append(Writer("skip", branch.site))
        skipped = branch.read_value(x)[position] @ features.skip.T
        rows.append((features.stands[position] * skipped)[None])
    return names, torch.cat(rows)
