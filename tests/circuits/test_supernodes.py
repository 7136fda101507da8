"""Supernodes: planted groups are found, and grouped graphs keep all flows."""

import json

import numpy as np
import pytest

from lmscope.circuits.supernodes import (
    Supernode,
    SupernodeOptions,
    coactivation,
    decoder_similarity,
    features_of,
    group,
    supernodes,
    supernodes_by_label,
)
from lmscope.core.errors import DataError

NAMES = ("mlp_out@1/0@1", "mlp_out@1/1@2", "mlp_out@2/2@2", "mlp_out@2/3@3", "attn_out@2/4@3")


@pytest.fixture(scope="module")
def graph(make_graph):
    return make_graph(
        dict(zip(NAMES, (3.0, 1.0, 1.0, 0.5, -1.0), strict=True)) | {"token@1": 3.0},
        {
            ("token@1", NAMES[0]): 3.0,
            (NAMES[0], NAMES[2]): 2.0,
            (NAMES[0], NAMES[3]): 0.5,
            (NAMES[1], NAMES[3]): -0.25,
            (NAMES[2], "target"): 1.0,
            (NAMES[3], "target"): 0.5,
            (NAMES[4], "target"): -1.0,
        },
    )


def planted(groups, *, noise=0.05, width=24, seed=0):
    """A vector a member, near its group's."""
    draw = np.random.default_rng(seed)
    centres = {g: draw.standard_normal(width) for g in sorted(set(groups))}
    return np.stack([centres[g] + noise * draw.standard_normal(width) for g in groups])


def test_cosines_by_hand():
    found = decoder_similarity(np.array([[1.0, 0.0], [2.0, 2.0], [0.0, 0.0], [-3.0, 0.0]]))
    np.testing.assert_allclose(found[0], [1.0, 2**-0.5, 0.0, -1.0], atol=1e-12)


def test_features_that_fire_together_are_alike():
    found = coactivation(np.array([[1.0, 0.0, 2.0], [2.0, 0.0, 4.0], [0.0, 1.0, 0.0]]))
    assert found[0, 1] == pytest.approx(1.0)
    assert found[0, 2] == 0.0


def test_planted_groups_are_found(graph):
    found = supernodes(graph, decoder_similarity(planted("aabbb")))
    assert {one.members for one in found} == {NAMES[:2], NAMES[2:4]}  # the fifth lowers the target
    both = supernodes(
        graph, decoder_similarity(planted("aabbb")), SupernodeOptions(same_sign=False)
    )
    assert {one.members for one in both} == {NAMES[:2], NAMES[2:]}
    assert all(one.similarity > 0.9 for one in both)


def test_many_planted_groups_are_found(make_graph):
    draw = np.random.default_rng(1)
    truth = draw.integers(0, 12, 80).tolist()
    big = make_graph({f"mlp_out@1/{i}@1": 1.0 for i in range(80)}, {})
    vectors = planted(truth, noise=0.2, width=64, seed=2)
    found = supernodes(big, decoder_similarity(vectors))
    names = [node.id for node in features_of(big)]
    expected = {tuple(n for n, t in zip(names, truth, strict=True) if t == g) for g in set(truth)}
    assert {one.members for one in found} == {group for group in expected if len(group) > 1}


def test_what_must_stay_apart_does(graph):
    alike = np.ones((5, 5))
    by_place = supernodes(graph, alike, SupernodeOptions(position="same", same_sign=False))
    assert {one.members for one in by_place} == {NAMES[1:3], NAMES[3:]}
    by_layer = supernodes(graph, alike, SupernodeOptions(max_layers=1, same_sign=False))
    assert {one.members for one in by_layer} == {NAMES[:2], NAMES[2:]}


def test_shared_labels_make_groups(graph):
    labels = {NAMES[0]: " Cities ", NAMES[1]: "cities", NAMES[2]: "rivers", NAMES[3]: ""}
    found = supernodes_by_label(graph, labels)
    assert [(one.members, one.similarity) for one in found] == [(NAMES[:2], 1.0)]
    assert found[0].name == " Cities  (+1)"


def test_no_label_makes_no_group(graph):
    assert supernodes_by_label(graph, {}) == ()


def test_groups_are_named_after_what_adds_most_and_never_twice(graph):
    found = supernodes(graph, decoder_similarity(planted("aabbb")))
    assert [one.name for one in found] == ["mlp_out@1/0 (+1)", "mlp_out@2/2 (+1)"]
    assert found[0].attribution == 4.0
    labels = dict.fromkeys(NAMES, "same")
    named = supernodes(graph, decoder_similarity(planted("aabbb")), labels=labels)
    assert [one.name for one in named] == ["same (+1)", "same (+1) #2"]


def test_a_grouped_graph_keeps_all_flows(graph):
    found = group(graph, supernodes(graph, decoder_similarity(planted("aabbb"))))
    flows = {(one.source, one.goal): one.flow for one in found.edges}
    # 2 + 0.5 - 0.25 between the groups; 1 + 0.5 from the upper one.
    assert flows == {
        ("mlp_out@1/0 (+1)", "mlp_out@2/2 (+1)"): 2.25,
        ("mlp_out@2/2 (+1)", "target"): 1.5,
        ("token@1", "mlp_out@1/0 (+1)"): 3.0,
        (NAMES[4], "target"): -1.0,
    }
    assert [node.id for node in found.single] == ["target", NAMES[4], "token@1"]
    json.dumps(found.to_mapping(), allow_nan=False)


def test_flows_within_a_group_are_written_down(graph):
    found = group(graph, [Supernode("all", (NAMES[0], NAMES[2]), 4.0, 1.0)])
    assert found.within == {"all": 2.0}


def test_a_real_graph_loses_no_flow(traced):
    alike = decoder_similarity(
        np.random.default_rng(0).standard_normal((len(features_of(traced)), 8))
    )
    groups = supernodes(traced, alike, SupernodeOptions(least=0.3))
    assert groups
    found = group(traced, groups)
    total = sum(one.flow for one in found.edges) + sum(found.within.values())
    assert total == pytest.approx(float(traced.flow.astype(float).sum()), abs=1e-9)


def test_wrong_similarities_and_groups_are_refused(graph):
    with pytest.raises(DataError, match="has 5 features, but similarities of 2 by 2"):
        supernodes(graph, np.eye(2))
    with pytest.raises(DataError, match="not a number"):
        supernodes(graph, np.full((5, 5), np.nan))
    one = Supernode("one", NAMES[:2], 1.0, 1.0)
    with pytest.raises(DataError, match="stands in 'one' and in 'two'"):
        group(graph, [one, Supernode("two", NAMES[1:3], 1.0, 1.0)])
    with pytest.raises(DataError, match="Two nodes would be called 'one'"):
        group(graph, [one, Supernode("one", NAMES[2:], 1.0, 1.0)])
    with pytest.raises(DataError, match="no node 'mlp_out@9/1@1'"):
        group(graph, [Supernode("x", ("mlp_out@9/1@1",), 1.0, 1.0)])


def test_no_limit_brings_together_what_must_stay_apart(graph):
    any_ = SupernodeOptions(least=-1.0, position="same", same_sign=False)
    found = supernodes(graph, np.ones((5, 5)), any_)
    assert {one.members for one in found} == {NAMES[1:3], NAMES[3:]}
