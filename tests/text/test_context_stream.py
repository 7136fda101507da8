import pytest

from lmscope.core.errors import DataError, RunError
from lmscope.models.miniature import character_tokenizer
from lmscope.text.context_stream import ContextStream
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
