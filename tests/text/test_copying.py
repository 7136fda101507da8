import numpy as np
import pytest
import torch

from lmscope.models.miniature import character_tokenizer
from lmscope.text.context_stream import ContextStream
from lmscope.text.copying import Copying, CopyingOptions
from lmscope.text.corpus import Corpus

TEXT = "stuvw xyz" + "qr" * 300 + "abcdefghijklmnop" * 18
LENGTH = 40


@pytest.fixture(scope="module")
def contexts():
    return Corpus.from_texts([TEXT]).contexts(
        character_tokenizer(), LENGTH, bos_id=1, drop_tail=True
    )


def period(row):
    """Tokens of the shortest stretch that the row behind its first token is made of."""
    body = row[1:]
    return next(n for n in range(1, len(body) + 1) if np.array_equal(body[n:], body[:-n]))


def rows_of(contexts, n=400):
    tokens = np.arange(n * LENGTH).reshape(n, LENGTH) + 1000  # no two alike, none of the text
    tokens[:, 0] = 1
    return tokens, np.ones_like(tokens, dtype=bool)


def test_the_primer_is_nothing_but_frequent_tokens_that_go_round(contexts):
    tokens, mask = rows_of(contexts)
    before = tokens.copy()
    copying = Copying(CopyingOptions(share=0.2, primer_batches=5, alphabet=2), contexts, seed=0)
    found, _ = copying(tokens, mask, 4)
    assert np.array_equal(tokens, before)
    assert np.array_equal(found[:, 0], tokens[:, 0])
    assert set(np.unique(found[:, 1:])) == set(character_tokenizer()("qr")["input_ids"])
    wide = Copying(CopyingOptions(primer_batches=5, alphabet=10), contexts, seed=0)
    lengths = {period(row) for row in wide(tokens, mask, 0)[0]}
    assert lengths == set(range(8, 20))  # at most half of what follows the first token


def test_contexts_of_the_primer_are_shorter_and_more(contexts):
    tokens, mask = rows_of(contexts, 6)
    mask[:, 30:] = False
    options = CopyingOptions(share=0.2, primer_batches=5, primer_length=19)
    copying = Copying(options, contexts, seed=0)
    found, kept = copying(tokens, mask, 4)
    assert found.shape == kept.shape == (12, 19)
    assert np.all(found[:, 0] == 1)
    assert np.array_equal(kept.sum(1), [19, 11] * 6)
    assert all(period(row) in (8, 9) for row in found[::2])
    assert copying(tokens, mask, 5)[0].shape == tokens.shape


def test_text_takes_the_place_of_the_primer_by_and_by(contexts):
    options = CopyingOptions(share=0.2, primer_batches=10, blend_batches=99, alphabet=4)
    copying = Copying(options, contexts, seed=0)
    kinds = len(set(TEXT))
    assert [copying.share(i) for i in (0, 9)] == [1, 1]
    assert [copying.alphabet(i) for i in (0, 9)] == [4, 4]
    assert copying.share(59) == pytest.approx(0.6)
    assert 4 < copying.alphabet(59) < kinds
    assert [copying.share(i) for i in (109, 500)] == pytest.approx([0.2, 0.2])
    assert [copying.alphabet(i) for i in (109, 500)] == [kinds, kinds]


def test_stretches_of_the_primer_are_short_and_grow_to_half_of_a_context(contexts):
    options = CopyingOptions(primer_batches=10, blend_batches=99, primer_stretch=9)
    copying = Copying(options, contexts, seed=0)
    assert [copying.longest(i, 129) for i in (0, 9, 109, 500)] == [9, 9, 64, 64]
    assert 9 < copying.longest(59, 129) < 64
    assert copying.longest(0, 17) == copying.longest(500, 17) == 8


def test_in_the_end_a_share_goes_round_half_of_it_in_its_own_text(contexts):
    tokens, mask = rows_of(contexts)
    found = Copying(CopyingOptions(share=0.25), contexts, seed=0)(tokens, mask, 3)[0]
    changed = [row for row in range(len(tokens)) if not np.array_equal(found[row], tokens[row])]
    assert 70 <= len(changed) <= 130
    own = [row for row in changed if found[row, 1] == tokens[row, 1]]
    assert len(changed) / 3 < len(own) < len(changed) * 2 / 3
    for row in own:
        n = period(found[row])
        assert np.array_equal(found[row, 1 : 1 + n], tokens[row, 1 : 1 + n])
        assert 8 <= n < 20


def test_contexts_too_short_to_go_round_stay():
    contexts = Corpus.from_texts([TEXT]).contexts(character_tokenizer(), LENGTH, bos_id=1)
    tokens = np.arange(60).reshape(2, 30) + 1000
    tokens[:, 0] = 1
    mask = np.arange(30)[None] < np.array([[16], [17]])
    found, _ = Copying(CopyingOptions(primer_batches=1), contexts, seed=0)(tokens, mask, 0)
    assert np.array_equal(found[0], tokens[0])  # 15 tokens behind the first: no room for twice 8
    assert not np.array_equal(found[1, :17], tokens[1, :17])
    assert np.array_equal(found[1, 17:], tokens[1, 17:])


def test_a_stream_draws_the_same_after_going_on(contexts):
    def stream(**options):
        return ContextStream(
            contexts, batch_contexts=4, n_passes=2, seed=3, copying=CopyingOptions(**options)
        )

    whole = list(stream(share=0.5, primer_batches=3, blend_batches=4))
    other = stream(share=0.5, primer_batches=3, blend_batches=4)
    next(other)
    again = stream(share=0.5, primer_batches=3, blend_batches=4)
    again.load_state(other.state())
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(whole[1:], again, strict=True))
    plain = list(ContextStream(contexts, batch_contexts=4, n_passes=2, seed=3))
    assert not any(torch.equal(a.tokens, b.tokens) for a, b in zip(whole[:3], plain, strict=False))
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(stream(), plain, strict=True))
