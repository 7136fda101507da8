"""The store of an atlas: bytes a latent, time of one record, search of labels, reading while writing.

    python benchmarks/atlas_store.py --latents 131072

Records are drawn by chance: 12 + 4 x 3 examples of 64 tokens, of which four fire on average, over a corpus
of 20M tokens, with every list full. Labels are eight words, drawn from 5,000 by a Zipf law. Chance is
the worst case for compression. Times are of one process with the file in the system's cache.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lmscope.atlas.codec import RecordCodec
from lmscope.atlas.config import AtlasMeta, CensusOptions
from lmscope.atlas.explain.protocols import Label, Score
from lmscope.atlas.labels import LabelReader, LabelsMeta, LabelWriter
from lmscope.atlas.record import Example, ExampleGroup, LatentRecord, TokenFirings, Weighted
from lmscope.atlas.store import CensusReader, CensusWriter

N_CONTEXTS, CONTEXT_LENGTH, N_VOCAB = 78_125, 256, 49_152
N_WORDS, WORDS_A_LABEL = 5_000, 8
READER = """
import sys, time
from pathlib import Path
import numpy as np
from lmscope.atlas.store import CensusReader
path, stop, n_safe = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
generator, n, errors, times = np.random.default_rng(1), 0, 0, []
with CensusReader(path) as reader:
    print("open", flush=True)
    while not stop.exists():
        latent, start = int(generator.integers(n_safe)), time.perf_counter()
        try:
            reader.record(latent)
        except Exception as error:
            errors += 1
            print(error, file=sys.stderr)
        times.append(time.perf_counter() - start)
print(len(times), errors, np.percentile(np.asarray(times) * 1e3, 95))
"""


def meta(n_latents: int) -> AtlasMeta:
    return AtlasMeta(
        dictionary="synthetic",
        dictionary_digest="d" * 64,
        dictionary_config={},
        model="synthetic",
        weights_hash="w" * 64,
        tokenizer_hash="t" * 32,
        corpus_digest="c" * 64,
        context_length=CONTEXT_LENGTH,
        n_contexts=N_CONTEXTS,
        n_counted=N_CONTEXTS * CONTEXT_LENGTH,
        n_latents=n_latents,
        options=CensusOptions(),
    )


def weighted(generator: np.random.Generator, n: int, high: int, sign: float = 1.0) -> tuple:
    values = sign * np.sort(generator.random(n))[::-1]
    ids = generator.integers(high, size=n)
    return tuple(Weighted(int(i), float(v)) for i, v in zip(ids, values, strict=True))


def group(generator: np.random.Generator, name: str, n: int, scale: float) -> ExampleGroup:
    examples = []
    for peak in np.sort(scale * generator.lognormal(0, 0.3, n))[::-1]:
        start = int(generator.integers(N_CONTEXTS * CONTEXT_LENGTH // 64)) * 64
        n_fired = min(int(generator.geometric(0.25)), 64)
        places = np.sort(generator.choice(64, n_fired, replace=False)).astype(np.int32)
        values = (peak * generator.random(n_fired)).astype(np.float32)
        top = int(generator.integers(n_fired))
        values[top] = peak
        examples.append(Example(start, 64, int(places[top]), places, values))
    return ExampleGroup(name, examples[-1].max, examples[0].max, 0.25, tuple(examples))


def record(latent: int, n_latents: int, options: CensusOptions) -> LatentRecord:
    generator = np.random.default_rng([0, latent])
    n_fired = int(10 ** generator.uniform(2, 6))
    scale = float(generator.lognormal(2, 0.5))
    intervals = [("quantile", options.n_each, scale * 0.5**i) for i in range(options.n_intervals)]
    groups = tuple(
        group(generator, name, n, size)
        for name, n, size in [("top", options.n_top, 2 * scale), *intervals]
    )
    drawn = np.unique(generator.integers(N_VOCAB, size=2 * options.n_tokens))
    tokens = generator.permutation(drawn)[: options.n_tokens].tolist()
    counts = np.sort(generator.integers(1, 200, options.n_tokens))[::-1].tolist()
    n_stretches = max(n_fired // 4, 24)
    silent = np.sort(generator.choice(N_CONTEXTS * 4, options.n_silent, replace=False) * 64)
    return LatentRecord(
        latent=latent,
        n_fired=n_fired,
        density=n_fired / (N_CONTEXTS * CONTEXT_LENGTH),
        mean=scale / 2,
        max=max(one.high for one in groups),
        histogram=tuple(generator.poisson(n_fired / 32, 32).tolist()),
        n_stretches=n_stretches,
        n_documents=n_stretches // 3,
        document_share=float(generator.random()),
        groups=groups,
        silent=tuple(silent.tolist()),
        peak_tokens=tuple(Weighted(t, float(c)) for t, c in zip(tokens, counts, strict=True)),
        tokens=tuple(TokenFirings(t, c, 4 * c) for t, c in zip(tokens, counts, strict=True)),
        top_logits=weighted(generator, options.n_tokens, N_VOCAB),
        bottom_logits=weighted(generator, options.n_tokens, N_VOCAB, -1.0),
        neighbours=weighted(generator, options.n_neighbours, n_latents),
        coactive=weighted(generator, options.n_neighbours, n_latents),
    )


def blocks(n_latents: int, size: int = 1024) -> Iterator[list[LatentRecord]]:
    options = CensusOptions()
    for first in range(0, n_latents, size):
        last = min(first + size, n_latents)
        yield [record(latent, n_latents, options) for latent in range(first, last)]


def percentiles(action: Callable[[int], object], arguments: Sequence[int]) -> dict[str, float]:
    for argument in arguments[:20]:
        action(argument)
    times = []
    for argument in arguments:
        start = time.perf_counter()
        action(argument)
        times.append(1e3 * (time.perf_counter() - start))
    return {f"p{q}_ms": float(np.percentile(times, q)) for q in (50, 95, 99)}


def write_census(folder: Path, n_latents: int) -> tuple[Path, dict[str, float]]:
    """Write while another process reads what is there already."""
    working, stop = folder / "working.sqlite", folder / "stop"
    reader, spent, waiting = None, 0.0, iter(blocks(n_latents))
    with CensusWriter(working, meta(n_latents)) as writer:
        for block in waiting:
            start = time.perf_counter()
            writer.append(block)
            spent += time.perf_counter() - start
            if reader is None:
                command = [sys.executable, "-c", READER, str(working), str(stop), str(len(block))]
                reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                assert reader.stdout is not None
                reader.stdout.readline()
        start = time.perf_counter()
        sealed = writer.seal(folder / "census.sqlite")
        sealing = time.perf_counter() - start
    stop.touch()
    assert reader is not None
    said, _ = reader.communicate(timeout=60)
    n_reads, n_errors, p95 = said.split()
    return sealed, {
        "append_us_a_latent": 1e6 * spent / n_latents,
        "seal_s": sealing,
        "reads_while_writing": int(n_reads),
        "reader_errors": int(n_errors),
        "read_while_writing_p95_ms": float(p95),
    }


def sizes(sealed: Path, n_latents: int) -> dict[str, float]:
    connection = sqlite3.connect(sealed)
    lengths = [row[0] for row in connection.execute("SELECT length(blob) FROM latent")]
    connection.close()
    return {
        "blob_bytes_median": float(np.median(lengths)),
        "blob_bytes_p95": float(np.percentile(lengths, 95)),
        "file_bytes_a_latent": sealed.stat().st_size / n_latents,
    }


def write_labels(folder: Path, n_latents: int) -> Path:
    generator = np.random.default_rng(2)
    shares = 1 / np.arange(1, N_WORDS + 1)
    drawn = generator.choice(N_WORDS, (n_latents, WORDS_A_LABEL), p=shares / shares.sum())
    lows = generator.random(n_latents)
    labels_meta = LabelsMeta(
        atlas_digest="a" * 64, dictionary_digest="d" * 64, explainer="synthetic", threshold=0.5
    )
    with LabelWriter(folder / "labels-working.sqlite", labels_meta) as writer:
        writer.append(
            (
                Label(i, " ".join(f"word{spelt(int(word))}" for word in drawn[i]), "synthetic"),
                (Score("detection", float(lows[i]), float(lows[i]), 1.0, 40),),
            )
            for i in range(n_latents)
        )
        return writer.seal(folder / "labels.sqlite")


def spelt(number: int) -> str:
    """A number in letters, so that words do not begin alike."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", type=int, default=131_072)
    parser.add_argument("--reads", type=int, default=2_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    n, generator = options.latents, np.random.default_rng(3)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        sealed, figures = write_census(folder, n)
        figures |= sizes(sealed, n)
        chosen = generator.integers(n, size=options.reads).tolist()
        with CensusReader(sealed) as reader:
            figures["record"] = percentiles(reader.record, chosen)
            tokens = generator.integers(N_VOCAB, size=options.reads).tolist()
            figures["on_token"] = percentiles(reader.on_token, tokens)
        codec, one = RecordCodec(CONTEXT_LENGTH, 64), record(0, n, CensusOptions())
        figures["encode"] = percentiles(lambda _: codec.encode(one), chosen[:200])
        start = time.perf_counter()
        labels = write_labels(folder, n)
        figures["labels_write_and_index_s"] = time.perf_counter() - start
        figures["labels_bytes_a_latent"] = labels.stat().st_size / n
        with LabelReader(labels) as reader:
            words = [spelt(int(word)) for word in generator.integers(N_WORDS, size=options.reads)]
            figures["search_one_word"] = percentiles(
                lambda i: reader.search(f"word{words[i]}"), range(options.reads)
            )
            figures["search_two_words"] = percentiles(
                lambda i: reader.search(f"word{spelt(i % 50)} word{words[i]}"), range(options.reads)
            )
            figures["search_commonest_word"] = percentiles(
                lambda _: reader.search("worda"), range(20)
            )
            figures["shown"] = percentiles(reader.shown, chosen)
    print(json.dumps({"latents": n, "load": os.getloadavg(), **figures}, indent=1))


if __name__ == "__main__":
    main()
