import numpy as np
import pytest
import torch

from lmscope.core.errors import DataError, RunError
from lmscope.models.miniature import character_tokenizer
from lmscope.text.context_stream import ContextStream, with_repeats
from lmscope.text.corpus import Corpus
from lmscope.training.objective import Stream


def contexts(text="abcdefghij" * 20, length=8):
    corpus = Corpus.from_texts([text])
    return corpus.contexts(character_tokenizer(), length, bos_id=1, drop_tail=True)


def test_a_pass_gives_each_context_once_and_each_pass_its_own_order():
    rows = contexts()
    stream = ContextStream(rows, batch_contexts=5, n_passes=2, seed=3)
    assert isinstance(stream, Stream)
    batches = [batch.tokens for batch in stream]
    assert len(batches) == stream.total_batches == 2 * (len(rows) // 5)
    half = len(batches) // 2
    rows_of = [
        {tuple(row) for b in part for row in b.tolist()}
        for part in (batches[:half], batches[half:])
    ]
    all_rows = {tuple(row) for row in rows.rows(range(len(rows))).tokens.tolist()}
    assert all(found <= all_rows for found in rows_of)
    assert [b.tolist() for b in batches[:half]] != [b.tolist() for b in batches[half:]]


def test_going_on_from_a_state_gives_the_rest():
    whole = [b.tokens.tolist() for b in ContextStream(contexts(), batch_contexts=4, n_passes=2)]
    stream = ContextStream(contexts(), batch_contexts=4, n_passes=2)
    for _ in range(7):
        next(stream)
    state = stream.state()
    other = ContextStream(contexts(), batch_contexts=4, n_passes=2)
    other.load_state(state)
    assert [b.tokens.tolist() for b in other] == whole[7:]


def test_other_text_is_refused_and_so_is_too_little():
    state = ContextStream(contexts(), batch_contexts=4).state()
    with pytest.raises(RunError, match="not what the run was started with"):
        ContextStream(contexts("zyxw" * 40), batch_contexts=4).load_state(state)
    with pytest.raises(DataError, match="A batch of 900 contexts is more than the"):
        ContextStream(contexts(), batch_contexts=900)


def test_a_share_of_contexts_holds_a_stretch_twice_and_the_rest_stays():
    rng = np.random.default_rng(0)
    tokens = np.arange(400 * 64).reshape(400, 64)  # all different: a repeat can only be put in
    mask = np.ones_like(tokens, dtype=bool)
    before = tokens.copy()
    found = with_repeats(tokens, mask, 0.25, rng)
    assert np.array_equal(tokens, before)
    changed = [row for row in range(400) if not np.array_equal(found[row], tokens[row])]
    assert 70 <= len(changed) <= 130
    for row in changed:
        (places,) = np.nonzero(found[row] != tokens[row])
        first, length = places[0], len(places)
        assert np.array_equal(places, np.arange(first, first + length))  # one stretch
        assert 8 <= length <= 31
        source = found[row, first] - tokens[row, 0]
        assert (
            1 <= source <= first - length
        )  # behind the first token, and whole before its second time
        assert np.array_equal(found[row, places], tokens[row, source : source + length])


def test_short_contexts_have_no_repeats():
    tokens = np.arange(60).reshape(2, 30)
    mask = np.arange(30)[None] < np.array([[16], [17]])
    found = with_repeats(tokens, mask, 1.0, np.random.default_rng(0))
    assert np.array_equal(found[0], tokens[0])  # 15 tokens behind the first: no room for twice 8
    assert not np.array_equal(found[1], tokens[1])
    assert np.array_equal(found[1, 17:], tokens[1, 17:])


def test_repeats_are_the_same_after_going_on():
    rows = contexts("abcdefghijkl mnop" * 100, 32)
    one = ContextStream(rows, batch_contexts=4, n_passes=2, seed=3, repeats=1.0)
    batches = list(one)
    other = ContextStream(rows, batch_contexts=4, n_passes=2, seed=3, repeats=1.0)
    plain = list(ContextStream(rows, batch_contexts=4, n_passes=2, seed=3))
    next(other)
    again = ContextStream(rows, batch_contexts=4, n_passes=2, seed=3, repeats=1.0)
    again.load_state(other.state())
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(batches[1:], again, strict=True))
    assert any(not torch.equal(a.tokens, b.tokens) for a, b in zip(batches, plain, strict=True))
