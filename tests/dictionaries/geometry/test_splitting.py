"""A planted tree of features, found again."""

import pytest
import torch
import torch.nn.functional as nnf

from lmscope.core.rng import generator
from lmscope.dictionaries.geometry.config import GeometryOptions
from lmscope.dictionaries.geometry.report import splitting_report
from lmscope.dictionaries.geometry.splitting import FiringTally, split
from lmscope.dictionaries.sparsity import SparseLatents

N_PARENTS, N_CHILDREN, N_NEW, WIDTH = 64, 4, 32, 128
OPTIONS = GeometryOptions(null_rows=2000)
# Four rows by hand span all that their moments know of, so there the null is the isotropic one.
BY_HAND = OPTIONS.model_copy(update={"splitting_null": "isotropic"})


def directions(n, *name):
    return nnf.normalize(torch.randn(n, WIDTH, generator=generator(0, *name)), dim=1)


def planted(noise=0.02):
    """Narrow rows, wide rows in another order, and the parent of each wide row, -1 for a new one."""
    parents = directions(N_PARENTS, "parents")
    children = parents.repeat_interleave(N_CHILDREN, 0)
    children = children + directions(len(children), "children")
    wide = torch.cat([children, directions(N_NEW, "new")])
    wide = wide + noise * torch.randn(wide.shape, generator=generator(0, "noise"))
    truth = torch.arange(N_PARENTS).repeat_interleave(N_CHILDREN)
    truth = torch.cat([truth, torch.full((N_NEW,), -1)])
    order = torch.randperm(len(wide), generator=generator(0, "order"))
    return parents, wide[order], truth[order]


def test_the_planted_tree_is_recovered_from_weights_alone():
    narrow, wide, truth = planted()
    found = split(narrow, wide, OPTIONS, seed=0)
    is_child = truth >= 0
    assert found.best.partner[is_child].equal(truth[is_child])
    assert found.is_new[is_child].sum() == 0
    assert found.is_new[~is_child].float().mean() > 0.9
    report = splitting_report("narrow", "wide", found, OPTIONS)
    assert report.shares.split == 1
    assert report.shares.lost == 0
    assert report.shares.new == pytest.approx(N_NEW / len(wide), abs=0.01)
    assert report.shares_null.new > 0.97
    assert report.shares_null.lost > 0.9
    assert sum(report.children_counts) == N_PARENTS
    assert report.children_counts[N_CHILDREN] >= N_PARENTS - 3
    assert report.headline()["new_share"] == report.shares.new


def test_random_wide_rows_are_new_but_for_the_share_that_the_quantile_leaves():
    narrow = directions(N_PARENTS, "parents")
    wide = directions(4000, "unrelated")
    found = split(narrow, wide, OPTIONS.model_copy(update={"null_quantile": 0.9}), seed=0)
    assert found.is_new.float().mean().item() == pytest.approx(0.9, abs=0.02)
    assert (found.null_best.cosine <= found.threshold).float().mean().item() == pytest.approx(
        0.9, abs=0.02
    )


def test_fates_by_hand():
    # e0 has two children, e1 one, e2 none; e3 alone is new. 16 coordinates keep the null below 0.9.
    axes = torch.eye(64)
    wide = torch.stack([axes[0] + 0.1 * axes[9], axes[0] - 0.1 * axes[9], axes[1], axes[3]])
    found = split(axes[:3], wide, BY_HAND, seed=0)
    report = splitting_report("narrow", "wide", found, BY_HAND)
    assert found.n_children.tolist() == [2, 1, 0]
    assert found.is_new.tolist() == [False, False, False, True]
    fates = report.shares
    assert (fates.new, fates.split, fates.carried_over, fates.lost) == pytest.approx(
        (1 / 4, 1 / 3, 1 / 3, 1 / 3)
    )
    assert (report.n_new, report.children_mean) == (1, 1.5)
    assert report.children_counts[:3] == (1, 1, 1)
    assert report.new_share_by_cosine[100] == 1.0
    assert report.new_share_by_cosine[50] == 0.25


def test_a_dictionary_is_carried_over_into_itself():
    rows = directions(50, "rows")
    found = split(rows, rows.flip(0), OPTIONS, seed=0)
    assert found.n_children.tolist() == [1] * 50
    assert found.best.partner.equal(torch.arange(49, -1, -1))


def test_firing_by_hand():
    # Parent 0 has the children 0 and 1, parent 1 the child 2; 3 is new. Four tokens.
    axes = torch.eye(64)
    wide_rows = torch.stack([axes[0] + 0.1 * axes[9], axes[0] - 0.1 * axes[9], axes[1], axes[5]])
    found = split(axes[:2], wide_rows, BY_HAND, seed=0)
    tally = FiringTally(found)
    narrow = torch.tensor([[0, 1], [0, 1], [0, 1], [0, 1]])
    narrow_values = torch.tensor([[1.0, 0], [1.0, 0], [1.0, 1.0], [0, 0]])
    wide = torch.tensor([[0, 3], [1, 3], [2, 3], [0, 2]])
    wide_values = torch.tensor([[2.0, 1.0], [2.0, 0], [0, 1.0], [1.0, 1.0]])
    for part in (slice(0, 1), slice(1, 4)):
        tally.add(
            SparseLatents(narrow[part], narrow_values[part]),
            SparseLatents(wide[part], wide_values[part]),
        )
    firing = tally.firing()
    assert firing.n_tokens == 4
    # Child 0 fires at tokens 0, 3, its parent at 0; child 1 at 1, parent too; child 2 at 3, parent not.
    assert firing.parent_given_child[:3].tolist() == [0.5, 1.0, 0.0]
    assert firing.parent_given_child_chance[:3].tolist() == [0.75, 0.75, 0.25]
    assert firing.parent_given_child[3].isnan()
    # Parent 0 fires at 0, 1, 2, a child at 0, 1, 3; parent 1 at 2, its child at 3.
    assert firing.coverage.tolist() == pytest.approx([2 / 3, 0.0])
    assert firing.coverage_chance.tolist() == [0.75, 0.25]


def test_firing_of_a_planted_tree_lies_far_above_chance():
    narrow, wide, truth = planted()
    found = split(narrow, wide, OPTIONS, seed=0)
    stream, tally = generator(1), FiringTally(found)
    fires = torch.rand(2000, len(wide), generator=stream) < 0.01
    parents = torch.zeros(2000, N_PARENTS, dtype=torch.bool)
    for parent in range(N_PARENTS):
        parents[:, parent] = fires[:, truth == parent].any(1)
    everything = [torch.arange(n).expand(2000, n) for n in (N_PARENTS, len(wide))]
    tally.add(
        SparseLatents(everything[0], parents.float()), SparseLatents(everything[1], fires.float())
    )
    firing = tally.firing()
    true_child = truth >= 0
    assert firing.parent_given_child[true_child].nanmean() == 1
    assert firing.parent_given_child_chance[true_child].nanmean() < 0.06
    assert firing.coverage.nanmean() == 1
    assert firing.coverage_chance.nanmean() < 0.06
