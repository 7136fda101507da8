"""Random graphs of features with planted edges: what is found, and by brute force over all paths."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from lmscope.circuits.attribution import attribute, attribute_from
from lmscope.circuits.config import TraceOptions
from lmscope.circuits.edges import feature_rows, flow_edges
from lmscope.circuits.targets import DirectionTarget
from lmscope.core.site import Site

N_LAYERS, N_FEATURES, N_TOKENS = 4, 10, 3


class Planted:
    """Each feature writes a coordinate of its own and reads those of its planted parents.

    Attributes:
        weights: `[goal, source]`, numbered through all layers; 0 where no edge was planted.
        frozen: The run; all features fire.
        target: Reads two features of the last layer.
    """

    def __init__(self, by_hand, seed, *, noise=0.0, n_layers=N_LAYERS, n_features=N_FEATURES):
        draw = np.random.default_rng(seed)
        n = n_layers * n_features
        self.per_layer, self.n = n_features, n
        self.layer = np.repeat(np.arange(n_layers), n_features)
        below = self.layer[:, None] > self.layer[None]
        chosen = below & (draw.random((n, n)) < 0.15)
        self.weights = np.where(
            chosen, draw.choice([-1, 1], (n, n)) * draw.uniform(0.5, 2, (n, n)), 0
        )
        read = self.weights + np.where(below, noise * draw.normal(size=(n, n)), 0)
        tokens = draw.uniform(0.5, 1, (n, N_TOKENS))
        self.embed = torch.tensor(np.concatenate([np.ones(N_TOKENS), np.zeros(n)]))[None]
        layers, value = [], np.zeros(n)
        for layer in range(n_layers):
            own = self.layer == layer
            pre = read[own] @ value + tokens[own].sum(1)
            constant = draw.uniform(0.5, 1, n_features) - np.minimum(pre, 0)
            value[own] = pre + constant
            writes = np.zeros((n_features, N_TOKENS + n))
            writes[np.arange(n_features), N_TOKENS + np.flatnonzero(own)] = 1
            reads = np.concatenate([tokens[own], read[own]], 1)
            layers.append((*map(torch.tensor, (reads, constant, writes)), None))
        self.value, self.read = value, read
        self.frozen = by_hand(self.embed, layers)
        self.goals = {n - 1: 1.0, n - 2: -0.5}
        vector = torch.zeros(N_TOKENS + n, dtype=torch.float64)
        for goal, weight in self.goals.items():
            vector[N_TOKENS + goal] = weight
        self.target = DirectionTarget(Site("resid_post", n_layers - 1), 0, vector)

    def direct(self):
        """Size of what each feature adds to each other, and whether it was planted."""
        found = np.zeros((self.n, self.n))
        for layer in range(1, self.n // self.per_layer):
            site = Site("mlp_out", layer)
            for chunk, rows in feature_rows(self.frozen, site, torch.arange(self.per_layer)):
                for below, values in rows.sites.items():
                    goal = layer * self.per_layer + chunk.numpy()[:, None]
                    source = below.layer * self.per_layer + np.arange(self.per_layer)[None]
                    found[goal, source] = values.numpy()
        return found

    def ancestors(self):
        found, left = set(), list(self.goals)
        while left:
            node = left.pop()
            if node not in found:
                found.add(node)
                left += np.flatnonzero(self.weights[node]).tolist()
        return found


@pytest.fixture(params=[0, 1, 2])
def exact(request, frozen_by_hand):
    return Planted(frozen_by_hand, request.param)


@pytest.fixture(params=[0, 1, 2])
def noisy(request, frozen_by_hand):
    return Planted(frozen_by_hand, request.param, noise=0.1)


def auroc(scores, labels):
    """The chance that an edge that was planted scores above one that was not."""
    ranks = scores.argsort().argsort() + 1
    n = labels.sum()
    return (ranks[labels].sum() - n * (n + 1) / 2) / (n * (~labels).sum())


def test_direct_contributions_are_the_planted_weights(exact):
    np.testing.assert_allclose(exact.direct(), exact.weights * exact.value[None], atol=1e-12)


def test_without_noise_the_edges_found_are_those_planted_above_the_target(exact):
    found = flow_edges(
        attribute(exact.frozen, exact.target, TraceOptions(threshold=0.0)), least=1e-9
    )
    edges = set(zip(found.goal.tolist(), found.source.tolist(), strict=True))
    ancestors = exact.ancestors()
    goals, sources = np.nonzero(exact.weights)
    planted = {
        (g, s) for g, s in zip(goals.tolist(), sources.tolist(), strict=True) if g in ancestors
    }
    reached = attribute(exact.frozen, exact.target).sites
    gradient = np.concatenate([one.gradient.numpy() for one in reached.values()])
    planted = {(g, s) for g, s in planted if abs(gradient[g]) > 1e-12}
    assert edges == planted | {(-1, goal) for goal in exact.goals}


def test_sizes_of_edges_tell_planted_ones_from_noise(noisy):
    below = noisy.layer[:, None] > noisy.layer[None]
    sizes = np.abs(noisy.direct() / noisy.value[None])[below]
    planted = (noisy.weights != 0)[below]
    assert auroc(sizes, planted) > 0.995
    assert auroc(-sizes, planted) < 0.005
    shuffled = np.random.default_rng(0).permutation(planted)
    assert abs(auroc(sizes, shuffled) - 0.5) < 0.1


def test_a_higher_threshold_is_more_precise_and_finds_fewer_planted_edges(noisy):
    below = noisy.layer[:, None] > noisy.layer[None]
    sizes = np.abs(noisy.direct())[below]
    planted = (noisy.weights != 0)[below]
    levels = np.quantile(sizes, [0.0, 0.5, 0.8, 0.95])
    found = [sizes >= level for level in levels]
    precision = [planted[one].mean() for one in found]
    recall = [planted[one].sum() / planted.sum() for one in found]
    assert precision == sorted(precision)
    assert recall == sorted(recall, reverse=True)
    assert precision[0] < 0.25
    assert precision[-1] > 0.9
    assert recall[0] == 1
    assert recall[2] > 0.8


@pytest.mark.parametrize("rule", ["abs", "signed"])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(4))
def test_attribution_is_the_sum_over_all_paths_of_kept_features(
    frozen_by_hand, seed, threshold, rule
):
    planted = Planted(frozen_by_hand, seed, noise=0.4, n_layers=4, n_features=3)
    options = TraceOptions(threshold=threshold, relative=False, rule=rule)
    found = attribute(planted.frozen, planted.target, options)
    kept = torch.cat([one.kept for one in found.sites.values()]).tolist()
    attribution = torch.cat([one.attribution for one in found.sites.values()])
    expected = [planted.value[node] * paths(planted, node, kept) for node in range(planted.n)]
    torch.testing.assert_close(attribution, torch.tensor(expected), atol=1e-10, rtol=1e-10)


def paths(planted, node, kept):
    """What one unit adds to the target: over every chain of kept features above it, one by one."""
    above = [other for other in range(planted.n) if planted.layer[other] > planted.layer[node]]
    total = planted.goals.get(node, 0.0)
    for length in range(1, planted.n // planted.per_layer):
        for chain in combinations([other for other in above if kept[other]], length):
            steps = [node, *chain]
            product = planted.goals.get(steps[-1], 0.0)
            for source, goal in pairwise(steps):
                product *= planted.read[goal, source]
            total += product
    return total


def test_any_choice_of_features_is_the_sum_over_its_paths(frozen_by_hand):
    planted = Planted(frozen_by_hand, 9, noise=0.4, n_layers=4, n_features=3)
    chosen = torch.rand(planted.n, generator=torch.Generator().manual_seed(1)) < 0.5

    def keep(site, _attribution):
        first = (site.layer or 0) * planted.per_layer
        return chosen[first : first + planted.per_layer]

    found = attribute_from(planted.frozen, planted.target.start(planted.frozen), keep)
    for site, one in found.sites.items():
        for place, value in enumerate(one.attribution.tolist()):
            node = site.layer * planted.per_layer + place
            expected = planted.value[node] * paths(planted, node, chosen.tolist())
            assert value == pytest.approx(expected, abs=1e-10)
