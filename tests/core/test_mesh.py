import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import RecipeError
from lmscope.core.mesh import SINGLE, Mesh

small = st.integers(1, 4)


def test_one_process_owns_all_streams():
    assert SINGLE.owned_streams(8) == tuple(range(8))


@given(small, small, small, st.integers(1, 4))
def test_every_stream_is_read_once_and_in_order(data, latent, site, times):
    n_streams = data * latent * site * times
    owned = [
        stream
        for rank in range(data * latent * site)
        for stream in Mesh(data, latent, site, rank).owned_streams(n_streams)
    ]
    assert owned == list(range(n_streams))


@given(small, small, small)
def test_ranks_are_in_row_major_order(data, latent, site):
    places = [(d, f, s) for d in range(data) for f in range(latent) for s in range(site)]
    meshes = [Mesh(data, latent, site, rank) for rank in range(len(places))]
    assert [(m.data_rank, m.latent_rank, m.site_rank) for m in meshes] == places


@given(small, st.integers(1, 9))
def test_latents_are_shared_in_stretches(latent, times):
    rows = [Mesh(latent=latent, rank=rank).rows(latent * times) for rank in range(latent)]
    assert [i for first, last in rows for i in range(first, last)] == list(range(latent * times))


def test_latents_that_cannot_be_shared_evenly_are_refused():
    with pytest.raises(RecipeError, match="10 latents cannot be shared by 4 processes"):
        Mesh(latent=4).rows(10)


def test_streams_that_cannot_be_shared_evenly_are_refused():
    with pytest.raises(RecipeError, match="8 text streams cannot be shared by 3"):
        Mesh(data=3).owned_streams(8)


@pytest.mark.parametrize("axes", [{"data": 0}, {"rank": 1}, {"rank": -1}, {"site": 2, "rank": 2}])
def test_impossible_meshes_are_refused(axes):
    with pytest.raises(RecipeError, match="Mesh axes"):
        Mesh(**axes)
