"""Evidence: the stretches of one side of the corpus that speak for or against a label."""

import codecs
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from lmscope.atlas.explain.protocols import Case, Evidence
from lmscope.atlas.record import Example, LatentRecord, is_held_out
from lmscope.atlas.text import CorpusText

Side = Literal["open", "held_out"]
"""`open`: what explainers read; `held_out`: what scorers ask about, and nothing else does."""
_N_HARD: Final = 3
"""Commonest peak tokens that make a silent stretch a hard one."""


def evidence(
    record: LatentRecord, corpus: CorpusText, side: Side, *, stretch: int = 64
) -> Evidence:
    """The stretches of one side in which a latent fires, and true negatives: some in which it never does.

    Every second context is held out (see `record.HELD_OUT_EVERY`), so no stretch is on both sides. The
    negatives that hold one of the latent's commonest peak tokens, the hard ones, come first.

    Args:
        record: The latent.
        corpus: What its positions refer to.
        side: Which contexts.
        stretch: Tokens of a silent stretch, `CensusOptions.stretch`; the last one of a context may be shorter.

    Raises:
        ArtifactError: The corpus lacks a position.
    """
    examples = {e.start: e for group in record.groups for e in group.examples}
    silent = [
        _silent(start, _length(start, corpus, stretch))
        for start in record.silent
        if start not in examples
    ]
    positives = [_case(e, corpus) for e in examples.values() if _is_on(e.start, corpus, side)]
    negatives = [_case(e, corpus) for e in silent if _is_on(e.start, corpus, side)]
    positives.sort(key=lambda case: (-case.example.max, case.example.start))
    hard = {token.id for token in record.peak_tokens[:_N_HARD]}
    negatives.sort(key=lambda case: (hard.isdisjoint(case.tokens), case.example.start))
    return Evidence(record, tuple(positives), tuple(negatives))


def read_case(start: int, length: int, corpus: CorpusText) -> Case:
    """A stretch of the corpus as a case without any firing."""
    return _case(_silent(start, length), corpus)


def show_tokens(tokens: Sequence[int], corpus: CorpusText) -> tuple[str, ...]:
    """What each token shows as; joined they are the text.

    A character that several tokens share stands at the last of them, and the others are empty. Bytes
    that are no text show as U+FFFD.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    last = len(tokens) - 1
    return tuple(
        decoder.decode(corpus.token_bytes(token), final=place == last)
        for place, token in enumerate(tokens)
    )


def _is_on(start: int, corpus: CorpusText, side: Side) -> bool:
    return is_held_out(start, corpus.context_length) == (side == "held_out")


def _length(start: int, corpus: CorpusText, stretch: int) -> int:
    return min(stretch, corpus.context_length - start % corpus.context_length)


def _silent(start: int, length: int) -> Example:
    nothing = np.zeros(0, dtype=np.int32)
    return Example(start, length, 0, nothing, nothing.astype(np.float32))


def _case(example: Example, corpus: CorpusText) -> Case:
    tokens = tuple(corpus.tokens(example.start, example.length).tolist())
    return Case(example, tokens, show_tokens(tokens, corpus))
