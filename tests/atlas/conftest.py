"""Records made by chance, and an atlas of them, for tests of what stores and shows atlases."""

import numpy as np
import pytest

from lmscope.atlas.config import AtlasMeta, CensusOptions
from lmscope.atlas.corpus import FrozenCorpus
from lmscope.atlas.explain.protocols import Label, Score
from lmscope.atlas.labels import LABELS_FILE, LABELS_FORMAT, LABELS_KIND, LabelsMeta, LabelWriter
from lmscope.atlas.record import Example, ExampleGroup, LatentRecord, TokenFirings, Weighted
from lmscope.atlas.store import (
    ATLAS_FORMAT,
    ATLAS_KIND,
    CENSUS_FILE,
    VECTORS_FILE,
    CensusWriter,
    write_vectors,
)
from lmscope.models.miniature import character_tokenizer
from lmscope.runs.artifact import read_manifest, write_artifact
from lmscope.text.contexts import Contexts
from lmscope.text.corpus import Corpus
from lmscope.text.document import Document


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


LABELS = {0: ("names of rivers", 0.9), 1: ("a guess about rivers", 0.5), 3: ("<b>bold</b>", 0.8)}


@pytest.fixture
def atlas_run(tmp_path, meta, made_record):
    """A run with one atlas of six latents, its corpus, and labels of an explain run of a later day."""
    run = tmp_path / "runs" / "20260101-000000-census"
    (run / "artifacts").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    corpus = FrozenCorpus.freeze(
        run / "artifacts" / "corpus", _contexts(), character_tokenizer(), n_vocab=400
    )
    meta = meta.model_copy(
        update={
            "corpus_digest": corpus.digest,
            "n_contexts": corpus.n_contexts,
            "tokenizer_hash": corpus.config.tokenizer_hash,
        }
    )
    place = run / "artifacts" / "atlas" / "made"
    with (
        CensusWriter(tmp_path / "work.sqlite", meta) as writer,
        write_artifact(place, ATLAS_KIND, ATLAS_FORMAT) as folder,
    ):
        writer.append([made_record(latent) for latent in range(6)])
        writer.seal(folder / CENSUS_FILE)
        rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
        write_vectors(folder / VECTORS_FILE, rows)
    write_labels(run, "20260102-000000-explain", LABELS)
    return run


def write_labels(run, name: str, labels: dict[int, tuple[str, float]]):
    """Labels of the run's atlas with the lower ends of their detection scores, in a run beside it."""
    digest = read_manifest(run / "artifacts/atlas/made", ATLAS_KIND, (1,)).content_digest
    meta = LabelsMeta(
        atlas_digest=digest, dictionary_digest="d" * 64, explainer="made", threshold=0.7
    )
    place = run.parent / name / "artifacts" / "labels" / "made"
    with (
        LabelWriter(run.parent / f"{name}.sqlite", meta) as writer,
        write_artifact(place, LABELS_KIND, LABELS_FORMAT) as folder,
    ):
        for latent, (text, low) in labels.items():
            scores = (Score("detection", low + 0.05, low, low + 0.1, 20),)
            writer.append([(Label(latent, text, "made"), scores)])
        writer.seal(folder / LABELS_FILE)
        writer.remove()
    return place


@pytest.fixture
def labelled():
    """Write labels of a run's atlas: `labelled(run, name, {latent: (text, low)})`."""
    return write_labels


def _contexts() -> Contexts:
    texts = [f"Document {i} of rivers & <hills>. " * (i + 3) for i in range(8)]
    documents = [
        Document(f"id{i}", text, f"Title {i}", "somewhere", "CC0", f"id{i}")
        for i, text in enumerate(texts)
    ]
    corpus = Corpus.from_documents(documents)
    return corpus.contexts(character_tokenizer(), 20, bos_id=1, style="packed")
