"""Baselines: what features are set to when they are taken out."""

import pytest
import torch

from lmscope.circuits.config import ReplacementOptions
from lmscope.circuits.frozen import freeze
from lmscope.circuits.interventions import dense_latents
from lmscope.circuits.means import ZeroBaseline, mean_baseline, prompt_baseline
from lmscope.circuits.replacement import Replacement
from lmscope.core.errors import DataError
from lmscope.core.site import Site
from lmscope.models.miniature import miniature

MLP = Site("mlp_out", 1)


@pytest.fixture(scope="module")
def replacement(make_mixed):
    return Replacement(miniature("llama"), make_mixed(), ReplacementOptions(dtype="float64"))


@pytest.fixture(scope="module")
def prompts(tokens):
    return [tokens, [1, *tokens[4:], 30, 31, 32], [1, 40, 41, 42, 43, 44, 45, 46, 47]]


def test_a_prompts_values_are_those_of_its_frozen_run(replacement, tokens):
    found = prompt_baseline(replacement, tokens)
    frozen = freeze(replacement, tokens)
    for _, branch in frozen.branches():
        if branch.features is not None:
            expected = dense_latents(branch.features)
            torch.testing.assert_close(
                found.latents(branch.site, len(tokens)), expected, atol=1e-4, rtol=0
            )


def test_a_mean_is_over_positions_at_which_the_dictionary_stands(replacement, prompts):
    """Three prompts of nine tokens, the first of each left out: 24 positions."""
    found = mean_baseline(replacement, prompts)
    values = [prompt_baseline(replacement, p).values[MLP] for p in prompts]
    expected = sum(v[1:].sum(0) for v in values) / 24
    assert found.n[MLP].tolist() == [24]
    torch.testing.assert_close(found.latents(MLP, 5), expected[None])


def test_means_by_position_are_over_prompts(replacement, prompts):
    found = mean_baseline(replacement, prompts, by_position=True)
    values = [prompt_baseline(replacement, p).values[MLP] for p in prompts]
    torch.testing.assert_close(found.latents(MLP, 9), sum(values) / 3)
    assert found.n[MLP].tolist() == [0, *[3] * 8]
    assert not found.values[MLP][0].any()


def test_zero_stands_for_all(replacement):
    assert ZeroBaseline().latents(MLP, 9).tolist() == [[0.0]]


def test_baselines_that_do_not_fit_are_refused(replacement, prompts):
    by_position = mean_baseline(replacement, prompts, by_position=True)
    with pytest.raises(DataError, match="means are over prompts of 9 tokens, this one has 7"):
        by_position.latents(MLP, 7)
    with pytest.raises(DataError, match=r"no means for 'mlp_out@2'. Known: attn_out@0"):
        by_position.latents(Site("mlp_out", 2), 9)
    with pytest.raises(DataError, match="counterfactual prompt has 9 tokens and the prompt 7"):
        prompt_baseline(replacement, prompts[0]).latents(MLP, 7)
    with pytest.raises(DataError, match="need prompts of one length; 9 and 4 tokens"):
        mean_baseline(replacement, [prompts[0], [1, 2, 3, 4]], by_position=True)
    with pytest.raises(DataError, match="no prompt to take means over"):
        mean_baseline(replacement, [])
    with pytest.raises(DataError, match="no token to read"):
        prompt_baseline(replacement, [])
