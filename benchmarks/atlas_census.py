"""A census: memory of the tables of a wide dictionary, and the time of the pass against the model's own.

    python benchmarks/atlas_census.py tables --latents 131072 --tokens 1000000
    python benchmarks/atlas_census.py pass --model smollm2-135m-instruct-q4 --dictionary RUN/artifacts/dictionaries/NAME

`tables` makes firing shards by chance, with latents from rare to dense, and builds the whole atlas from them:
peak memory of the process and seconds of each phase. `pass` takes turns with a forward pass of the model on the
same contexts: to the dictionary's site, whole without logits, and whole; the census finds the firings of the
dictionary (of one made by chance where none is given) and writes the shards.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from lmscope.atlas.building import Counted, build
from lmscope.atlas.census import CensusPass, PassSizes, context_batch, median_norms, sample_batches
from lmscope.atlas.config import AtlasMeta, CensusOptions
from lmscope.atlas.corpus import CorpusRows, FrozenCorpus
from lmscope.atlas.shards import Shard, ShardReader, write_shard
from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature
from lmscope.text.corpus import Corpus
from measure import interleaved_ms, machine, parser, peak_memory_mib, report

CONTEXT_LENGTH = 256
SHARD_CONTEXTS = 256
N_DENSE = 4


class ChanceText:
    """A corpus of tokens by chance, common ones and rare ones; documents of 300 tokens."""

    digest = "chance"
    context_length = CONTEXT_LENGTH

    def __init__(self, n_contexts: int, n_vocab: int) -> None:
        self.n_contexts = n_contexts
        places = np.random.default_rng(0).random((n_contexts, CONTEXT_LENGTH))
        self.tokens = (n_vocab**places - 1).astype(np.int32)

    def rows(self, first: int, n: int) -> CorpusRows:
        """Whole contexts."""
        tokens = self.tokens[first : first + n]
        return CorpusRows(tokens, np.ones_like(tokens, dtype=np.bool_))

    def document_numbers(self, positions: np.ndarray) -> np.ndarray:
        """The document of each position."""
        return (positions // 300).astype(np.int32)


class Phases:
    """Hears of a build: seconds and peak memory at the end of each phase."""

    def __init__(self) -> None:
        self.phases: dict[str, dict[str, float]] = {}
        self._name, self._began = "", perf_counter()

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """A phase that says when it begins."""
        if event == "phase":
            self.begin(fields["phase"])

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Nothing is measured by steps."""

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float]
    ) -> None:
        """A phase that only tells how far it is."""
        if phase != self._name:
            self.begin(phase)

    def begin(self, name: str) -> None:
        """End a phase and begin another."""
        self.end()
        self._name, self._began = name, perf_counter()

    def end(self) -> None:
        """End a phase."""
        if self._name:
            seconds = round(perf_counter() - self._began, 1)
            self.phases[self._name] = {"s": seconds, "peak_mib": round(peak_memory_mib())}
        self._name = ""


def chance_shards(folder: Path, n_contexts: int, n_latents: int, k: int) -> int:
    """Firings of k latents a position, rare and common ones and a few dense; the number of them."""
    total = 0
    for first in range(0, n_contexts, SHARD_CONTEXTS):
        draws = np.random.default_rng(first)
        shape = min(SHARD_CONTEXTS, n_contexts - first) * CONTEXT_LENGTH, k
        latent = (n_latents ** draws.random(shape)).astype(np.int64) * 7919 % n_latents
        latent[:, :N_DENSE] = np.where(draws.random((shape[0], N_DENSE)) < 0.5, range(N_DENSE), -1)
        latent.sort(axis=1)
        kept = latent >= 0
        kept[:, 1:] &= latent[:, 1:] != latent[:, :-1]
        place, column = kept.nonzero()
        value = draws.exponential(size=len(place)).astype(np.float32) + np.float32(0.01)
        counted = np.ones((shape[0] // CONTEXT_LENGTH, CONTEXT_LENGTH), dtype=np.bool_)
        position = place + first * CONTEXT_LENGTH
        write_shard(folder, Shard.of(first, latent[place, column], position, value, counted))
        total += len(place)
    return total


def chance_dictionary(site: str, width: int, n_latents: int, k: int) -> Dictionary:
    config = DictionaryConfig(
        n_latents=n_latents,
        d_read=width,
        d_write=width,
        reads=(site,),
        writes=(site,),
        sparsity=TopK(k=k),
        normalisation="none",
    )
    draws = torch.Generator().manual_seed(0)
    rows = torch.randn(n_latents, width, generator=draws)
    rows /= rows.norm(dim=1, keepdim=True)
    tensors = {
        "W_enc": rows.clone(),
        "b_enc": torch.zeros(n_latents),
        "W_dec": rows,
        "b_dec": torch.zeros(width),
        "scale_in": torch.tensor(1.0),
        "scale_out": torch.tensor(1.0),
    }
    return Dictionary.from_tensors(config, tensors)


def measure_tables(asked: Any) -> dict[str, Any]:
    n_contexts = asked.tokens // CONTEXT_LENGTH
    phases = Phases()
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above)
        phases.begin("shards by chance")
        n_firings = chance_shards(folder / "shards", n_contexts, asked.latents, asked.k)
        corpus = ChanceText(n_contexts, asked.vocabulary)
        model = miniature("llama", hidden_size=asked.width, vocab_size=asked.vocabulary)
        dictionary = chance_dictionary("resid_post@1", asked.width, asked.latents, asked.k)
        meta = AtlasMeta(
            dictionary="chance",
            dictionary_digest="0" * 64,
            dictionary_config=dictionary.config.to_mapping(),
            model="chance",
            weights_hash="0" * 64,
            tokenizer_hash="0" * 32,
            corpus_digest=corpus.digest,
            context_length=CONTEXT_LENGTH,
            n_contexts=n_contexts,
            n_counted=n_contexts * CONTEXT_LENGTH,
            n_latents=asked.latents,
            options=CensusOptions(),
        )
        reader = ShardReader(folder / "shards")
        counted: Any = Counted(model, dictionary, reader, corpus, meta, 0.1)  # pyright: ignore[reportArgumentType]
        build(counted, folder / "atlas", folder / "working.sqlite", phases)
        phases.end()
        on_disk = sum(path.stat().st_size for path in (folder / "atlas").glob("census.sqlite"))
    return {
        "n_latents": asked.latents,
        "width": asked.width,
        "n_vocabulary": asked.vocabulary,
        "n_tokens": n_contexts * CONTEXT_LENGTH,
        "n_firings": n_firings,
        "phases": phases.phases,
        "census_bytes_a_latent": round(on_disk / asked.latents),
    }


def measure_pass(asked: Any) -> dict[str, Any]:
    model = LanguageModel.load(asked.model, device=asked.device, dtype=asked.dtype)
    if asked.dictionary is None:
        site = Site.parse(asked.site)
        made = chance_dictionary(str(site), model.width(site), asked.latents, asked.k)
        dictionary = made.to(model.device)
    else:
        dictionary = Dictionary.load(asked.dictionary, device=model.device)
    sites = sorted({dictionary.config.read_site, dictionary.config.write_site})
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above)
        text, bos = Corpus.load("sample"), model.bos_id
        contexts = text.contexts(
            model.tokenizer, CONTEXT_LENGTH, bos_id=bos, max_tokens=asked.tokens
        )
        n = len(contexts)
        corpus = FrozenCorpus.freeze(folder, contexts, model.tokenizer, n_vocab=model.d_vocab)
        sample = sample_batches(model, corpus, n_tokens=8192, batch_contexts=asked.batch)
        exclusion = Exclusion(median_norms(model, sites, sample))
        batches = [
            context_batch(corpus, i, asked.batch).to(model.device) for i in range(0, n, asked.batch)
        ]
        last, n_runs, figures = f"resid_post@{model.n_layers - 1}", 0, {}

        def census() -> None:
            nonlocal n_runs, figures
            n_runs += 1
            sizes = PassSizes(asked.batch, 4 * asked.batch)
            spilled = folder / f"shards-{n_runs}"
            one = CensusPass(model, {"one": dictionary}, corpus, exclusion, spilled, sizes)
            one.spill(Phases())
            figures = one.figures.to_mapping()

        cases = {
            "census": census,
            "forward to the site": lambda: [model.read(batch, sites) for batch in batches],
            "forward without logits": lambda: [model.read(batch, [last]) for batch in batches],
            "forward": lambda: [forward(model, batch) for batch in batches],
        }
        times = interleaved_ms(cases, rounds=asked.rounds, clock=asked.clock)
    took = times["census"]["median"]
    return {
        "model": asked.model,
        "dtype": str(model.dtype),
        "sites": [str(site) for site in sites],
        "sparsity": dictionary.config.sparsity.to_mapping(),
        "n_latents": dictionary.config.n_latents,
        "n_tokens": n * CONTEXT_LENGTH,
        "ms": times,
        "tokens_per_s": 1e3 * n * CONTEXT_LENGTH / took,
        "census_over": {name: took / row["median"] for name, row in times.items()},
        "last_census": figures,
        "peak_memory_mib": peak_memory_mib(),
    }


@torch.no_grad()
def forward(model: LanguageModel, batch: Any) -> None:
    model(batch)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("what", choices=["tables", "pass"])
    options.add_argument("--latents", type=int, default=131_072)
    options.add_argument("--tokens", type=int, default=1_000_000)
    options.add_argument("--k", type=int, default=32)
    options.add_argument("--width", type=int, default=576, help="of the decoder rows of `tables`")
    options.add_argument("--vocabulary", type=int, default=49_152, help="tokens of `tables`")
    options.add_argument("--model", default="smollm2-135m-instruct-q4")
    options.add_argument("--dtype", help="of the model of `pass`; as it is stored when absent")
    options.add_argument("--dictionary", help="a dictionary's folder for `pass`")
    options.add_argument("--site", default="resid_post@14", help="of a dictionary by chance")
    options.add_argument("--batch", type=int, default=16, help="contexts of one forward pass")
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    record = {"benchmark": f"atlas_census_{asked.what}", **machine(asked.threads, asked.device)}
    found = measure_tables(asked) if asked.what == "tables" else measure_pass(asked)
    report({**record, **found}, asked.json)


if __name__ == "__main__":
    main()
