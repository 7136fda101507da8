"""Scores of a few words are those of the whole vocabulary, at those words."""

import pytest
import torch

from lmscope.core.errors import ModelError
from lmscope.core.site import Site
from lmscope.models.batch import Batch
from lmscope.models.miniature import miniature
from lmscope.models.registry import known_families
from lmscope.models.word_scores import word_logits


@pytest.mark.parametrize("family", sorted(known_families()))
def test_words_have_the_logits_that_the_model_gives_them(family) -> None:
    model, words = miniature(family), [9, 4, 30]
    batch = Batch(tokens=torch.arange(4, 16).view(2, 6))
    at = torch.tensor([5, 2])
    final = model.read(batch, ["final"])[Site("final")][torch.arange(2), at]
    want = model(batch).logits[torch.arange(2), at][:, words]
    torch.testing.assert_close(word_logits(model, final, words), want, atol=2e-6, rtol=1e-5)


def test_a_model_without_a_head_has_no_scores_of_words() -> None:
    model = miniature("llama")
    model.has_logits = False
    with pytest.raises(ModelError, match="has no language-model head"):
        word_logits(model, torch.zeros(1, model.d_model), [4])
