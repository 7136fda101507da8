from pathlib import Path

import numpy as np
import pytest

from lmscope.atlas.shards import Shard, ShardReader, has_shard, shard_path, write_shard
from lmscope.core.errors import ArtifactError, DataError

N_LATENTS, LENGTH = 10, 8


def counted(n_contexts: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n_contexts, LENGTH)) < 0.8


def firings(mask: np.ndarray, n: int = 60, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Latent, place and value of firings on places that count, in random order."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(mask.size * N_LATENTS, n, replace=False)
    latent, place = cells // mask.size, cells % mask.size
    kept = mask.reshape(-1)[place]
    return latent[kept], place[kept], rng.random(n).astype(np.float32)[kept] + 0.1


def spill(folder: Path, sizes: list[int], mask: np.ndarray, found: tuple[np.ndarray, ...]) -> None:
    latent, place, value = found
    first = 0
    for size in sizes:
        inside = (place // LENGTH >= first) & (place // LENGTH < first + size)
        part = mask[first : first + size]
        write_shard(folder, Shard.of(first, latent[inside], place[inside], value[inside], part))
        first += size


def test_reader_gives_back_what_was_written_whatever_the_shards(tmp_path):
    mask = counted(12)
    latent, place, value = found = firings(mask, 300)
    order = np.lexsort((place, latent))
    for sizes in ([12], [4, 4, 4], [1, 2, 3, 6]):
        folder = tmp_path / "-".join(map(str, sizes))
        spill(folder, sizes, mask, found)
        reader = ShardReader(folder)
        assert (reader.n_contexts, len(reader), reader.n_positions) == (12, len(sizes), 96)
        assert np.array_equal(reader.counted(), mask)
        n_fired = np.bincount(latent, minlength=N_LATENTS)
        assert np.array_equal(reader.n_fired(range(N_LATENTS)), n_fired)
        assert np.array_equal(reader.n_fired(range(3, 7)), n_fired[3:7])
        for low, high in ((0, N_LATENTS), (3, 4), (0, 5), (5, 10), (4, 4), (9, 100)):
            inside = order[(latent[order] >= low) & (latent[order] < high)]
            got = reader.firings(low, high)
            assert np.array_equal(got.latent, latent[inside])
            assert np.array_equal(got.position, place[inside])
            assert np.array_equal(got.value, value[inside])


def test_equal_work_gives_equal_bytes_in_whatever_order_it_comes(tmp_path):
    mask = counted()
    latent, place, value = firings(mask)
    turned = np.random.default_rng(5).permutation(len(latent))
    one = write_shard(tmp_path / "one", Shard.of(0, latent, place, value, mask))
    two = write_shard(
        tmp_path / "two", Shard.of(0, latent[turned], place[turned], value[turned], mask)
    )
    assert one.read_bytes() == two.read_bytes()
    assert one.name == two.name == shard_path("", 0).name


def test_firings_of_value_zero_and_on_positions_that_do_not_count_are_left_out():
    mask = np.ones((1, LENGTH), dtype=bool)
    mask[0, 0] = False
    shard = Shard.of(
        3,
        np.array([1, 1, 0, 2]),
        np.array([24, 26, 25, 27]),
        np.array([9.0, 2.0, 1.0, 0.0], dtype=np.float32),
        mask,
    )
    assert shard.latent.tolist() == [0, 1]
    assert shard.position.tolist() == [25, 26]
    assert shard.value.tolist() == [1.0, 2.0]


def test_a_shard_in_which_nothing_fires_is_read_as_nothing(tmp_path):
    nothing = np.zeros(0, dtype=np.int64)
    write_shard(
        tmp_path,
        Shard.of(0, nothing, nothing, nothing.astype(np.float32), counted()),
    )
    assert has_shard(tmp_path, 0)
    assert not has_shard(tmp_path, 4)
    reader = ShardReader(tmp_path)
    assert len(reader.firings(0, N_LATENTS).latent) == 0
    assert not reader.n_fired(range(N_LATENTS)).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_a_value_that_no_latent_can_have_is_named(bad):
    with pytest.raises(DataError, match=r"Latent 2 has the activation .* at position 5"):
        Shard.of(0, np.array([1, 2]), np.array([4, 5]), np.array([1.0, bad]), counted())


def test_a_position_outside_of_the_contexts_is_refused():
    with pytest.raises(DataError, match="outside of contexts 2 to 5"):
        Shard.of(2, np.array([1]), np.array([4]), np.array([1.0]), counted())


def test_unsorted_firings_are_not_written(tmp_path):
    shard = Shard(
        0,
        np.array([1, 0], dtype=np.int32),
        np.array([0, 0]),
        np.ones(2, dtype=np.float32),
        counted(),
    )
    with pytest.raises(ValueError, match="not sorted"):
        write_shard(tmp_path, shard)
    assert not list(tmp_path.iterdir())


def test_a_missing_shard_and_a_damaged_one_are_named(tmp_path):
    with pytest.raises(ArtifactError, match="run the census first"):
        ShardReader(tmp_path)
    mask = counted(12)
    spill(tmp_path, [4, 4, 4], mask, firings(mask))
    middle = shard_path(tmp_path, 4)
    content = middle.read_bytes()
    middle.unlink()
    with pytest.raises(ArtifactError, match=r"begins with context 8 .* where context 4 "):
        ShardReader(tmp_path)
    middle.write_bytes(content[:-3])
    with pytest.raises(ArtifactError, match="cannot be read"):
        ShardReader(tmp_path)
