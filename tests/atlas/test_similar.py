import numpy as np
import pytest
import torch

from lmscope.atlas.shards import Shard, ShardReader, write_shard
from lmscope.atlas.similar import (
    blocks_of,
    chosen_positions,
    coactive_latents,
    decoder_neighbours,
)
from lmscope.core.errors import DataError


def test_neighbours_by_hand():
    # Unit directions of the rows: 0 and 3 are equal, 1 is at a right angle, 2 at 45 degrees.
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [5.0, 0.0], [0.0, 0.0]])
    found = decoder_neighbours(rows, 2)
    half = pytest.approx(0.5**0.5)
    assert [(w.id, w.value) for w in found.row(0)] == [(3, 1.0), (2, half)]
    assert [(w.id, w.value) for w in found.row(1)] == [(2, half), (0, 0.0)]
    assert [(w.id, w.value) for w in found.row(2)] == [(0, half), (1, half)]
    assert found.row(4) == ()


def test_neighbours_of_weights_in_bfloat16_are_those_of_the_same_numbers():
    rows = torch.randn(30, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    one, other = decoder_neighbours(rows, 4), decoder_neighbours(rows.float(), 4)
    assert np.array_equal(one.ids, other.ids)
    assert np.array_equal(one.values, other.values)


def test_a_row_that_is_not_finite_is_named():
    rows = torch.ones(3, 2)
    rows[1, 1] = torch.nan
    with pytest.raises(DataError, match="NaN or infinity"):
        decoder_neighbours(rows, 2)


def reader(folder, cells: list[tuple[int, int]], counted: np.ndarray) -> ShardReader:
    latent, position = np.array(cells).T
    write_shard(folder, Shard.of(0, latent, position, np.ones(len(cells)), counted))
    return ShardReader(folder)


def test_coactivation_by_hand(tmp_path):
    # Latent 0 fires on 0 1 2 3, latent 1 on 2 3, latent 2 on 3 4, latent 3 on 5, latent 4 never.
    cells = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (2, 4), (3, 5)]
    shards = reader(tmp_path, cells, np.ones((1, 6), dtype=bool))
    found = coactive_latents(shards, 5, 3, 100)
    third, fifth = pytest.approx(1 / 3), pytest.approx(1 / 5)
    assert [(w.id, w.value) for w in found.row(0)] == [(1, 0.5), (2, fifth)]
    assert [(w.id, w.value) for w in found.row(1)] == [(0, 0.5), (2, third)]
    assert [(w.id, w.value) for w in found.row(2)] == [(1, third), (0, fifth)]
    assert found.row(3) == ()
    assert found.row(4) == ()
    assert coactive_latents(shards, 5, 3, 0).row(0) == ()


def test_coactivation_counts_on_the_chosen_positions_only(tmp_path):
    # Of 6 positions 3 are chosen: 0, 2, 4. There latent 0 fires on 0 2, latent 1 on 0 2 4.
    cells = [(0, 0), (0, 2), (0, 3), (1, 0), (1, 2), (1, 4), (1, 5)]
    shards = reader(tmp_path, cells, np.ones((1, 6), dtype=bool))
    (only,) = coactive_latents(shards, 2, 3, 3).row(0)
    assert (only.id, only.value) == (1, pytest.approx(2 / 3))


def test_no_position_that_counts_is_said(tmp_path):
    shards = reader(tmp_path, [(0, 0)], np.zeros((1, 6), dtype=bool))
    with pytest.raises(DataError, match="not one position counts"):
        coactive_latents(shards, 2, 3, 3)


def test_positions_are_chosen_at_even_distances_among_those_that_count():
    counted = np.array([False, True, True, False, True, True, True, True])
    assert chosen_positions(counted, 3).tolist() == [1, 4, 6]
    assert chosen_positions(counted, 10).tolist() == [1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize("at_most", [1, 3, 7, 100])
def test_blocks_cover_a_range_with_bounded_weight(at_most):
    weight = np.array([3, 0, 1, 9, 0, 0, 2, 2])
    parts = blocks_of(weight, range(5, 13), at_most)
    assert [i for part in parts for i in part] == list(range(5, 13))
    for part in parts:
        assert len(part) == 1 or weight[part.start - 5 : part.stop - 5].sum() <= at_most
