"""One static HTML file of an atlas: a list with search, a page for each latent, no network.

Everything shown travels as compressed JSON in base64, which cannot break out of its element, and is
put on the page as text only. The policy in the file's head lets its own script and style work and
nothing else, so a page that was tampered with cannot fetch or send anything either.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any, BinaryIO, Final

from lmscope.atlas.exchange.content import AtlasContent, Entry
from lmscope.atlas.exchange.pieces import pieces
from lmscope.atlas.exchange.texts import as_replacement
from lmscope.atlas.record import Example, ExampleGroup, Weighted, histogram_edges
from lmscope.core.files import atomic_path
from lmscope.display.visible import visible

_CHUNK: Final = 64
"""Latents that are unpacked together when one of them is opened."""
_DIGITS: Final = 4
"""Significant digits of a number on the page."""


def write_html(content: AtlasContent, path: Path, *, title: str | None = None) -> None:
    """Write an atlas as one page that any browser opens from the disk.

    Args:
        content: What to write.
        path: The file; one that is there is replaced.
        title: Heading of the page; absent: model, site and dictionary.

    Raises:
        ArtifactError: The file cannot be written.
    """
    heading = title or f"{content.meta.model} · {content.read_site} · {content.meta.dictionary}"
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        head, foot = _shell(heading)
        file.write(head)
        index = _Index()
        entries, n_chunks = content.checked(), 0
        while block := list(islice(entries, _CHUNK)):
            chunk = _Chunk(content)
            for entry in block:
                chunk.add(entry)
                index.add(entry, chunk)
            _write_data(file, f"chunk-{n_chunks}", chunk.to_mapping())
            n_chunks += 1
        _write_data(file, "index", {"about": _about(content, heading), **index.columns})
        file.write(foot)


def _shell(heading: str) -> tuple[bytes, bytes]:
    """The page before and after its data."""
    folder = files("lmscope.atlas.exchange") / "page"
    style, script = ((folder / name).read_text("utf-8") for name in ("page.css", "page.js"))
    page = Template((folder / "page.html").read_text("utf-8")).substitute(
        title=escape(visible(heading)),
        style=style,
        script=script,
        style_hash=_source_hash(style),
        script_hash=_source_hash(script),
    )
    head, _, foot = page.partition("<!-- data -->\n")
    return head.encode(), foot.encode()


def _source_hash(text: str) -> str:
    """What a policy calls an inline script or style that may act."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _write_data(file: BinaryIO, name: str, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = base64.b64encode(gzip.compress(text.encode(), mtime=0))
    file.write(f'<script type="text/plain" id="{name}">'.encode() + data + b"</script>\n")


def _about(content: AtlasContent, heading: str) -> dict[str, Any]:
    """What the whole atlas says of itself, as lines to show."""
    meta = content.meta
    config = meta.dictionary_config
    sites = str(content.read_site)
    if content.write_site != content.read_site:
        sites += f" to {content.write_site}"
    lines = {
        "model": meta.model,
        "site": sites,
        "dictionary": meta.dictionary,
        "latents": f"{meta.n_latents:,}",
        "sparsity": str(config.get("sparsity", {}).get("kind", "")),
        "corpus": f"{meta.n_counted:,} tokens that count, in {meta.n_contexts:,} contexts of "
        f"{meta.context_length:,}",
        "dictionary digest": meta.dictionary_digest,
        "corpus digest": meta.corpus_digest,
        "weights hash": meta.weights_hash,
    }
    return {
        "title": visible(heading),
        "lines": [[key, visible(value)] for key, value in lines.items() if value],
        "chunk": _CHUNK,
        "dense": meta.options.dense_above,
    }


class _Index:
    """What the list shows, one column a property."""

    def __init__(self) -> None:
        names = ("id", "label", "state", "score", "density", "max", "peak", "words")
        self.columns: dict[str, list[Any]] = {name: [] for name in names}

    def add(self, entry: Entry, chunk: "_Chunk") -> None:
        record = entry.record
        known = 2 if entry.is_known else 0 if entry.label is None else 1
        detection = next((one.value for one in entry.scores if one.scorer == "detection"), None)
        peak = record.peak_token
        values = {
            "id": record.latent,
            "label": visible(entry.shown),
            "state": known,
            "score": None if detection is None else _number(detection),
            "density": _number(record.density),
            "max": _number(record.max),
            "peak": "" if peak is None else chunk.text(peak),
            "words": " ".join(chunk.text(one.id) for one in record.top_logits[:5]),
        }
        for name, value in values.items():
            self.columns[name].append(value)


class _Chunk:
    """Neighbouring latents, and the pieces of text that their examples are made of."""

    def __init__(self, content: AtlasContent) -> None:
        self._content = content
        self._corpus = content.corpus
        self._pieces: list[list[Any]] = []
        self._numbers: dict[tuple[int, ...], int] = {}
        self._documents: dict[str, int] = {}
        self._latents: list[dict[str, Any]] = []

    def to_mapping(self) -> dict[str, Any]:
        """`pieces`: text, then for each of its tokens id and bytes; a newline ends the line."""
        found = {"pieces": self._pieces, "documents": list(self._documents)}
        return {**found, "latents": self._latents}

    def text(self, token: int) -> str:
        """The text of one token, made visible."""
        return self._pieces[self._one(token)][0]

    def add(self, entry: Entry) -> None:
        record = entry.record
        label = entry.label
        self._latents.append(
            {
                "id": record.latent,
                "by": visible(label.explainer) if label and entry.is_known else "",
                "rule": _rule_figures(entry),
                "scores": [_score(score) for score in entry.scores],
                "fired": record.n_fired,
                "mean": _number(record.mean),
                "stretches": record.n_stretches,
                "documents": record.n_documents,
                "share": _number(record.document_share),
                "histogram": list(record.histogram),
                "edges": [_number(edge) for edge in histogram_edges(record.max)],
                "peaks": self._weighted_tokens(record.peak_tokens),
                "tokens": [[self._one(t.token), t.n_fired, t.n_seen] for t in record.tokens],
                "top": self._weighted_tokens(record.top_logits),
                "bottom": self._weighted_tokens(record.bottom_logits),
                "neighbours": [[one.id, _number(one.value)] for one in record.neighbours],
                "coactive": [[one.id, _number(one.value)] for one in record.coactive],
                "groups": [self._group(group) for group in record.groups if group.examples],
            }
        )

    def _one(self, token: int) -> int:
        return self._piece((token,), self._decoded((token,))[0][0])

    def _weighted_tokens(self, tokens: tuple[Weighted, ...]) -> list[list[Any]]:
        return [[self._one(one.id), _number(one.value)] for one in tokens]

    def _group(self, group: ExampleGroup) -> dict[str, Any]:
        bounds = [_number(group.low), _number(group.high), _number(group.share)]
        examples = [self._example(one) for one in group.examples]
        return {"name": group.name, "bounds": bounds, "examples": examples}

    def _example(self, example: Example) -> dict[str, Any]:
        tokens = tuple(self._corpus.tokens(example.start, example.length).tolist())
        found, at = [], 0
        for text, n_tokens in self._decoded(tokens):
            found.append(self._piece(tokens[at : at + n_tokens], text))
            at += n_tokens
        return {
            "at": [
                example.start // self._corpus.context_length,
                example.start % self._corpus.context_length,
            ],
            "pieces": found,
            "peak": example.peak,
            "places": [int(place) for place in example.places],
            "values": [_number(float(value)) for value in example.values],
            "document": self._document(example.start),
        }

    def _document(self, start: int) -> int | None:
        document = self._corpus.document(start)
        if document is None:
            return None
        parts = (document.title or document.id, document.source, document.licence)
        text = visible(" · ".join(part for part in parts if part))
        return self._documents.setdefault(text, len(self._documents))

    def _decoded(self, tokens: tuple[int, ...]) -> list[tuple[str, int]]:
        data = [self._corpus.token_bytes(token) for token in tokens]
        return [(piece.text, piece.n_tokens) for piece in pieces(data, as_replacement)]

    def _piece(self, tokens: tuple[int, ...], text: str) -> int:
        number = self._numbers.get(tokens)
        if number is None:
            number = self._numbers[tokens] = len(self._pieces)
            data = [[token, self._corpus.token_bytes(token).hex(" ")] for token in tokens]
            self._pieces.append([visible(text), data, int("\n" in text)])
        return number


def _score(score: Any) -> list[Any]:
    return [visible(score.scorer), *map(_number, (score.value, score.low, score.high)), score.n]


def _rule_figures(entry: Entry) -> list[float | int] | None:
    label = entry.label
    if label is None or not entry.is_known or label.precision is None or label.recall is None:
        return None
    return [_number(label.precision), _number(label.recall)]


def _number(value: float) -> float | int:
    """The value with the digits that the page shows; 3.0 becomes 3."""
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short.is_integer() else short
