"""One Parquet file: one row a latent, with everything that its record, label and vector hold.

The file is read back exactly. `tokens` and `text` of an example are there for readers without the
corpus; a re-import takes positions and the corpus instead.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from lmscope.atlas.exchange.content import AtlasContent, Entry
from lmscope.atlas.exchange.described import Described, described_as, read_described
from lmscope.atlas.exchange.texts import TokenTexts, as_replacement
from lmscope.atlas.explain.protocols import Label, Score
from lmscope.atlas.record import Example, ExampleGroup, LatentRecord, TokenFirings, Weighted
from lmscope.core.errors import ArtifactError
from lmscope.core.files import atomic_path

FORMAT_VERSION: Final = 1
_KEY: Final = b"lmscope"
_ROWS: Final = 256
"""Latents of a row group: one can be read without the rest, and lists still compress well."""
_NUMBERS: Final = (
    *("latent", "n_fired", "density", "mean", "max", "n_stretches"),
    *("n_documents", "document_share"),
)
_TOKEN_LISTS: Final = ("peak_tokens", "top_logits", "bottom_logits")
_LATENT_LISTS: Final = ("neighbours", "coactive")


def write_parquet(content: AtlasContent, path: Path, *, vectors: bool = True) -> None:
    """Write an atlas as one Parquet file.

    Args:
        content: What to write.
        path: The file; one that is there is replaced.
        vectors: Whether decoder rows go along, where the atlas has them.

    Raises:
        ArtifactError: pyarrow is not installed, or the file cannot be written.
    """
    arrow, parquet = _pyarrow()
    texts = TokenTexts(content.corpus, as_replacement)
    decoder = content.vectors if vectors else None
    described = described_as(FORMAT_VERSION, content)
    schema = _schema(arrow).with_metadata({_KEY: json.dumps(described, sort_keys=True).encode()})
    with (
        atomic_path(path) as temporary,
        parquet.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        entries = content.checked()
        while block := list(islice(entries, _ROWS)):
            rows = [_row(entry, texts, content, decoder) for entry in block]
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))


def read_parquet_meta(path: Path) -> Described:
    """What the atlas of a Parquet file says of itself and of its labels.

    Raises:
        ArtifactError: The file is missing, damaged, or not one that lmscope wrote.
    """
    with _opened(path) as file:
        return _meta(path, file.schema_arrow.metadata or {})


def read_parquet(path: Path) -> Iterator[tuple[Entry, np.ndarray | None]]:
    """Each latent with its decoder row, in the order of the file.

    Raises:
        ArtifactError: The file is missing, damaged, or not one that lmscope wrote.
    """
    arrow, _ = _pyarrow()
    with _opened(path) as file:
        _meta(path, file.schema_arrow.metadata or {})
        try:
            for batch in file.iter_batches(batch_size=_ROWS):
                yield from (_read_row(row) for row in batch.to_pylist())
        except (arrow.ArrowException, OSError) as error:
            raise ArtifactError(_damaged(path, error)) from None


def _meta(path: Path, metadata: Mapping[bytes, bytes]) -> Described:
    if _KEY not in metadata:
        raise ArtifactError(
            f"'{path}' is a Parquet file, but no atlas: only files of `lmscope atlas export --parquet` "
            "can be imported."
        )
    return read_described(metadata[_KEY], FORMAT_VERSION, path)


def _opened(path: Path) -> Any:
    arrow, parquet = _pyarrow()
    try:
        return parquet.ParquetFile(path)
    except FileNotFoundError:
        raise ArtifactError(f"There is no file '{path}': check the path.") from None
    except (arrow.ArrowException, OSError) as error:
        raise ArtifactError(_damaged(path, error)) from None


def _damaged(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return f"'{path}' cannot be read as Parquet ({reason}): copy it again."


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ArtifactError(
            "Parquet needs pyarrow, which is not installed: pip install 'lmscope[export]'."
        ) from None
    return pyarrow, pyarrow.parquet


def _schema(arrow: Any) -> Any:
    def rows(**fields: Any) -> Any:
        return arrow.list_(arrow.struct(fields))

    i32, i64, real, text = arrow.int32(), arrow.int64(), arrow.float64(), arrow.string()
    token = rows(id=i32, value=real, text=text)
    example = rows(
        start=i64,
        length=i32,
        peak=i32,
        places=arrow.list_(i32),
        values=arrow.list_(arrow.float32()),
        tokens=arrow.list_(i32),
        text=text,
    )
    numbers = {
        name: real if name in ("density", "mean", "max", "document_share") else i64
        for name in _NUMBERS
    }
    return arrow.schema(
        {
            **numbers,
            "histogram": arrow.list_(i64),
            "groups": rows(name=text, low=real, high=real, share=real, examples=example),
            "silent": arrow.list_(i64),
            "tokens": rows(token=i32, n_fired=i64, n_seen=i64, text=text),
            **dict.fromkeys(_TOKEN_LISTS, token),
            **dict.fromkeys(_LATENT_LISTS, rows(id=i32, value=real)),
            "label": arrow.struct(
                {
                    **{"text": text, "explainer": text, "rule": text},
                    **{"precision": real, "recall": real, "known": arrow.bool_()},
                }
            ),
            "scores": rows(scorer=text, value=real, low=real, high=real, n=i64),
            "vector": arrow.list_(arrow.float16()),
        }
    )


def _row(
    entry: Entry, texts: TokenTexts, content: AtlasContent, decoder: np.ndarray | None
) -> dict[str, Any]:
    record = entry.record
    return {
        **{name: getattr(record, name) for name in _NUMBERS},
        "histogram": list(record.histogram),
        "groups": [_group(group, texts, content) for group in record.groups],
        "silent": list(record.silent),
        "tokens": [{**vars(one), "text": texts.one(one.token)} for one in record.tokens],
        **{
            name: [{**vars(one), "text": texts.one(one.id)} for one in getattr(record, name)]
            for name in _TOKEN_LISTS
        },
        **{name: [vars(one) for one in getattr(record, name)] for name in _LATENT_LISTS},
        "label": _label(entry),
        "scores": [vars(score) for score in entry.scores],
        "vector": None if decoder is None else decoder[record.latent].astype(np.float16),
    }


def _group(group: ExampleGroup, texts: TokenTexts, content: AtlasContent) -> dict[str, Any]:
    examples = []
    for one in group.examples:
        tokens = content.corpus.tokens(one.start, one.length)
        values = {"start": one.start, "length": one.length, "peak": one.peak}
        arrays = {"places": one.places, "values": one.values, "tokens": tokens}
        examples.append({**values, **arrays, "text": texts.joined(tokens)})
    bounds = {"name": group.name, "low": group.low, "high": group.high, "share": group.share}
    return {**bounds, "examples": examples}


def _label(entry: Entry) -> dict[str, Any] | None:
    label = entry.label
    if label is None:
        return None
    return {
        "text": label.text,
        "explainer": label.explainer,
        "rule": None if label.rule is None else json.dumps(label.rule, sort_keys=True),
        "precision": label.precision,
        "recall": label.recall,
        "known": entry.known,
    }


def _read_row(row: dict[str, Any]) -> tuple[Entry, np.ndarray | None]:
    values: dict[str, Any] = {name: row[name] for name in _NUMBERS}
    for name in (*_TOKEN_LISTS, *_LATENT_LISTS):
        values[name] = tuple(Weighted(one["id"], one["value"]) for one in row[name])
    for name in ("histogram", "silent"):
        values[name] = tuple(row[name])
    record = LatentRecord(
        **values,
        groups=tuple(_read_group(group) for group in row["groups"]),
        tokens=tuple(TokenFirings(t["token"], t["n_fired"], t["n_seen"]) for t in row["tokens"]),
    )
    scores = tuple(Score(**score) for score in row["scores"])
    label, known = _read_label(record.latent, row["label"])
    vector = None if row["vector"] is None else np.array(row["vector"], dtype=np.float16)
    return Entry(record, label, known, scores), vector


def _read_group(group: dict[str, Any]) -> ExampleGroup:
    examples = tuple(
        Example(
            start=one["start"],
            length=one["length"],
            peak=one["peak"],
            places=np.array(one["places"], dtype=np.int32),
            values=np.array(one["values"], dtype=np.float32),
        )
        for one in group["examples"]
    )
    return ExampleGroup(group["name"], group["low"], group["high"], group["share"], examples)


def _read_label(latent: int, row: dict[str, Any] | None) -> tuple[Label | None, bool]:
    if row is None:
        return None, True
    rule = None if row["rule"] is None else json.loads(row["rule"])
    label = Label(latent, row["text"], row["explainer"], rule, row["precision"], row["recall"])
    return label, row["known"]
