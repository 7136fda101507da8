"""A small atlas made by hand, whose tokens are as awkward as tokens can be."""

from dataclasses import replace

import numpy as np
import pytest

from lmscope.atlas.config import AtlasMeta, CensusOptions
from lmscope.atlas.exchange.content import AtlasContent, Entry
from lmscope.atlas.explain.protocols import Label, Score
from lmscope.atlas.record import Example, ExampleGroup, LatentRecord, TokenFirings, Weighted
from lmscope.atlas.text import CorpusDocument

VOCABULARY = (
    *(b"", b" the", b"cat", b"\n", b"\xe2", b"\x80", b"\x99", b"s"),
    *(b"</script><script>alert(1)</script>", b"<img src=x onerror=alert(1)>", b"\\u0000", b"\x00"),
    *(
        b"\xe2\x80\xae",
        b"\xd8\xb3\xd9\x84\xd8\xa7\xd9\x85",
        b"\xe4\xbd\xa0",
        b"\xe2\x80\xa8",
        b"]]>&quot;",
    ),
)
CONTEXT_LENGTH = 32
N_CONTEXTS = 6
N_LATENTS = 7
D_WRITE = 4


class Corpus:
    """Contexts of random tokens."""

    digest = "c" * 64
    context_length = CONTEXT_LENGTH
    n_contexts = N_CONTEXTS

    def __init__(self):
        rows = np.random.default_rng(0).integers(1, len(VOCABULARY), N_CONTEXTS * CONTEXT_LENGTH)
        rows[3:8] = [1, 4, 5, 6, 7]  # ` the`, then U+2019 in three tokens, then `s`
        self._tokens = rows.astype(np.int32)

    def tokens(self, start: int, length: int):
        return self._tokens[start : start + length]

    def token_bytes(self, token: int) -> bytes:
        return VOCABULARY[token]

    def document(self, start: int) -> CorpusDocument | None:
        if start >= 128:
            return None
        return CorpusDocument(0, "a", "A <b>book</b>", "https://example.org/a", "CC BY 4.0")


def half(value):
    return float(np.float16(value))


def example(rng, start, peak_value):
    places = np.sort(rng.choice(16, size=4, replace=False)).astype(np.int32)
    values = np.float16(rng.uniform(0.01, peak_value, 4)).astype(np.float32)
    peak = int(rng.integers(4))
    values[peak] = np.float16(peak_value)
    return Example(start, 16, int(places[int(values.argmax())]), places, values)


def record(latent):
    rng = np.random.default_rng(latent)
    top = half(2.0 + latent)
    groups = (
        ExampleGroup(
            "top",
            half(0.7 * top),
            top,
            0.25,
            (example(rng, 0, top), example(rng, 32, half(0.7 * top))),
        ),
        ExampleGroup("quantile", half(0.5 * top), top, 0.5, (example(rng, 64, half(0.6 * top)),)),
        ExampleGroup(
            "quantile", half(0.1 * top), half(0.4 * top), 0.5, (example(rng, 144, half(0.3 * top)),)
        ),
    )

    def weighted(n, high):
        ids = rng.choice(high, size=n, replace=False)
        return tuple(Weighted(int(i), half(rng.normal())) for i in ids)

    return LatentRecord(
        latent=latent,
        n_fired=11 * latent,
        density=11 * latent / 180,
        mean=half(1.5),
        max=top,
        histogram=tuple(int(n) for n in rng.integers(0, 50, 32)),
        n_stretches=9,
        n_documents=2,
        document_share=half(0.75),
        groups=groups,
        silent=(16, 48),
        peak_tokens=(Weighted(2, 5.0), Weighted(4, 1.0)),
        tokens=(TokenFirings(2, 5, 9), TokenFirings(4, 1, 3)),
        top_logits=weighted(3, len(VOCABULARY)),
        bottom_logits=weighted(3, len(VOCABULARY)),
        neighbours=tuple(w for w in weighted(3, N_LATENTS) if w.id != latent),
        coactive=tuple(w for w in weighted(2, N_LATENTS) if w.id != latent),
    )


def dead(latent):
    return replace(
        record(latent),
        **dict.fromkeys(("n_fired", "n_stretches", "n_documents"), 0),
        **dict.fromkeys(("density", "mean", "max", "document_share"), 0.0),
        **dict.fromkeys(("groups", "peak_tokens", "tokens", "coactive"), ()),
        histogram=(0,) * 32,
    )


def entries():
    scores = (Score("detection", 0.9, 0.8, 0.95, 40),)
    rule = {"kind": "token", "tokens": [2]}
    yield Entry(dead(0))
    yield Entry(
        record(1), Label(1, "the word </script> cat", "statistics", rule, 0.5, 1.0), True, scores
    )
    yield Entry(record(2), Label(2, "a guess", "statistics"), False, scores)
    yield Entry(record(3), Label(3, "", "statistics"), True)
    yield Entry(record(5))


@pytest.fixture
def meta():
    config = {
        **{"reads": ["resid_post@3"], "writes": ["resid_post@3"], "n_latents": N_LATENTS},
        **{"d_read": D_WRITE, "d_write": D_WRITE, "sparsity": {"kind": "topk", "k": 2}},
    }
    return AtlasMeta(
        dictionary="resid_post-3-7x",
        dictionary_digest="d" * 64,
        dictionary_config=config,
        model="SmolLM2-135M",
        weights_hash="w",
        tokenizer_hash="t",
        corpus_digest=Corpus.digest,
        context_length=CONTEXT_LENGTH,
        n_contexts=N_CONTEXTS,
        n_counted=180,
        n_latents=N_LATENTS,
        options=CensusOptions(stretch=16),
    )


@pytest.fixture
def content(meta):
    vectors = np.random.default_rng(3).normal(size=(N_LATENTS, D_WRITE)).astype(np.float16)
    return AtlasContent(meta, Corpus(), entries, 5, vectors)
