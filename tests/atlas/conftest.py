"""Records made by chance, and an atlas of them, for tests of what stores and shows atlases."""

import numpy as np
import pytest

from lmscope.atlas.config import AtlasMeta, CensusOptions
from lmscope.atlas.record import Example, ExampleGroup, LatentRecord, TokenFirings, Weighted


@pytest.fixture
def meta() -> AtlasMeta:
    """Of 6 latents over 40 contexts of 20 tokens, in stretches of 8, 8 and 4."""
    return AtlasMeta(
        dictionary="resid_post-1-6-topk-2",
        dictionary_digest="d" * 64,
        dictionary_config={"n_latents": 6, "d_write": 4},
        model="miniature",
        weights_hash="w" * 64,
        tokenizer_hash="t" * 32,
        corpus_digest="c" * 64,
        context_length=20,
        n_contexts=40,
        n_counted=760,
        n_latents=6,
        options=CensusOptions(n_top=3, n_each=2, n_intervals=2, stretch=8, n_silent=4),
    )


@pytest.fixture
def made_record():
    """Make the record of a latent, always the same for equal arguments."""
    return _record


def _record(latent: int, *, scale: float = 1.0, n_examples: int = 3) -> LatentRecord:
    generator = np.random.default_rng(latent)

    def weighted(n: int, size: float = 1.0) -> tuple[Weighted, ...]:
        values = sorted((generator.random(n) * size).tolist(), reverse=True)
        return tuple(Weighted(int(generator.integers(300)), value) for value in values)

    groups = tuple(
        _group(generator, name, scale, n_examples) for name in ("top", "quantile", "quantile")
    )
    peaks = tuple(Weighted(int(generator.integers(300)), float(5 - i)) for i in range(4))
    return LatentRecord(
        latent=latent,
        n_fired=int(generator.integers(1, 400)),
        density=float(generator.random() * 0.2),
        mean=float(generator.random() * scale),
        max=max(group.high for group in groups),
        histogram=tuple(int(n) for n in generator.integers(0, 50, 32)),
        n_stretches=50,
        n_documents=int(generator.integers(1, 9)),
        document_share=float(generator.random()),
        groups=groups,
        silent=tuple(sorted(int(c) * 20 + 8 for c in generator.choice(40, 4, replace=False))),
        peak_tokens=peaks,
        tokens=tuple(TokenFirings(10 * latent + i, 9 - i, 20 + i) for i in range(3)),
        top_logits=weighted(5),
        bottom_logits=weighted(5, -1.0),
        neighbours=weighted(3),
        coactive=weighted(2),
    )


def _group(
    generator: np.random.Generator, name: str, scale: float, n_examples: int
) -> ExampleGroup:
    examples = []
    for _ in range(n_examples):
        start = int(generator.integers(40)) * 20 + int(generator.integers(3)) * 8
        length = min(8, 20 - start % 20)
        n = int(generator.integers(1, length + 1))
        places = np.sort(generator.choice(length, n, replace=False)).astype(np.int32)
        values = (generator.random(n) * scale + 0.01 * scale).astype(np.float32)
        examples.append(Example(start, length, int(places[values.argmax()]), places, values))
    examples.sort(key=lambda one: (-one.max, one.start))
    return ExampleGroup(name, examples[-1].max, examples[0].max, 3 / 50, tuple(examples))
