"""Two dictionaries trained on a planted hierarchy: the narrow one sees parents, the wide one children."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as nnf

from lmscope.core.rng import generator
from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig, KAnnealing, ObjectiveConfig, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.geometry.config import GeometryOptions
from lmscope.dictionaries.geometry.cosines import best_in
from lmscope.dictionaries.geometry.splitting import FiringTally, split
from lmscope.dictionaries.objective import DictionaryObjective
from lmscope.dictionaries.sparsity import SparseLatents

SITE = Site.parse("mlp_out@0")
N_PARENTS, N_CHILDREN, WIDTH, L0 = 12, 4, 48, 2
N_STEPS, PEAK_LR = 600, 1e-2


@dataclass
class Batch:
    values: dict


@dataclass
class Statistics:
    mean_norm: float
    mean: torch.Tensor


class Hierarchy:
    """Tokens on which L0 children fire; each writes its parent's direction and one of its own."""

    def __init__(self, stream):
        parents = nnf.normalize(torch.randn(N_PARENTS, WIDTH, generator=stream), dim=1)
        own = nnf.normalize(torch.randn(N_PARENTS * N_CHILDREN, WIDTH, generator=stream), dim=1)
        self.parents = parents
        children = parents.repeat_interleave(N_CHILDREN, 0) + own
        self.children = nnf.normalize(children, dim=1)
        self.stream = stream

    def sample(self, n):
        parents = torch.rand(n, N_PARENTS, generator=self.stream).topk(L0, dim=1).indices
        which = torch.randint(N_CHILDREN, (n, L0), generator=self.stream)
        strength = 0.5 + torch.rand(n, L0, 1, generator=self.stream)
        return (self.children[parents * N_CHILDREN + which] * strength).sum(1)


def trained(planted, n_latents) -> Dictionary:
    sample = planted.sample(4096)
    statistics = Statistics(sample.norm(dim=1).mean().item(), sample.mean(0))
    config = DictionaryConfig(
        reads=(str(SITE),),
        writes=(str(SITE),),
        d_read=WIDTH,
        d_write=WIDTH,
        n_latents=n_latents,
        sparsity=TopK(k=L0, annealing=KAnnealing(style="off")),
    )
    objective = DictionaryObjective.start(
        config, ObjectiveConfig(), {SITE: statistics}, n_steps=N_STEPS, seed=0
    )
    parameters = objective.parameter_groups()[0].parameters.values()
    optimiser = torch.optim.Adam(parameters, lr=PEAK_LR)
    for step in range(N_STEPS):
        optimiser.param_groups[0]["lr"] = PEAK_LR * min(1.0, 3 * (1 - step / N_STEPS))
        loss = objective.loss(Batch({SITE: planted.sample(128)}), step)
        optimiser.zero_grad()
        (loss.sum / loss.weight).backward()
        optimiser.step()
        objective.after_step(step)
    return objective.dictionary.fold()


@pytest.mark.slow
def test_splitting_of_trained_dictionaries_follows_the_planted_tree():
    planted = Hierarchy(generator(0, "hierarchy"))
    narrow, wide = (trained(planted, n) for n in (N_PARENTS, 2 * N_PARENTS * N_CHILDREN))
    tokens = planted.sample(4000)
    fired = [(d.encode(tokens) > 0).any(0) for d in (narrow, wide)]
    rows = [d.W_dec[alive] for d, alive in zip((narrow, wide), fired, strict=True)]
    # What each latent stands for: the planted direction nearest to it.
    parent_of_narrow = best_in(rows[0], planted.parents).partner
    child_of_wide = best_in(rows[1], planted.children)
    clear = child_of_wide.cosine > 0.9
    print(f"{len(rows[0])} and {len(rows[1])} latents live, {int(clear.sum())} are clear children")
    assert clear.sum() > 0.75 * N_PARENTS * N_CHILDREN
    found = split(*rows, GeometryOptions(null_rows=2000, splitting_null="isotropic"), seed=0)
    right = parent_of_narrow[found.best.partner] == child_of_wide.partner // N_CHILDREN
    print(f"parent right: {right[clear].float().mean():.3f}, threshold {found.threshold:.3f}")
    # Training at this size mixes a few parents; by chance one in twelve would be right.
    assert right[clear].float().mean() > 0.75
    assert found.is_new[clear].float().mean() < 0.2
    assert (found.n_children > 1).float().mean() > 0.8
    tally = FiringTally(found)
    for part in tokens.split(1000):
        tally.add(_living(narrow, fired[0], part), _living(wide, fired[1], part))
    firing = tally.firing()
    given, chance = firing.parent_given_child, firing.parent_given_child_chance
    print(f"parent given child {given.nanmean():.3f}, by chance {chance.nanmean():.3f}")
    assert given.nanmean() > 3 * chance.nanmean()
    assert firing.coverage.nanmean() > 3 * firing.coverage_chance.nanmean()


def _living(dictionary, alive, tokens):
    """Latents by their place among those that live."""
    values = dictionary.encode(tokens)[:, alive]
    return SparseLatents(torch.arange(values.shape[1]).expand_as(values), values)
