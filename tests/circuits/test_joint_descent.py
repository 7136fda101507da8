"""A run's beginning, a run with some features only, and features of all sites that descend together."""

import pytest
import torch

from lmscope.circuits import joint_descent
from lmscope.circuits.edges import feature_rows
from lmscope.circuits.frozen import freeze
from lmscope.circuits.joint_descent import Readers, joint_rows

PATTERNS = {"atol": 1e-5, "rtol": 1e-5}
"""How close two runs are: the model itself computes their attention patterns, in float32."""


def close(found, expected, *, atol=1e-10, rtol=1e-9):
    torch.testing.assert_close(found, expected, atol=atol, rtol=rtol)


def with_features(frozen):
    return [branch for _, branch in frozen.branches() if branch.features is not None]


def test_the_beginning_of_a_run_is_the_run_of_the_beginning(frozen):
    length = 5
    found, expected = (
        frozen.until(length),
        freeze(frozen.replacement, frozen.tokens[:length].tolist()),
    )
    close(found.logits(length - 1), expected.logits(length - 1), **PATTERNS)
    for one, other in zip(with_features(found), with_features(expected), strict=True):
        assert one.site == other.site
        assert one.features.position.tolist() == other.features.position.tolist()
        assert one.features.latent.tolist() == other.features.latent.tolist()
        close(one.features.value, other.features.value, **PATTERNS)
        nodes = torch.arange(len(one.features))
        rows = [feature_rows(run, one.site, nodes) for run in (found, expected)]
        for (_, mine), (_, theirs) in zip(*rows, strict=True):
            close(mine.total(), one.features.value, **PATTERNS)
            close(mine.tokens, theirs.tokens, **PATTERNS)
            close(mine.biases, theirs.biases, **PATTERNS)
            for site, values in theirs.sites.items():
                close(mine.sites[site], values, **PATTERNS)


def test_a_run_with_some_features_only_has_their_columns(frozen):
    chosen = with_features(frozen)[0]
    kept = torch.arange(0, len(chosen.features), 3)
    below = frozen.only({chosen.site: kept})
    assert len(below.branch(chosen.site)[1].features) == len(kept) < len(chosen.features)
    top = with_features(frozen)[-1]
    assert len(below.branch(top.site)[1].features) == len(top.features)  # not named: whole
    nodes = torch.arange(len(top.features))
    for (_, mine), (_, whole) in zip(
        feature_rows(below, top.site, nodes), feature_rows(frozen, top.site, nodes), strict=True
    ):
        for site, values in whole.sites.items():
            close(mine.sites[site], values[:, kept] if site == chosen.site else values)


@pytest.mark.parametrize("memory", [1 << 24, 1 << 14], ids=["one chunk", "many chunks"])
def test_descending_together_gives_the_rows_of_each_site_alone(frozen, memory, monkeypatch):
    monkeypatch.setattr(joint_descent, "CHUNK_BYTES", memory)
    branches = with_features(frozen)
    readers, expected = [], {}
    for branch in branches:
        nodes = torch.arange(0, len(branch.features), 5)
        number = torch.arange(len(nodes)) + len(expected)
        readers.append(Readers(branch.site, nodes, number))
        for chunk, rows in feature_rows(frozen, branch.site, nodes):
            for i, node in enumerate(chunk.tolist()):
                alone = {site: values[i] for site, values in rows.sites.items()}
                expected[int(number[nodes.tolist().index(node)])] = (branch, node, alone, rows, i)
    seen = []
    for numbers, rows in joint_rows(frozen, frozen, readers):
        for row, number in enumerate(numbers.tolist()):
            branch, node, alone, theirs, i = expected[number]
            close(rows.total()[row], branch.features.value[node])
            close(rows.biases[row], theirs.biases[i])
            for values, wanted in (
                (rows.tokens, theirs.tokens),
                (rows.positions, theirs.positions),
            ):
                n = values.shape[1]
                close(values[row], wanted[i, :n])
                assert not wanted[i, n:].any()  # later positions, which it cannot see
            for site, values in rows.sites.items():
                n = values.shape[1]
                wanted = alone.get(site, torch.zeros(0, dtype=torch.float64))
                close(values[row, : len(wanted)], wanted[:n])
                assert not values[row, len(wanted) :].any()
                assert not wanted[n:].any()
            seen.append(number)
    assert sorted(seen) == sorted(expected)


def test_nothing_asked_gives_nothing(frozen):
    assert list(joint_rows(frozen, frozen, [])) == []
    site = with_features(frozen)[0].site
    none = torch.zeros(0, dtype=torch.long)
    assert list(joint_rows(frozen, frozen, [Readers(site, none, none)])) == []
