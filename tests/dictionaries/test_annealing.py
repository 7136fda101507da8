import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.dictionaries.annealing import annealed_k, warmed_up
from lmscope.dictionaries.config import KAnnealing


def k_at(step, style, *, n_steps=1000, k=50, d_read=4096, n_latents=32768, fraction=0.1):
    annealing = KAnnealing(style=style, fraction=fraction)
    return annealed_k(step, n_steps, k, d_read=d_read, n_latents=n_latents, annealing=annealing)


@pytest.mark.parametrize(
    ("style", "expected"),
    # 100 steps of annealing; at 50 halfway: paper (4096 + 50) / 2, script (2048 + 50) / 2.
    [("paper", [4096, 2073, 50, 50]), ("script", [2048, 1049, 50, 50]), ("off", [50] * 4)],
)
def test_k_falls_linearly_over_a_tenth_of_the_steps(style, expected):
    assert [k_at(step, style) for step in (0, 50, 100, 999)] == expected


def test_the_script_style_is_the_scripts_formula():
    from math import ceil

    ratio = 4096 / (2 * 50)
    for step in range(100):
        formula = ceil(max(1, ratio + (1 - ratio) / 100 * step) * 50)
        assert abs(k_at(step, "script") - formula) <= 1  # rounding in another order


@given(
    st.sampled_from(["paper", "script", "off"]),
    st.integers(0, 300),
    st.integers(0, 200),
    st.integers(1, 40),
    st.integers(1, 100),
    st.integers(40, 80),
    st.floats(0, 1),
)
def test_k_never_leaves_its_bounds(style, step, n_steps, k, d_read, n_latents, fraction):
    value = k_at(
        step, style, n_steps=n_steps, k=k, d_read=d_read, n_latents=n_latents, fraction=fraction
    )
    assert k <= value <= max(k, min(n_latents, d_read))
    assert step < n_steps or value == k


def test_a_coefficient_rises_linearly_then_stays():
    assert [warmed_up(step, 100, 0.1) for step in (0, 5, 10, 99)] == [0.0, 0.5, 1.0, 1.0]
    assert warmed_up(0, 100, 0.0) == 1.0
