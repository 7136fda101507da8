import pytest

from lmscope.core.errors import RecipeError
from lmscope.core.mesh import Mesh
from lmscope.jobs.mesh_choice import choose_mesh, parse_mesh


@pytest.mark.parametrize(
    ("devices", "text", "mesh"),
    [
        (1, None, Mesh()),
        # 256 dictionaries: 64 processes have four each.
        (64, None, Mesh(site=64)),
        # gcd(12, 256) = 4 share the dictionaries, and 3 the text.
        (12, None, Mesh(data=3, site=4)),
        (64, "latent=2", Mesh(latent=2, site=32)),
        (64, "data=8", Mesh(data=8, site=8)),
        (64, "site=4", Mesh(data=16, site=4)),
        (64, "data=8,site=4", Mesh(data=8, latent=2, site=4)),
        (8, " data = 2, latent=2,site=2", Mesh(data=2, latent=2, site=2)),
    ],
)
def test_axes_that_are_not_named_share_what_is_left(devices, text, mesh):
    assert choose_mesh(devices, text, 256) == mesh


@pytest.mark.parametrize(
    ("devices", "text"), [(8, "data=3"), (64, "data=2,latent=2,site=2"), (2, "latent=4")]
)
def test_a_mesh_that_does_not_divide_the_devices_is_refused(devices, text):
    with pytest.raises(RecipeError, match=f"cannot be made of {devices} devices"):
        choose_mesh(devices, text, 256)


@pytest.mark.parametrize("text", ["data=0", "data=2,data=2", "data", "data=two", "data=-1"])
def test_a_text_that_is_no_mesh_is_refused(text):
    with pytest.raises(RecipeError, match="is no mesh: write each axis once"):
        parse_mesh(text)


def test_an_axis_that_is_misspelt_is_refused_with_the_near_one():
    with pytest.raises(RecipeError, match=r"'latnt' is no axis.*latent"):
        parse_mesh("latnt=2")
