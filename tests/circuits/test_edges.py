"""Edges of circuits: exact rows, and flows that are conserved."""

import pytest
import torch

from lmscope.circuits.attribution import attribute
from lmscope.circuits.config import TraceOptions
from lmscope.circuits.edges import feature_rows, flow_edges
from lmscope.circuits.targets import FeatureTarget, LogitTarget
from lmscope.core.site import Site

TARGETS = (LogitTarget(9, -1, against=3), FeatureTarget(Site("attn_out", 2), 6, 3))


def test_rows_sum_to_the_pre_activations(frozen):
    for _, branch in frozen.branches():
        if branch.features is None:
            continue
        nodes = torch.arange(len(branch.features))
        for chunk, rows in feature_rows(frozen, branch.site, nodes):
            torch.testing.assert_close(
                rows.total(), branch.features.value[chunk], atol=1e-10, rtol=1e-9
            )


@pytest.mark.parametrize("threshold", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("target", TARGETS, ids=["logit", "feature"])
def test_the_flow_into_a_feature_sums_to_its_attribution(frozen, target, threshold):
    found = attribute(frozen, target, TraceOptions(threshold=threshold))
    edges = flow_edges(found)
    n = len(edges.node)
    into = torch.zeros(n + 1, dtype=torch.float64)
    into.index_add_(0, torch.where(edges.goal < 0, n, edges.goal), edges.flow)
    into += edges.tokens.sum(1) + edges.positions.sum(1) + edges.biases
    for values in (*edges.errors.values(), *edges.leaves.values()):
        into += values.sum(1)
    into += cut_into(found, edges, n)
    expected = [
        float(found.sites[site].attribution[node])
        for site, node in zip(edges.sites, edges.node.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        into,
        torch.tensor([*expected, found.start.value], dtype=torch.float64),
        atol=1e-9,
        rtol=1e-9,
    )


def cut_into(found, edges, n):
    """What features that were cut add to each that was kept, row by row."""
    lost = torch.zeros(n + 1, dtype=torch.float64)
    numbers = {}
    for number, (site, node) in enumerate(zip(edges.sites, edges.node.tolist(), strict=True)):
        numbers[site, node] = number
    for site, one in found.sites.items():
        kept = one.kept.nonzero().squeeze(-1)
        for chunk, rows in feature_rows(found.frozen, site, kept):
            for below, direct in rows.sites.items():
                cut = (direct[:, ~found.sites[below].kept]).sum(1) * one.gradient[chunk]
                for node, value in zip(chunk.tolist(), cut.tolist(), strict=True):
                    lost[numbers[site, node]] += value
    whole = attribute(found.frozen, found_target(found), TraceOptions(threshold=1e9))
    for site, one in whole.sites.items():
        lost[n] += float(one.attribution[~found.sites[site].kept].sum())
    return lost


def found_target(found):
    return TARGETS[0] if found.start.name.startswith("logit") else TARGETS[1]


def test_the_flow_out_of_a_feature_sums_to_its_attribution(frozen):
    """Each unit of what a kept feature adds reaches the target through kept edges."""
    found = attribute(frozen, TARGETS[0], TraceOptions(threshold=0.02))
    edges = flow_edges(found)
    out = torch.zeros(len(edges.node), dtype=torch.float64).index_add_(0, edges.source, edges.flow)
    expected = torch.tensor(
        [
            float(found.sites[s].attribution[i])
            for s, i in zip(edges.sites, edges.node.tolist(), strict=True)
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(out, expected, atol=1e-9, rtol=1e-9)


def test_small_flows_can_be_left_out(frozen):
    found = attribute(frozen, TARGETS[0], TraceOptions(threshold=0.02))
    some, every = flow_edges(found, least=0.05), flow_edges(found)
    assert (some.flow.abs() > 0.05).all()
    assert len(some.flow) == int((every.flow.abs() > 0.05).sum()) < len(every.flow)


def test_room_for_edges_grows_with_what_is_found(frozen, monkeypatch):
    found = attribute(frozen, TARGETS[0], TraceOptions(threshold=0.0, relative=False))
    expected = flow_edges(found, least=1e-12)
    monkeypatch.setattr("lmscope.circuits.edges._FIRST_EDGES", 3)
    grown = flow_edges(found, least=1e-12)
    assert len(grown.flow) > 100
    assert torch.equal(grown.source, expected.source)
    assert torch.equal(grown.flow, expected.flow)


def test_edges_lie_in_rows_that_can_be_put_in_order(frozen):
    found = attribute(frozen, TARGETS[0], TraceOptions(threshold=0.0, relative=False))
    edges = flow_edges(found)
    assert edges.counts.sum() == len(edges.flow) == len(edges.source) == len(edges.goal)
    assert sorted(edges.goals.tolist()) == list(range(-1, len(edges.node)))
    for sources in edges.source.split(edges.counts.tolist()):
        assert sources.tolist() == sorted(set(sources.tolist()))
    order = edges.order()
    ends = list(zip(edges.goal[order].tolist(), edges.source[order].tolist(), strict=True))
    assert ends == sorted(ends)
    assert len(ends) == len(set(ends)) > 100
