import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.core.errors import RecipeError
from lmscope.core.mesh import SINGLE, Mesh

small = st.integers(1, 4)


def test_one_process_owns_all_streams():
    assert SINGLE.owned_streams(8) == tuple(range(8))


@given(small, small, small, st.integers(1, 4))
def test_every_stream_is_read_once_by_each_group_of_ranks(data, latent, site, times):
    n_streams = data * times
    owned = [
        stream
        for rank in range(data * latent * site)
        for stream in Mesh(data, latent, site, rank).owned_streams(n_streams)
    ]
    assert sorted(owned) == sorted(list(range(n_streams)) * latent * site)


def test_streams_that_cannot_be_shared_evenly_are_refused():
    with pytest.raises(RecipeError, match="8 text streams cannot be shared by 3"):
        Mesh(data=3).owned_streams(8)


@pytest.mark.parametrize("axes", [{"data": 0}, {"rank": 1}, {"rank": -1}, {"site": 2, "rank": 2}])
def test_impossible_meshes_are_refused(axes):
    with pytest.raises(RecipeError, match="Mesh axes"):
        Mesh(**axes)
