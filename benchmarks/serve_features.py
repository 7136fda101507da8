"""Features through HTTP: pages, lists and search of an atlas of 131,072 latents x 24 contexts.

    python benchmarks/serve_features.py --latents 131072 --keep /tmp/serve-features

Makes a run with a synthetic atlas (records as of atlas_store.py, over a corpus of 20M tokens of which some
are parts of characters, decoder rows of 576 numbers, a label a latent), starts `lmscope serve` on it in a process of
its own, and asks one request after another over one connection, as a browser does (gzip). `--keep` keeps the
run and takes it the next time. Times are of whole answers, with files in the system's cache; `cpu_ms` is the
processor time of the server for each answer, which other work on the machine changes little.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

from atlas_store import CONTEXT_LENGTH, N_CONTEXTS, N_VOCAB, N_WORDS, meta, record, spelt
from atlas_store import write_labels as write_label_file
from lmscope.atlas import corpus as corpora
from lmscope.atlas.config import AtlasMeta, CensusOptions
from lmscope.atlas.corpus import CorpusConfig, FrozenCorpus
from lmscope.atlas.labels import LABELS_FORMAT, LABELS_KIND, LabelReader, LabelsMeta, LabelWriter
from lmscope.atlas.record import LatentRecord
from lmscope.atlas.store import (
    ATLAS_FORMAT,
    ATLAS_KIND,
    CENSUS_FILE,
    VECTORS_FILE,
    CensusWriter,
    write_vectors,
)
from lmscope.runs.artifact import read_manifest, write_artifact
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run

WIDTH = 576
N_DISTINCT = 8192
"""Records that are drawn; latents take turns with them, each with figures of its own."""
N_DOCUMENTS = 20_000
SITE = "resid_post@14"


def write_run(root: Path, n_latents: int) -> Path:
    """A run with the atlas and its labels."""
    with Run.create(root, Recipe(job="atlas", name="synthetic"), name="synthetic") as run:
        corpus = write_corpus(run.artifacts / "corpus")
        about = described(n_latents, corpus)
        place = run.artifacts / "atlas" / "synthetic"
        with (
            CensusWriter(run.path / "working.sqlite", about) as writer,
            write_artifact(place, ATLAS_KIND, ATLAS_FORMAT) as folder,
        ):
            for block in blocks(n_latents):
                writer.append(block)
            writer.seal(folder / CENSUS_FILE)
            writer.remove()
            rows = np.random.default_rng(5).normal(size=(n_latents, WIDTH)).astype(np.float32)
            write_vectors(folder / VECTORS_FILE, rows)
        write_labels(run, place, n_latents)
    return run.path


def described(n_latents: int, corpus: FrozenCorpus) -> AtlasMeta:
    config = {"reads": [SITE], "writes": [SITE], "d_read": WIDTH, "d_write": WIDTH}
    return meta(n_latents).model_copy(
        update={
            "corpus_digest": corpus.digest,
            "tokenizer_hash": corpus.config.tokenizer_hash,
            "dictionary_config": {**config, "n_latents": n_latents},
        }
    )


def write_corpus(folder: Path) -> FrozenCorpus:
    generator = np.random.default_rng(6)
    shape = (N_CONTEXTS, CONTEXT_LENGTH)
    starts = np.unique(generator.integers(N_CONTEXTS * CONTEXT_LENGTH, size=2 * N_DOCUMENTS))
    starts[0] = 0
    numbers = np.minimum(np.arange(len(starts)), N_DOCUMENTS - 1)
    words = [vocabulary_word(i) for i in range(N_VOCAB)]
    with write_artifact(folder / "part", corpora.KIND, corpora.FORMAT_VERSION) as part:
        np.save(part / "tokens.npy", generator.integers(N_VOCAB, size=shape).astype(np.uint16))
        np.save(part / "lengths.npy", np.full(N_CONTEXTS, CONTEXT_LENGTH, dtype=np.int32))
        np.save(part / "segments.npy", np.stack([starts, numbers], axis=1))
        line = {"title": "A document", "source": "made by chance", "licence": "CC0"}
        lines = [json.dumps({"id": f"document {i}", **line}) + "\n" for i in range(N_DOCUMENTS)]
        (part / "documents.jsonl").write_text("".join(lines))
        (part / "token_bytes.bin").write_bytes(b"".join(words))
        np.save(part / "token_lengths.npy", np.asarray([len(w) for w in words], dtype=np.int32))
        config = CorpusConfig(
            context_length=CONTEXT_LENGTH,
            n_contexts=N_CONTEXTS,
            n_tokens=N_CONTEXTS * CONTEXT_LENGTH,
            n_vocab=N_VOCAB,
            tokenizer_hash="t" * 32,
            text_fingerprint="f" * 32,
        )
        (part / "corpus.json").write_text(json.dumps(config.to_mapping()))
    digest = read_manifest(folder / "part", corpora.KIND, corpora.READABLE).content_digest
    (folder / "part").rename(folder / digest)
    return FrozenCorpus.load(folder / digest)


def vocabulary_word(token: int) -> bytes:
    """Words, and one token of thirty a part of a character."""
    if token % 30 == 0:
        return "城".encode()[token // 30 % 3 :][:1]
    return f" {spelt(token)}".encode()


def blocks(n_latents: int, size: int = 1024) -> Iterator[list[LatentRecord]]:
    options, generator = CensusOptions(), np.random.default_rng(7)
    drawn: list[LatentRecord] = []
    for first in range(0, n_latents, size):
        block = []
        for latent in range(first, min(first + size, n_latents)):
            if len(drawn) < N_DISTINCT:
                drawn.append(record(latent, n_latents, options))
            own = drawn[latent % N_DISTINCT]
            density = float(10 ** generator.uniform(-6, -1))
            block.append(replace(own, latent=latent, density=density))
        yield block


def write_labels(run: Run, atlas: Path, n_latents: int) -> None:
    digest = read_manifest(atlas, ATLAS_KIND, (ATLAS_FORMAT,)).content_digest
    about = LabelsMeta(
        atlas_digest=digest, dictionary_digest="d" * 64, explainer="synthetic", threshold=0.5
    )
    with tempfile.TemporaryDirectory() as name:
        drawn = write_label_file(Path(name), n_latents)
        with (
            LabelReader(drawn) as reader,
            LabelWriter(run.path / "labels-working.sqlite", about) as writer,
            write_artifact(run.artifacts / "labels" / "synthetic", LABELS_KIND, LABELS_FORMAT) as f,
        ):
            writer.append((label, reader.scores(label.latent)) for label in reader.labels())
            writer.seal(f / "labels.sqlite")
            writer.remove()


class Server(NamedTuple):
    """A running `lmscope serve`.

    Attributes:
        connection: To ask it.
        process: Its number.
        start_s: Seconds until it answered.
    """

    connection: HTTPConnection
    process: int
    start_s: float

    def cpu_ms(self) -> float:
        """Processor time that it spent so far."""
        values = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return 1e3 * (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(folder: Path) -> Iterator[Server]:
    """The server of a folder, which ends with the block."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "lmscope", "serve", str(folder), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = urlsplit(json.loads(process.stdout.readline())["url"])
        connection = HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=60)
        get(connection, "/healthz")
        yield Server(connection, process.pid, time.perf_counter() - start)
    finally:
        process.terminate()
        process.wait(timeout=30)


def get(connection: HTTPConnection, path: str) -> tuple[float, bytes]:
    """Milliseconds and the answer, as it was sent."""
    start = time.perf_counter()
    connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    body = answer.read()
    spent = 1e3 * (time.perf_counter() - start)
    assert answer.status == 200, (path, answer.status, body[:300])
    return spent, body


def percentiles(server: Server, path: Callable[[int], str], n: int) -> dict[str, float]:
    first, spent = get(server.connection, path(0)), server.cpu_ms()
    answers = [first, *(get(server.connection, path(i)) for i in range(1, n))]
    spent = (server.cpu_ms() - spent) / (n - 1)
    times = [time for time, _ in answers]
    found = {f"p{q}_ms": round(float(np.percentile(times, q)), 2) for q in (50, 95, 99)}
    return {
        "first_ms": round(times[0], 2),
        **found,
        "cpu_ms": round(spent, 2),
        "sent_bytes": float(np.median([len(body) for _, body in answers])),
    }


def measure(server: Server, n_latents: int, n: int) -> dict[str, object]:
    generator = np.random.default_rng(8)
    home = json.loads(plain(server.connection, "/api/home"))
    dictionary = f"/api/dictionaries/{home['dictionaries'][0]['id']}"
    latents: Sequence[int] = generator.integers(n_latents, size=n).tolist()
    offsets: Sequence[int] = generator.integers(n_latents - 100, size=n).tolist()
    words = [spelt(int(word)) for word in generator.integers(N_WORDS, size=n)]
    listed = f"{dictionary}/features?limit=100&offset="
    figures: dict[str, object] = {
        "feature_page": percentiles(server, lambda i: f"{dictionary}/features/{latents[i]}", n)
    }
    for name, query in {
        "list_by_number": "",
        "list_by_falling_density": "&order=-density",
        "list_by_falling_detection": "&order=-detection",
        "list_of_known_below_a_density": "&known=true&max_density=0.01&order=-max",
        "list_near_one": f"&near={latents[0]}",
        "list_of_the_commonest_word": "&label=worda",
    }.items():
        paths = [f"{listed}{offset % (n_latents // 4)}{query}" for offset in offsets]
        figures[name] = percentiles(server, paths.__getitem__, n // 4)
    for name, paths in {
        "near_another_each_time": [f"{dictionary}/features?near={i}" for i in latents[: n // 10]],
        "search_a_label": [f"/api/search?q=word{word}" for word in words[: n // 4]],
        "search_a_token": [
            f"/api/search?kind=token&q={spelt(i % N_VOCAB)}" for i in latents[: n // 4]
        ],
    }.items():
        figures[name] = percentiles(server, paths.__getitem__, len(paths))
    return figures


def plain(connection: HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", type=int, default=131_072)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = options.keep or Path(name)
        if not (root / "synthetic").exists():
            write_run(root, options.latents)
        with served(root) as server:
            figures = {
                "latents": options.latents,
                "load": os.getloadavg(),
                "start_s": round(server.start_s, 2),
                **measure(server, options.latents, options.requests),
            }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
