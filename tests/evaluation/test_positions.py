from dataclasses import dataclass

import numpy as np
import pytest

from lmscope.core.errors import DataError, ModelError
from lmscope.evaluation.positions import WithinDocuments, check_context_length
from lmscope.models.miniature import miniature


@dataclass(frozen=True)
class Rows:
    tokens: np.ndarray
    mask: np.ndarray
    documents: np.ndarray
    index: np.ndarray


class Packed:
    """Contexts of 4 tokens; documents begin at the given tokens. Notes what was read."""

    context_length = 4
    fingerprint = "text"

    def __init__(self, starts, n=6):
        self.documents = np.searchsorted(starts, np.arange(n * 4), side="right").reshape(n, 4)
        self.read = []

    def __len__(self):
        raise AssertionError("the end is not asked for: a streamed text may have none")

    def rows(self, indices):
        i = np.asarray(indices)
        if (i >= len(self.documents)).any():
            raise IndexError
        self.read += i.tolist()
        documents = self.documents[i]
        return Rows(documents, np.ones_like(documents, dtype=bool), documents, i)


def test_a_context_longer_than_the_models_positions_is_refused():
    model = miniature("llama")
    check_context_length(model, model.max_positions)
    with pytest.raises(ModelError, match=f"has positions for {model.max_positions} tokens"):
        check_context_length(model, model.max_positions + 1)


def test_a_model_without_positions_takes_any_length():
    check_context_length(miniature("mamba"), 10**9)


def test_only_contexts_within_one_document_are_found():
    # Documents begin at 0, 4, 10 and 16: contexts 0, 1, 3, 4 and 5 are within one, 2 is not.
    contexts = WithinDocuments(Packed([0, 4, 10, 16]), 10)
    assert len(contexts) == 5
    assert contexts.rows([0, 1, 2, 3]).index.tolist() == [0, 1, 3, 4]


def test_no_more_text_is_read_than_needed():
    packed = Packed([0, 4, 10, 16])
    assert len(WithinDocuments(packed, 2)) == 2
    assert packed.read == [0, 1]


def test_the_choice_is_part_of_the_name():
    assert WithinDocuments(Packed([0]), 2).fingerprint not in (None, "text")


def test_text_of_short_documents_only_is_an_error():
    with pytest.raises(DataError, match="Not one of 6 contexts of 4 tokens lies within one"):
        len(WithinDocuments(Packed(np.arange(0, 24, 3) + 1), 2))
