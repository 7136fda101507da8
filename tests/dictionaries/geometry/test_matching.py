"""Matching of dictionaries whose counterparts are known."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from lmscope.core.rng import generator
from lmscope.dictionaries.geometry.config import GeometryOptions
from lmscope.dictionaries.geometry.cosines import unit_rows
from lmscope.dictionaries.geometry.matching import greedy, match, one_to_one
from lmscope.dictionaries.geometry.report import matching_report

OPTIONS = GeometryOptions(null_rows=400, block_rows=16)


def rows(n, width=32, *name):
    return torch.randn(n, width, generator=generator(0, "rows", *name))


def naive_greedy(cosine):
    """The nearest pair again and again, from the whole matrix."""
    cosine, pairs = cosine.clone(), set()
    for _ in range(min(cosine.shape)):
        i, j = divmod(int(cosine.argmax()), cosine.shape[1])
        pairs.add((i, j))
        cosine[i], cosine[:, j] = -torch.inf, -torch.inf
    return pairs


def test_a_shuffled_copy_is_found_again():
    a = rows(40)
    order = torch.randperm(40, generator=generator(1))
    found = match(a, 3 * a[order], OPTIONS, seed=0)
    assert found.of_a.partner[order].equal(torch.arange(40))
    assert found.of_b.partner.equal(order)
    report = matching_report("a", "b", found, OPTIONS, same_model=True)
    assert report.a_in_b.mean_max_cosine == pytest.approx(1)
    assert report.a_in_b.matched_share == {"0.5": 1.0, "0.7": 1.0, "0.9": 1.0}
    assert report.a_in_b.mean_max_cosine_null["isotropic"] < 0.6
    assert report.one_to_one.mean_cosine == pytest.approx(1)
    assert report.headline()["mean_max_cosine_b_in_a"] == pytest.approx(1)


def test_half_of_the_latents_shared_gives_half_matched():
    shared = rows(30)
    a = torch.cat([shared, rows(30, 32, "own of a")])
    b = torch.cat([shared, rows(90, 32, "own of b")])
    report = matching_report("a", "b", match(a, b, OPTIONS, seed=0), OPTIONS)
    assert report.a_in_b.matched_share["0.9"] == 0.5
    assert report.b_in_a.matched_share["0.9"] == 0.25
    assert report.one_to_one.n_pairs == 60
    assert report.one_to_one.matched_share["0.9"] == 0.5


def test_unrelated_dictionaries_match_no_better_than_chance():
    report = matching_report(
        "a", "b", match(rows(300), rows(300, 32, "b"), OPTIONS, seed=0), OPTIONS
    )
    for side in (report.a_in_b, report.b_in_a):
        for null in side.mean_max_cosine_null.values():
            assert side.mean_max_cosine == pytest.approx(null, abs=0.02)


def test_a_common_direction_fools_the_isotropic_null_but_not_the_one_of_equal_moments():
    lean = 6 * torch.eye(32)[0]
    found = match(rows(300) + lean, rows(300, 32, "b") + lean, OPTIONS, seed=0)
    side = matching_report("a", "b", found, OPTIONS).a_in_b
    null = side.mean_max_cosine_null
    assert side.mean_max_cosine - null["isotropic"] > 0.2
    assert abs(side.mean_max_cosine - null["moments"]) < 0.05


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 13), st.integers(0, 9))
def test_greedy_takes_the_nearest_pair_again_and_again(n_a, n_b, block_rows, seed):
    a, b = rows(n_a, 5, "a", seed), rows(n_b, 5, "b", seed)
    found = greedy(a, b, block_rows)
    pairs = set(zip(found.a.tolist(), found.b.tolist(), strict=True))
    assert pairs == naive_greedy(unit_rows(a) @ unit_rows(b).T)
    assert found.a.equal(found.a.sort().values)


def test_equal_rows_do_not_hold_greedy_up():
    found = greedy(torch.ones(5, 3), torch.ones(3, 3))
    assert len(found.cosine) == 3
    assert len(set(found.a.tolist())) == len(set(found.b.tolist())) == 3


def test_one_to_one_is_optimal_up_to_its_size_and_greedy_above():
    a, b = rows(20, 5, "a"), rows(30, 5, "b")
    exact = one_to_one(a, b, OPTIONS)
    cosine = unit_rows(a) @ unit_rows(b).T
    i, j = linear_sum_assignment(cosine.numpy(), maximize=True)
    assert exact.method == "exact"
    assert exact.cosine.sum().item() == pytest.approx(cosine[i, j].sum().item())
    above = one_to_one(a, b, OPTIONS.model_copy(update={"exact_assignment": 29}))
    assert above.method == "greedy"
    assert above.cosine.sum() <= exact.cosine.sum()


def test_the_curve_counts_latents_up_to_each_hundredth():
    # Cosines of the three latents with the only other one: 1, 0.6 and 0.
    a = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=torch.float64)
    found = match(a, torch.tensor([[1.0, 0.0]], dtype=torch.float64), OPTIONS, seed=0)
    curve = matching_report("a", "b", found, OPTIONS).a_in_b.curve.latents
    assert len(curve) == 101
    assert (curve[0], curve[59], curve[61], curve[100]) == pytest.approx((1 / 3, 1 / 3, 2 / 3, 1))


def test_nulls_of_another_seed_are_other_rows():
    a, b = rows(10), rows(10, 32, "b")
    one, two = (match(a, b, OPTIONS, seed=seed) for seed in (0, 1))
    assert one.of_a.cosine.equal(two.of_a.cosine)
    assert not one.null_a["isotropic"].equal(two.null_a["isotropic"])
    assert not one.null_a["isotropic"].equal(one.null_b["isotropic"])
