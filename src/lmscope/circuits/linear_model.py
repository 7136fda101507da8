"""The frozen model run forwards: what it gives when activations, embeddings or errors are changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.circuits.frozen import Branch, Frozen
from lmscope.circuits.targets import Start
from lmscope.core.site import Site

Change = Callable[[Tensor], Tensor]
"""From the activations of a site's active features to those to go on with."""


@dataclass(frozen=True, eq=False)
class LinearRun:
    """What one run of the frozen model gave.

    Attributes:
        streams: The stream below each stage, and after the last.
        activations: Of the active features of each site, after changes.
    """

    streams: tuple[Float[Tensor, "pos model"], ...]
    activations: Mapping[Site, Float[Tensor, "node"]]

    def value(self, start: Start) -> Float[Tensor, ""]:
        """What a target is in this run."""
        constant = torch.stack(
            [value.sum() for value in start.biases.found.values()] or [torch.zeros(())]
        )
        read = start.read[0]
        return (read * self.streams[start.stage]).sum() + constant.to(read).sum()


def run_linear(
    frozen: Frozen,
    changes: Mapping[Site, Change] | None = None,
    *,
    embed: Float[Tensor, "pos model"] | None = None,
    pos_embed: Float[Tensor, "pos model"] | None = None,
    errors: float = 1.0,
    added: Mapping[Site, Float[Tensor, "pos model"]] | None = None,
) -> LinearRun:
    """Run the frozen model; active features answer to what changes below them, the others stay silent.

    Differentiable in everything that is given.

    Args:
        frozen: The run that it is frozen at.
        changes: What happens to the activations of a site before they are written.
        embed: What token embeddings write instead.
        pos_embed: What position embeddings write instead.
        errors: What errors are multiplied with; 0 takes them away.
        added: What is written to sites besides, such as by latents that did not fire.
    """
    changed, more = changes or {}, added or {}
    x = frozen.embed if embed is None else embed
    where = frozen.pos_embed if pos_embed is None else pos_embed
    if where is not None:
        x = x + where
    streams, activations = [x], dict[Site, Tensor]()
    for stage in frozen.stages:
        written = torch.zeros_like(x)
        for branch in stage:
            out = _write(branch, x, changed.get(branch.site), activations, errors)
            written = written + out + more.get(branch.site, 0.0)
        x = written if stage[0].is_stream else x + written
        streams.append(x)
    return LinearRun(tuple(streams), activations)


def _write(
    branch: Branch,
    x: Tensor,
    change: Change | None,
    activations: dict[Site, Tensor],
    errors: float,
) -> Tensor:
    if branch.leaf is not None:
        return branch.leaf
    features = branch.features
    if features is None:
        assert branch.linear is not None
        return branch.linear(x)
    read = branch.read_value(x)
    pre = features.pre_activations(read)
    active = pre if change is None else change(pre)
    activations[branch.site] = active
    out = features.write(active)
    out = out + features.stands[:, None] * features.decoder_bias + errors * features.error
    if features.skip is not None:
        out = out + features.stands[:, None] * (read @ features.skip.T)
    return out
