"""Examples for miniatures, and a scorer that knows the truth."""

from collections.abc import Callable

import pytest
import torch

from lmscope.models.language_model import LanguageModel
from lmscope.text.tasks.choices.rendering import PromptRow, PromptRows


@pytest.fixture
def random_rows() -> Callable[..., PromptRows]:
    """Rows of random tokens: the prompt ahead of the text, behind it, or between two parts of it."""

    def make(
        model: LanguageModel, place: str = "ahead", n: int = 6, n_prompt: int = 3, seed: int = 0
    ) -> PromptRows:
        drawn = torch.Generator().manual_seed(seed)

        def tokens(least: int, most: int) -> tuple[int, ...]:
            size = int(torch.randint(least, most + 1, (1,), generator=drawn))
            return tuple(torch.randint(6, model.d_vocab, (size,), generator=drawn).tolist())

        rows = []
        for i in range(n):
            before = () if place == "ahead" else tokens(2, 7)
            after = (7,) if place == "behind" else tokens(2, 8)
            if place == "behind":
                after = (7, 9)
            before = (5, *before)
            n_all = len(before) + n_prompt + len(after)
            at = n_all - 1 if model.is_causal else len(before) + n_prompt + len(after) // 2
            rows.append(PromptRow(before=before, after=after, answer_at=at, label=i % 3))
        prompt = tuple(range(10, 10 + n_prompt))
        return PromptRows(prompt=prompt, words=(20, 33, 8), rows=tuple(rows), n_too_long=0)

    return make
