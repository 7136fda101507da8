"""What features are set to when they are taken out: nothing, their mean, or what they are on another prompt."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.circuits.replacement import Replacement
from lmscope.core.errors import DataError
from lmscope.core.site import Site
from lmscope.models.batch import Batch


@runtime_checkable
class Baseline(Protocol):
    """Values that stand in for those of features."""

    def latents(self, site: Site, n_positions: int) -> Float[Tensor, "#pos #latent"]:
        """The values of a site's latents; axes of length 1 hold for all.

        Args:
            site: What the dictionary writes.
            n_positions: Of the prompt.

        Raises:
            DataError: None are known for the site or for so many positions.
        """
        ...


@dataclass(frozen=True)
class ZeroBaseline:
    """Features are silenced."""

    def latents(self, site: Site, n_positions: int) -> Float[Tensor, "#pos #latent"]:
        """As of `Baseline`."""
        return torch.zeros(1, 1)


@dataclass(frozen=True, eq=False)
class MeanBaseline:
    """Features get their mean over prompts (wang2023ioi).

    Attributes:
        values: By the site that is written; one row, or one for each position.
        n: Positions that each mean is over; of a single row all together.
    """

    values: Mapping[Site, Float[Tensor, "#pos latent"]]
    n: Mapping[Site, Int[Tensor, "#pos"]]

    def latents(self, site: Site, n_positions: int) -> Float[Tensor, "#pos #latent"]:
        """As of `Baseline`."""
        found = _known(self.values, site, "means")
        if len(found) not in (1, n_positions):
            raise DataError(
                f"The means are over prompts of {len(found)} tokens, this one has {n_positions}: take means over "
                "all positions, or prompts of one length."
            )
        return found


@dataclass(frozen=True, eq=False)
class PromptBaseline:
    """Features get what they are on another prompt, position by position (a counterfactual one).

    Attributes:
        values: By the site that is written.
    """

    values: Mapping[Site, Float[Tensor, "pos latent"]]

    def latents(self, site: Site, n_positions: int) -> Float[Tensor, "#pos #latent"]:
        """As of `Baseline`."""
        found = _known(self.values, site, "values of the other prompt")
        if len(found) != n_positions:
            raise DataError(
                f"The counterfactual prompt has {len(found)} tokens and the prompt {n_positions}: positions must "
                "answer to each other, so give one of equal length."
            )
        return found


def prompt_baseline(
    replacement: Replacement, tokens: Sequence[int] | Int[Tensor, "pos"]
) -> PromptBaseline:
    """The values of all latents on a prompt.

    Raises:
        DataError: There is no token.
    """
    return PromptBaseline(
        {site: found for site, (found, _) in _latents(replacement, tokens).items()}
    )


def mean_baseline(
    replacement: Replacement,
    prompts: Iterable[Sequence[int] | Int[Tensor, "pos"]],
    *,
    by_position: bool = False,
) -> MeanBaseline:
    """The mean of each latent over the positions of prompts at which its dictionary stands.

    Args:
        replacement: Model and dictionaries.
        prompts: Token ids, BOS included where the model begins contexts with one.
        by_position: Whether each position has a mean of its own; prompts are then of one length, as
            those of a template are. Where a dictionary never stands the mean is 0.

    Raises:
        DataError: There is no prompt, or their lengths differ and `by_position` was asked for.
    """
    sums: dict[Site, Tensor] = {}
    counts: dict[Site, Tensor] = {}
    length = None
    for tokens in prompts:
        if by_position and length not in (None, len(tokens)):
            raise DataError(
                f"Means by position need prompts of one length; {length} and {len(tokens)} tokens were given."
            )
        length = len(tokens)
        for site, (latents, stands) in _latents(replacement, tokens).items():
            more, n = latents.double(), stands.long()
            if not by_position:
                more, n = more.sum(0, keepdim=True), n.sum(0, keepdim=True)
            sums[site] = sums[site] + more if site in sums else more
            counts[site] = counts[site] + n if site in counts else n
    if length is None:
        raise DataError("There is no prompt to take means over: give at least one.")
    values = {
        site: (total / counts[site].clamp(min=1)[:, None]).to(replacement.dtype)
        for site, total in sums.items()
    }
    return MeanBaseline(values, counts)


@torch.no_grad()
def _latents(
    replacement: Replacement, tokens: Sequence[int] | Int[Tensor, "pos"]
) -> dict[Site, tuple[Tensor, Tensor]]:
    """Latents by site, 0 where the dictionary does not stand, and 1 where it does."""
    model, exclusion = replacement.model, replacement.exclusion
    ids = torch.as_tensor(tokens, device=model.device).long()
    if not len(ids):
        raise DataError("There is no token to read: give a prompt.")
    if not replacement.dictionaries:
        return {}
    reads = {site: one.config.read_site for site, one in replacement.dictionaries.items()}
    values = model.read(Batch(tokens=ids[None]), sorted(set(reads.values())))
    by_token = exclusion.keep_tokens(ids[None], None, model.special_ids)[0]
    found: dict[Site, tuple[Tensor, Tensor]] = {}
    for site, dictionary in replacement.dictionaries.items():
        x = values[reads[site]][0].to(replacement.dtype)
        stands = by_token
        if reads[site] in exclusion.median_norm:
            stands = stands & exclusion.inlier(reads[site], x)
        found[site] = dictionary.encode(x) * stands[:, None], stands
    return found


def _known(values: Mapping[Site, Tensor], site: Site, what: str) -> Tensor:
    if site not in values:
        known = ", ".join(map(str, values)) or "none"
        raise DataError(f"There are no {what} for '{site}'. Known: {known}.")
    return values[site]
