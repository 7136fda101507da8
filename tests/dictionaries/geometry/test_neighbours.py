"""Neighbours, clusters and thresholds, by hand and against the paper's figures."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.core.rng import generator
from lmscope.dictionaries.geometry.config import GeometryOptions
from lmscope.dictionaries.geometry.cosines import unit_rows
from lmscope.dictionaries.geometry.neighbours import (
    johnson_lindenstrauss_threshold,
    nearest_null,
    neighbours,
    random_max_cosine,
)
from lmscope.dictionaries.geometry.report import neighbour_report

OPTIONS = GeometryOptions(null_rows=200, block_rows=64)


@pytest.mark.parametrize(
    ("expansion", "threshold", "random"), [(8, 0.174, 0.09), (32, 0.186, 0.10)]
)
def test_the_thresholds_of_llama_scope(expansion, threshold, random):
    n = expansion * 4096
    # The paper prints 0.174 for 0.1745 and 0.186 for 0.1858.
    assert johnson_lindenstrauss_threshold(n, 4096) == pytest.approx(threshold, abs=6e-4)
    assert random_max_cosine(n, 4096) == pytest.approx(random, abs=0.005)


def test_the_expected_largest_cosine_is_what_random_rows_show():
    largest = []
    for seed in range(9):
        unit = unit_rows(torch.randn(300, 24, generator=generator(seed)))
        largest.append((unit @ unit.T).fill_diagonal_(-1).max().item())
    assert sorted(largest)[4] == pytest.approx(random_max_cosine(300, 24), abs=0.02)
    # Two directions in the plane: the angle is uniform, its median a right angle.
    assert random_max_cosine(2, 2) == pytest.approx(0, abs=1e-9)
    assert math.isnan(random_max_cosine(1, 8))


@given(st.integers(2, 12), st.integers(1, 13), st.integers(1, 5), st.integers(0, 5))
def test_nearest_latents_are_those_of_the_whole_matrix(n, block_rows, count, seed):
    rows = torch.randn(n, 4, generator=generator(seed))
    found = neighbours(rows, 0.5, count, block_rows)
    whole = (unit_rows(rows) @ unit_rows(rows).T).fill_diagonal_(-torch.inf)
    expected = whole.topk(min(count, n - 1), dim=1)
    torch.testing.assert_close(found.cosine, expected.values)
    assert found.latent.equal(expected.indices)


@given(st.integers(2, 14), st.integers(1, 15), st.floats(-0.5, 0.9), st.integers(0, 5))
def test_clusters_are_what_walking_along_pairs_reaches(n, block_rows, threshold, seed):
    rows = torch.randn(n, 3, generator=generator(seed))
    near = unit_rows(rows) @ unit_rows(rows).T > threshold
    reach = near | torch.eye(n, dtype=torch.bool)
    for _ in range(n):
        reach = (reach.double() @ reach.double()) > 0
    cluster = neighbours(rows, threshold, 1, block_rows).cluster
    assert (cluster[:, None] == cluster[None]).equal(reach)
    sizes = cluster.bincount()
    assert sizes.equal(sizes.sort(descending=True).values)


def test_many_equal_pairs_do_not_cancel_out():
    # 256 latents of one group are near the same other one: a sum in one byte would come to 0.
    group, other = torch.tensor([[1.0, 0.0]]).expand(256, 2), torch.tensor([[0.8, 0.6]])
    assert neighbours(
        torch.cat([group, other]), 0.7, 1, block_rows=256
    ).cluster.unique().tolist() == [0]


def test_a_report_by_hand():
    # Two near pairs (cosine 0.8), far from each other; the threshold is set between.
    rows = torch.tensor([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1.0, 0], [0, 0, 0.8, 0.6]])
    found = neighbours(rows, 0.7, 2)
    report = neighbour_report("d", found, nearest_null(rows, OPTIONS, 0), rows)
    assert report.mean_nearest_cosine == pytest.approx(0.8)
    assert (report.n_clusters, report.largest_cluster, report.clustered_share) == (2, 2, 1.0)
    assert report.neighbour_share == 1.0
    assert report.threshold == pytest.approx(math.sqrt(12 * math.log(4) / 4))


def test_a_crowded_dictionary_stands_out_against_its_null():
    stream = generator(3)
    centres = torch.randn(20, 64, generator=stream)
    rows = centres.repeat_interleave(5, 0) + 0.3 * torch.randn(100, 64, generator=stream)
    null = nearest_null(rows, OPTIONS, 0)
    report = neighbour_report("d", neighbours(rows, 0.7, 4, 32), null, rows)
    assert report.neighbour_share == 1.0
    assert (report.n_clusters, report.largest_cluster) == (20, 5)
    assert max(report.neighbour_share_null.values()) < 0.1
    assert report.headline()["neighbour_share"] == 1.0


def test_the_nearest_neighbours_of_random_rows_are_never_themselves():
    rows = torch.randn(150, 16, generator=generator(4))
    cosine = nearest_null(rows, OPTIONS, 0).cosine
    assert set(cosine) == {"isotropic", "moments"}
    assert max(c.max().item() for c in cosine.values()) < 0.99
    assert len(cosine["isotropic"]) == 150


def test_one_latent_has_no_neighbours():
    with pytest.raises(DataError, match="at least two latents"):
        neighbours(torch.ones(1, 3), 0.5, 1)
