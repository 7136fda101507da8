"""Maps by principal components, against torch's own decomposition."""

import sys

import pytest
import torch
import torch.nn.functional as nnf

from lmscope.core.errors import DataError, LmscopeError
from lmscope.core.rng import generator
from lmscope.dictionaries.geometry.maps import pca_map, umap_map


def rows(n, *name):
    noise = torch.randn(n, 12, generator=generator(0, "map", *name))
    return noise * torch.linspace(3, 0.3, 12)


def test_pca_is_the_decomposition_of_the_centred_unit_rows():
    a, b = rows(30, "a"), rows(50, "b")
    found = pca_map({"a": a, "b": b})
    unit = nnf.normalize(torch.cat([a, b]), dim=1).double()
    u, s, _ = torch.linalg.svd(unit - unit.mean(0), full_matrices=False)
    expected = (u * s)[:, :2]
    got = torch.cat([found.coordinates["a"], found.coordinates["b"]]).double()
    torch.testing.assert_close(got.abs(), expected.abs(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        torch.tensor(found.explained_share).double(),
        (s**2 / (s**2).sum())[:2],
        atol=1e-5,
        rtol=0,
    )


def test_the_sign_does_not_depend_on_the_order_of_rows():
    a = rows(40)
    order = torch.randperm(40, generator=generator(1))
    one, two = (pca_map({"a": r}).coordinates["a"] for r in (a, a[order]))
    torch.testing.assert_close(one[order], two, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(6))
def test_the_largest_entry_of_an_axis_points_right(seed):
    axis = torch.randn(12, generator=generator(seed, "axis")) * 30
    axis = axis * axis[axis.abs().argmax()].sign()
    both = torch.cat([rows(20) + axis, rows(20, "b") - axis])
    first = pca_map({"a": both}).coordinates["a"][:, 0]
    assert first[:20].min() > 0 > first[20:].max()


def test_equal_rows_have_a_map():
    found = pca_map({"a": torch.ones(5, 3)})
    assert found.coordinates["a"].abs().max() < 1e-6
    assert all(0 <= share <= 1 for share in found.explained_share)


def test_widths_that_differ_have_no_map():
    with pytest.raises(DataError, match="widths found: 3, 4"):
        pca_map({"a": torch.ones(2, 3), "b": torch.ones(2, 4)})
    with pytest.raises(DataError, match="at least 2"):
        pca_map({"a": torch.ones(4, 1)})


def test_umap_that_is_not_installed_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(LmscopeError, match=r'pip install "lmscope\[maps\]"'):
        umap_map({"a": rows(30)}, seed=0)
    with pytest.raises(DataError, match="at least 4 latents, there are 2"):
        umap_map({"a": rows(2)}, seed=0)
