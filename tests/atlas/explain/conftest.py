"""A corpus with planted triggers, and the records of latents that answer to them."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from lmscope.atlas.record import (
    Example,
    ExampleGroup,
    LatentRecord,
    TokenFirings,
    Weighted,
    is_held_out,
)
from lmscope.atlas.text import CorpusDocument

LENGTH, STRETCH, N_CONTEXTS = 64, 16, 600
FILLERS = [f" {a}{b}{c}" for a in "bdfgkl" for b in "aeiou" for c in ("n", "r", "st", "m")]
SPECIAL = [
    " bank", " take", "Take", " took", " TAKE", " New", " York", " old", ",", ".", "\n", " the",
    " inflation", " market", " wages", " prices", *[f" {n}" for n in (7, 12, 48, 90, 365, 1848)],
    " jumping", " crawling", " floating", " smiling", " boiling", " pushing", " pulling", " asking",
]  # fmt: skip
VOCABULARY = FILLERS + SPECIAL
ID = {text: i for i, text in enumerate(VOCABULARY)}
_ECONOMICS = [ID[text] for text in (" inflation", " market", " wages", " prices")]


class PlantedCorpus:
    """A corpus in memory."""

    digest = "c" * 64
    context_length = LENGTH
    n_contexts = N_CONTEXTS

    def __init__(self) -> None:
        draw = np.random.default_rng(0)
        weights = np.array([1.0] * len(FILLERS) + [0.8] * len(SPECIAL))
        weights[[ID[","], ID["."], ID[" the"]]] = 12
        weights[_ECONOMICS] = 0.03
        self.ids = draw.choice(
            len(VOCABULARY), size=(N_CONTEXTS, LENGTH), p=weights / weights.sum()
        ).astype(np.int32)
        for number in (draw.random(N_CONTEXTS) < 0.5).nonzero()[0]:
            context = self.ids[number]
            context[draw.integers(1, LENGTH, 2)] = [ID[" New"], ID[" old"]]
            (after,) = (context[:-1] == ID[" New"]).nonzero()
            context[after + 1] = draw.choice([ID[" York"], ID[" the"], ID[" bank"]], len(after))
        self.is_economics = draw.random(N_CONTEXTS) < 0.15
        for number in self.is_economics.nonzero()[0]:
            context = self.ids[number]
            for first in range(0, LENGTH, STRETCH):
                places = first + draw.choice(STRETCH, 3, replace=False)
                context[places] = draw.choice(_ECONOMICS, 3, replace=False)

    def tokens(self, start, length):
        context, place = divmod(start, LENGTH)
        return self.ids[context, place : place + length]

    def token_bytes(self, token):
        return VOCABULARY[token].encode()

    def document(self, start):
        return CorpusDocument(start // LENGTH, "", "", "", "")


def _triggers(corpus: PlantedCorpus) -> dict[str, np.ndarray]:
    """Where each latent fires."""
    ids, draw = corpus.ids, np.random.default_rng(1)

    def among(*texts: str) -> np.ndarray:
        return np.isin(ids, [ID[text] for text in texts])

    def after(text: str) -> np.ndarray:
        found = np.zeros(ids.shape, dtype=bool)
        found[:, 1:] = ids[:, :-1] == ID[text]
        found[:, ::STRETCH] = False  # what stands before is in another stretch
        return found

    def before(text: str) -> np.ndarray:
        found = np.zeros(ids.shape, dtype=bool)
        found[:, :-1] = ids[:, 1:] == ID[text]
        found[:, STRETCH - 1 :: STRETCH] = False
        return found

    return {
        "token": among(" bank"),
        "casings": among(" take", "Take", " TAKE"),
        "set": among(" bank", " old", " York"),
        "digits": np.isin(ids, [i for i, text in enumerate(VOCABULARY) if text.strip().isdigit()]),
        "newline": among("\n"),
        "suffix": np.isin(ids, [i for i, text in enumerate(VOCABULARY) if text.endswith("ing")]),
        "after": after(" New"),
        "before": before(" old"),
        "bigram": among(" York") & after(" New"),
        "start": np.broadcast_to(np.arange(LENGTH) < 4, ids.shape) & (np.arange(LENGTH) > 0),
        "topic": among(",") & corpus.is_economics[:, None],
        "chance": draw.random(ids.shape) < 0.003,
    }


def make_record(latent: int, fires: np.ndarray, corpus: PlantedCorpus) -> LatentRecord:
    """The record of a latent that fires so, counted naively."""
    draw = np.random.default_rng(latent)
    values = np.where(fires, draw.uniform(1, 5, fires.shape), 0).astype(np.float32)
    rows = values.reshape(-1, STRETCH)
    examples = [
        Example(row * STRETCH, STRETCH, int(v.argmax()), v.nonzero()[0].astype(np.int32), v[v > 0])
        for row, v in enumerate(rows)
        if v.any()
    ]
    examples.sort(key=lambda example: (-example.max, example.start))
    quarters = np.array_split(np.arange(len(examples)), 4)
    drawn = [np.sort(draw.choice(q, min(4, len(q)), replace=False)) for q in quarters]
    groups = [ExampleGroup("top", 0.0, 5.0, 0.1, tuple(examples[:12]))]
    groups += [
        ExampleGroup("quantile", 0.0, 5.0, 0.25, tuple(examples[i] for i in part)) for part in drawn
    ]
    quiet = (~rows.any(axis=1)).nonzero()[0]
    silent = np.sort(draw.choice(quiet, 20, replace=False)) * STRETCH
    open_side = np.array([not is_held_out(c * LENGTH, LENGTH) for c in range(N_CONTEXTS)])
    fired = Counter(corpus.ids[open_side][fires[open_side]].tolist())
    seen = Counter(corpus.ids[open_side].ravel().tolist())
    peaks = Counter(corpus.ids.reshape(-1, STRETCH)[e.start // STRETCH, e.peak] for e in examples)
    return LatentRecord(
        latent=latent,
        n_fired=int(fires.sum()),
        density=float(fires.mean()),
        mean=float(values[fires].mean()),
        max=float(values.max()),
        histogram=(0,) * 32,
        n_stretches=len(examples),
        n_documents=len(examples),
        document_share=0.01,
        groups=tuple(groups),
        silent=tuple(silent.tolist()),
        peak_tokens=tuple(Weighted(int(t), float(n)) for t, n in peaks.most_common(5)),
        tokens=tuple(TokenFirings(t, n, seen[t]) for t, n in fired.most_common(10)),
        top_logits=(),
        bottom_logits=(),
        neighbours=(),
        coactive=(),
    )


@pytest.fixture(scope="session")
def planted_corpus() -> PlantedCorpus:
    """600 contexts of 64 tokens, in stretches of 16."""
    return PlantedCorpus()


@pytest.fixture(scope="session")
def planted(planted_corpus) -> dict[str, LatentRecord]:
    """By what it answers to, the record of each latent."""
    triggers = _triggers(planted_corpus)
    return {
        name: make_record(latent, fires, planted_corpus)
        for latent, (name, fires) in enumerate(triggers.items())
    }


@pytest.fixture(scope="session")
def token_id() -> Callable[[str], int]:
    """The id of a token of the planted corpus."""
    return ID.__getitem__
