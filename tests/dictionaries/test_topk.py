import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.dictionaries import topk
from lmscope.dictionaries.topk import block_size, largest, survivors

SEEDS = st.integers(0, 2**31)


def random(seed, n_rows, n_columns, n_different=None):
    generator = torch.Generator().manual_seed(seed)
    if n_different is None:
        return torch.randn(n_rows, n_columns, generator=generator)
    return torch.randint(n_different, (n_rows, n_columns), generator=generator).float()


@settings(deadline=None)
@given(SEEDS, st.integers(0, 5), st.integers(1, 400), st.sampled_from([None, 1, 3]), st.data())
def test_largest_equals_sorting(seed, n_rows, n_columns, n_different, data):
    k = data.draw(st.integers(1, min(n_columns, 40)))
    scores = random(seed, n_rows, n_columns, n_different)
    values, columns = largest(scores, k)
    assert columns.shape == (n_rows, k)
    assert torch.equal(scores.gather(1, columns), values)
    assert all(len(set(row)) == k for row in columns.tolist())
    expected = scores.sort(dim=1, descending=True).values[:, :k]
    assert torch.equal(values.sort(dim=1, descending=True).values, expected)


@pytest.mark.parametrize(("n_columns", "k"), [(4608, 32), (24576, 50), (4611, 3), (4608, 576)])
def test_largest_of_real_sizes(n_columns, k):
    scores = random(0, 5, n_columns)
    found = largest(scores, k).columns.sort(dim=1).values
    assert torch.equal(found, scores.topk(k, dim=1).indices.sort(dim=1).values)


def test_blocks_are_used_where_few_are_kept():
    assert block_size(4608, 32) == 32
    assert block_size(24576, 50) == 64
    assert block_size(4608, 576) == 2
    assert block_size(10, 10) == 1


@settings(deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(40, 400), st.integers(1, 3), st.floats(0, 2))
def test_all_scores_within_the_margin_survive(seed, n_rows, n_columns, k, margin):
    scores = random(seed, n_rows, n_columns)
    pairs, values = survivors(scores, k, torch.full((n_rows, 1), margin))
    assert torch.equal(scores[pairs.token, pairs.latent], values)
    kth = scores.topk(k, dim=1).values[:, -1:]
    found = set(zip(pairs.token.tolist(), pairs.latent.tolist(), strict=True))
    assert found >= {tuple(place) for place in (scores >= kth - margin).nonzero().tolist()}


def test_infinite_scores_are_the_largest():
    scores = random(1, 2, 400)
    scores[0, 7], scores[1, 300] = torch.inf, -torch.inf
    columns = largest(scores, 3).columns
    assert 7 in columns[0].tolist()
    assert 300 not in columns[1].tolist()


def test_threads_change_nothing(monkeypatch):
    scores = random(2, 40, 700)
    alone = largest(scores, 5)
    monkeypatch.setattr(topk, "SLICE_SCORES", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    shared = largest(scores, 5)
    assert torch.equal(shared.columns, alone.columns)
    assert torch.equal(shared.values, alone.values)


def test_scores_that_are_not_numbers_end_in_no_crash():
    """The loss of such a step is not a number either, and says so."""
    scores = random(3, 4, 400)
    scores[1] = torch.nan
    assert largest(scores, 3).columns.shape == (4, 3)
