"""Agreement: processes that hold other latents, or other tokens, choose the best of all exactly.

Each process offers the scores of its own best candidates, at least as many as could be kept in all;
one gathering brings every score to every process, and all make the same choice from the same numbers.
No tolerance, no search for a threshold.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmscope.core.processes import Group
from lmscope.dictionaries.selection import Agree


def agree_on_tokens(group: Group, k: int) -> Agree | None:
    """The k best of each token among the candidates of all processes; None for one process.

    Args:
        group: Those that hold other latents at the same tokens, equally many candidates each.
        k: Kept of each token.
    """
    if group.size == 1:
        return None

    def agree(scores: Float[Tensor, "token candidate"]) -> Bool[Tensor, "token candidate"]:
        of_all = torch.cat(group.gather(scores), dim=1)
        best = of_all.topk(min(k, of_all.shape[1]), dim=1, sorted=False).indices
        kept = torch.zeros_like(of_all, dtype=torch.bool).scatter_(1, best, value=True)
        n = scores.shape[1]
        return kept[:, group.rank * n : (group.rank + 1) * n]

    return agree


def agree_on_batch(group: Group, n_kept: int) -> Agree | None:
    """The best pairs of a batch among the candidates of all processes; None for one process.

    Args:
        group: Those that hold other latents or other tokens of the batch, any number of candidates each.
        n_kept: Kept in all.
    """
    if group.size == 1:
        return None

    def agree(scores: Float[Tensor, "candidate"]) -> Bool[Tensor, "candidate"]:
        counts = [int(n) for n in group.gather(torch.tensor([len(scores)], device=scores.device))]
        offered = scores.new_full((max(counts),), -torch.inf)
        offered[: len(scores)] = scores
        parts = [part[:n] for part, n in zip(group.gather(offered), counts, strict=True)]
        of_all = torch.cat(parts)
        kept = torch.ones_like(of_all, dtype=torch.bool)
        if len(of_all) > n_kept:
            kept.zero_()[of_all.topk(n_kept, sorted=False).indices] = True
        first = sum(counts[: group.rank])
        return kept[first : first + len(scores)]

    return agree
