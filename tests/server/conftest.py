"""One small folder of runs that all tests of the server show, and the same one to spoil."""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.config import AtlasMeta, CensusOptions
from lmscope.atlas.corpus import FrozenCorpus
from lmscope.atlas.explain.protocols import Label, Score
from lmscope.atlas.labels import LABELS_FILE, LABELS_FORMAT, LABELS_KIND, LabelsMeta, LabelWriter
from lmscope.atlas.pack import pack
from lmscope.atlas.record import Example, ExampleGroup, LatentRecord, TokenFirings, Weighted
from lmscope.atlas.store import (
    ATLAS_FORMAT,
    ATLAS_KIND,
    CENSUS_FILE,
    VECTORS_FILE,
    CensusWriter,
    write_vectors,
)
from lmscope.dictionaries.config import DictionaryConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.jobs.atlas import AtlasRecipe, build_atlas
from lmscope.jobs.explain import ExplainRecipe, explain
from lmscope.jobs.trace import TraceRecipe, trace
from lmscope.jobs.train import TrainRecipe, train
from lmscope.models.miniature import miniature
from lmscope.runs.artifact import read_manifest, write_artifact
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run
from lmscope.server.library.library import Library
from lmscope.text.corpus import Corpus
from lmscope.text.document import Document

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '"><svg onload=alert(3)>',
    "&lt;b&gt;",
    "\u2028",
    "\u202eright to left",
    "</style>",
    "javascript:alert(4)",
    "\x00",
    "🙂",
    "שלום",
    "中文",
)
"""Tokens, labels and titles that must show as the text that they are."""


@dataclass(frozen=True)
class SmallLibrary:
    """A folder of runs.

    Attributes:
        root: The folder to serve.
        model: The model's folder, which is its name too.
        train: The run that trained `narrow` and `wide` as a suite.
        atlas: The run with an atlas of both.
        explained: The run that labelled 12 latents of the narrow one.
        hostile: A run with an atlas of hostile tokens and labels, whose dictionary is not here.
        packed: A packed atlas right in the folder, of a dictionary that is not here either.
        narrow: Id of the dictionary of 64 latents, which has labels.
        wide: Id of the one of 128 latents.
        hostile_id: Id of the dictionary of hostile tokens.
        packed_id: Id of the dictionary of the packed atlas.
    """

    root: Path
    model: Path
    train: Path
    atlas: Path
    explained: Path
    hostile: Path
    packed: Path
    narrow: str
    wide: str
    hostile_id: str
    packed_id: str

    def at(self, root: Path) -> "SmallLibrary":
        """The same paths in a copy of the folder."""
        moved = {
            name: root / getattr(self, name).relative_to(self.root)
            for name in ("train", "atlas", "explained", "hostile", "packed")
        }
        return replace(self, root=root, **moved)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMSCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def small_library(tmp_path_factory) -> SmallLibrary:
    """To read only: all tests share it; to change one take `own_library`."""
    folder = tmp_path_factory.mktemp("small")
    model = folder / "model"
    miniature_model = miniature("llama")
    miniature_model.hf.save_pretrained(model)
    miniature_model.tokenizer.save_pretrained(model)
    root = folder / "runs"
    trained = train(_train_recipe(model, _write_text(folder / "text.jsonl")), root=root)
    atlas = build_atlas(_atlas_recipe(trained), root=root)
    explained = explain(_explain_recipe(atlas), root=root)
    hostile = write_hostile(root, "20260101-000000-hostile")
    other = write_hostile(folder / "elsewhere", "20260101-000000-packed", HOSTILE[::-1])
    packed = root / "packed.atlas"
    with Atlas.open(other) as opened:
        pack(opened, packed)
    ids = {entry.name: entry.id for entry in Library([root]).dictionaries()}
    return SmallLibrary(
        root=root,
        model=model,
        train=trained.path,
        atlas=atlas.path,
        explained=explained.path,
        hostile=hostile,
        packed=packed,
        narrow=ids["resid_post-1-64-topk-4"],
        wide=ids["resid_post-1-128-topk-4"],
        hostile_id=ids["20260101-000000-hostile"],
        packed_id=ids["20260101-000000-packed"],
    )


@pytest.fixture
def own_library(small_library, tmp_path) -> SmallLibrary:
    """A copy of the small library that this test may spoil."""
    return small_library.at(Path(shutil.copytree(small_library.root, tmp_path / "runs")))


@dataclass(frozen=True)
class TracedLibrary:
    """A folder with traces; the files of a small library lie there too.

    Attributes:
        root: The folder to serve.
        small: The small library there.
        stream: A run that traced two prompts with the labelled dictionary `small.narrow`.
        layers: A run that traced one prompt with transcoders of all layers, which are not served.
        names: Names of the graphs of the first.
        layered: Name of the one of the second.
    """

    root: Path
    small: SmallLibrary
    stream: str
    layers: str
    names: tuple[str, str]
    layered: str

    def at(self, root: Path) -> "TracedLibrary":
        """The same in a copy of the folder."""
        return replace(self, root=root, small=self.small.at(root))


@pytest.fixture(scope="session")
def traced_library(small_library, tmp_path_factory) -> TracedLibrary:
    """To read only: all tests share it; to change one take `own_traces`."""
    folder = tmp_path_factory.mktemp("traced")
    small = small_library.at(Path(shutil.copytree(small_library.root, folder / "runs")))
    texts = ["the sea hid a stone", "the <b>sea</b> rose"]
    one = trace(
        _trace_recipe([str(small.train)], texts, only=["*-64-*"], sweep=[0.1]), root=small.root
    )
    sources = _transcoders(folder / "dictionaries", small.model)
    other = trace(_trace_recipe(sources, ["the sea hid"], threshold=0.0), root=small.root)
    return TracedLibrary(
        root=small.root,
        small=small,
        stream=one.path.name,
        layers=other.path.name,
        names=("0000-the-sea-hid-a-stone", "0001-the-b-sea-b-rose"),
        layered="0000-the-sea-hid",
    )


@pytest.fixture
def own_traces(traced_library, tmp_path) -> TracedLibrary:
    """A copy of the traces that this test may spoil."""
    return traced_library.at(Path(shutil.copytree(traced_library.root, tmp_path / "traces")))


@pytest.fixture(scope="session")
def hostile_run() -> Callable[..., Path]:
    """`hostile_run(root, name, words)`: another run with an atlas of chosen tokens."""
    return write_hostile


def _write_text(path: Path) -> Path:
    draw = random.Random(0)
    texts = ["".join(draw.choices("etaoin shrdlu.", k=300)) for _ in range(40)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def _train_recipe(model: Path, text: Path) -> TrainRecipe:
    return TrainRecipe.from_mapping(
        {
            "model": {"name": str(model), "device": "cpu"},
            "text": {"source": str(text), "context_length": 32, "held_out_fraction": 0.3},
            "dictionary": {
                "sites": ["resid_post@1"],
                "n_latents": [64, 128],
                "sparsity": [{"kind": "topk", "k": 4}],
                "objective": {"dead_after_tokens": 600},
            },
            "stream": {
                "batch_tokens": 32,
                "block_contexts": 8,
                "forward_contexts": 4,
                "calibration_tokens": 512,
                "passes": 3,
            },
            "training": {"steps": 30, "log_every": 5, "checkpoint": {"every_minutes": 0}},
            "evaluation": {
                "tokens": 1024,
                "scored_tokens": 256,
                "baseline_tokens": 512,
                "batch_contexts": 8,
                "bootstrap": {"n_resamples": 50},
            },
        }
    )


def _atlas_recipe(run: Run) -> AtlasRecipe:
    return AtlasRecipe.from_mapping(
        {
            "dictionary": str(run.path),
            "census": {"tokens": 3000, "batch_tokens": 256, "calibration_tokens": 512},
            "options": {"n_top": 8, "n_each": 3, "stretch": 8, "n_silent": 16},
        }
    )


def _explain_recipe(run: Run) -> ExplainRecipe:
    return ExplainRecipe.from_mapping(
        {
            "atlas": str(run.path),
            "only": ["resid_post-1-64-topk-4"],
            "latents": list(range(12)),
            "threshold": 0.5,
            "n_controls": 4,
        }
    )


def _trace_recipe(
    sources: Sequence[str], texts: Sequence[str], *, threshold: float = 0.01, **more: Any
) -> TraceRecipe:
    return TraceRecipe.from_mapping(
        {
            "dictionaries": {
                "sources": list(sources),
                "only": more.pop("only", []),
                "calibration_tokens": 0,
            },
            "model": {"device": "cpu"},
            "prompts": {"texts": list(texts)},
            "trace": {"threshold": threshold},
            **more,
        }
    )


def _transcoders(folder: Path, model: Path) -> list[str]:
    """Random transcoders of all three layers."""
    found = []
    for layer in range(3):
        config = DictionaryConfig(
            reads=(f"mlp_norm@{layer}",),
            writes=(f"mlp_out@{layer}",),
            d_read=32,
            d_write=32,
            n_latents=24,
            sparsity=ReLU(),
            normalisation="none",
            model=str(model),
        )
        dictionary = Dictionary(config)
        draw = torch.Generator().manual_seed(layer)
        with torch.no_grad():
            for parameter in dictionary.parameters():
                size = 0.3 if parameter.dim() == 1 else parameter.shape[-1] ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * size)
        dictionary.save(folder / f"mlp_out-{layer}")
        found.append(str(folder / f"mlp_out-{layer}"))
    return found


def write_hostile(root: Path, name: str, words: Sequence[str] = HOSTILE) -> Path:
    """A run with an atlas of made records over a text of these words, one token each, and their labels.

    Latent `i` fires on word `i`; its label is the word. The run's name is the dictionary's name.
    """
    recipe = Recipe(job="atlas", name=name)
    with Run.create(root, recipe, name=name) as run:
        tokenizer = _word_tokenizer(words)
        corpus = _freeze(run.artifacts / "corpus", words, tokenizer)
        meta = _meta(name, words, corpus)
        rows = np.random.default_rng(0).normal(size=(len(words), 4)).astype(np.float32)
        place = run.artifacts / "atlas" / name
        with (
            CensusWriter(run.path / "work.sqlite", meta) as writer,
            write_artifact(place, ATLAS_KIND, ATLAS_FORMAT) as folder,
        ):
            writer.append([_record(i, corpus, tokenizer, words) for i in range(len(words))])
            writer.seal(folder / CENSUS_FILE)
            write_vectors(folder / VECTORS_FILE, rows)
            writer.remove()
        _write_labels(run, name, words)
    return run.path


def _word_tokenizer(words: Sequence[str]) -> Any:
    vocabulary = {"<unk>": 0, " ": 1} | {word: i + 2 for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    # Words are set apart by a sign that no word holds.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("\x1f"), "removed")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def _freeze(folder: Path, words: Sequence[str], tokenizer: Any) -> FrozenCorpus:
    draw = random.Random(1)
    documents = []
    for i in range(8):
        text = "\x1f".join(draw.choices(words, k=40))
        title = words[i % len(words)]
        documents.append(Document(f"id{i}", text, title, "somewhere <b>", "CC0", f"id{i}"))
    contexts = Corpus.from_documents(documents).contexts(tokenizer, 20, bos_id=1, style="packed")
    return FrozenCorpus.freeze(folder, contexts, tokenizer)


def _meta(name: str, words: Sequence[str], corpus: FrozenCorpus) -> AtlasMeta:
    site = ["resid_post@1"]
    return AtlasMeta(
        dictionary=name,
        dictionary_digest=f"{sum(map(ord, name)):064x}",
        dictionary_config={
            "reads": site,
            "writes": site,
            "d_read": 4,
            "d_write": 4,
            "n_latents": len(words),
            "sparsity": {"kind": "topk", "k": 1},
        },
        model="<b>miniature</b>",
        weights_hash="a" * 64,
        tokenizer_hash=corpus.config.tokenizer_hash,
        corpus_digest=corpus.digest,
        context_length=20,
        n_contexts=corpus.n_contexts,
        n_counted=corpus.config.n_tokens,
        n_latents=len(words),
        options=CensusOptions(n_top=4, n_each=2, n_intervals=1, stretch=10, n_silent=4),
    )


def _record(
    latent: int, corpus: FrozenCorpus, tokenizer: Any, words: Sequence[str]
) -> LatentRecord:
    token = int(tokenizer.convert_tokens_to_ids(words[latent]))
    stretches = range(0, corpus.n_contexts * 20, 10)
    found: list[Example] = []
    silent: list[int] = []
    n_fired = 0
    for start in stretches:
        places = np.flatnonzero(corpus.tokens(start, 10) == token).astype(np.int32)
        n_fired += len(places)
        if not len(places):
            silent.append(start)
            continue
        values = (1.0 + np.arange(len(places)) * 0.25 + start / 1000).astype(np.float32)
        found.append(Example(start, 10, int(places[values.argmax()]), places, values))
    found.sort(key=lambda one: (-one.max, one.start))
    groups = tuple(
        ExampleGroup(name, part[-1].max, part[0].max, len(part) / len(found), tuple(part))
        for name, part in (("top", found[:4]), ("quantile", found[4:6]))
        if part
    )
    others = tuple(Weighted(i, 0.5 - i / 100) for i in range(len(words)) if i != latent)
    return LatentRecord(
        latent=latent,
        n_fired=n_fired,
        density=n_fired / corpus.config.n_tokens,
        mean=1.0,
        max=found[0].max if found else 0.0,
        histogram=(0,) * 31 + (n_fired,),
        n_stretches=len(found),
        n_documents=min(8, len(found)),
        document_share=0.25,
        groups=groups,
        silent=tuple(silent[:4]),
        peak_tokens=(Weighted(token, float(len(found))),),
        tokens=(TokenFirings(token, n_fired, n_fired),),
        top_logits=(Weighted(token, 2.0),),
        bottom_logits=(Weighted(1, -1.0),),
        neighbours=others[:3],
        coactive=others[3:5],
    )


def _write_labels(run: Run, name: str, words: Sequence[str]) -> None:
    atlas = read_manifest(run.artifacts / "atlas" / name, ATLAS_KIND, (ATLAS_FORMAT,))
    meta = LabelsMeta(
        atlas_digest=atlas.content_digest,
        dictionary_digest=f"{sum(map(ord, name)):064x}",
        explainer="<i>made</i>",
        threshold=0.7,
    )
    place = run.artifacts / "labels" / name
    with (
        LabelWriter(run.path / "labels.sqlite", meta) as writer,
        write_artifact(place, LABELS_KIND, LABELS_FORMAT) as folder,
    ):
        for latent, word in enumerate(words[:-1]):
            low = 0.5 if latent == 1 else 0.8
            scores = (Score("detection", low + 0.05, low, low + 0.1, 20),)
            writer.append([(Label(latent, word, "made"), scores)])
        writer.seal(folder / LABELS_FILE)
        writer.remove()
