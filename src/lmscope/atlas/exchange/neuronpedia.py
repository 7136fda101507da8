"""Neuronpedia: the files of its bulk import, and the payloads of its upload route.

Facts were read in Neuronpedia's own importer, converters and upload route. What its schemas do not
say is in `neuronpedia_lint`, which every export is put through.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lmscope.atlas.exchange.content import AtlasContent, Entry
from lmscope.atlas.exchange.described import described_as
from lmscope.atlas.exchange.neuronpedia_rows import (
    LatentRows,
    Names,
    NeuronpediaOptions,
    table_rows,
    truncated,
    unknown_to_neuronpedia,
)
from lmscope.atlas.exchange.texts import TokenTexts, as_byte_token
from lmscope.core.errors import ArtifactError
from lmscope.core.files import atomic_folder

FORMAT_VERSION: Final = 1
OWN_FOLDER: Final = "lmscope"
"""What the format has no place for; Neuronpedia reads only folders that it knows."""
OWN_FILE: Final = "atlas.json"
LATENTS_IN_A_BATCH: Final = 2048
LATENTS_IN_AN_UPLOAD: Final = 128
_UPLOAD_LOGITS: Final = 20
_UPLOAD_LABEL: Final = 512


def write_neuronpedia(
    content: AtlasContent, folder: Path, options: NeuronpediaOptions, *, vectors: bool = True
) -> Path:
    """Write the files of a bulk import.

    Args:
        content: What to write.
        folder: The folder to make; the files lie in `MODEL/SOURCE` within it, as the importer wants.
        options: Names and owner.
        vectors: Whether decoder rows go along, where the atlas has them; steering there needs them.

    Returns:
        The folder of the source.

    Raises:
        RecipeError: The site has no layer, or a name breaks a rule.
        ArtifactError: Something is at `folder`, or it cannot be written.
    """
    _new(folder)
    names = Names(content, options)
    texts = TokenTexts(content.corpus, as_byte_token)
    rows = LatentRows(content, names, options, texts, content.vectors if vectors else None)
    with atomic_folder(folder) as temporary:
        place = temporary / names.model / names.source
        for table, row in table_rows(content, names, options).items():
            _write_lines(place / f"{table}.jsonl", [row])
        entries, number = content.checked(), 0
        while batch := list(islice(entries, LATENTS_IN_A_BATCH)):
            _write_batch(place, number, batch, rows)
            number += 1
        described = described_as(FORMAT_VERSION, content)
        text = json.dumps({**described, "n_batches": number}, sort_keys=True, indent=1)
        (place / OWN_FOLDER / OWN_FILE).write_text(text + "\n", encoding="utf-8")
    return folder / names.model / names.source


def write_uploads(content: AtlasContent, folder: Path, options: NeuronpediaOptions) -> list[int]:
    """Write payloads for `POST /api/feature/upload-batch`, one file each.

    Args:
        content: What to write.
        folder: The folder to make.
        options: Names; model and source set must exist there and be yours.

    Returns:
        Latents that were left out, as the route takes none without an activation.

    Raises:
        RecipeError: The site has no layer, or a name breaks a rule.
        ArtifactError: Something is at `folder`, no latent ever fires, or it cannot be written.
    """
    _new(folder)
    names = Names(content, options)
    rows = LatentRows(content, names, options, TokenTexts(content.corpus, as_byte_token), None)
    left_out: list[int] = []

    def alive() -> Iterator[Entry]:
        for entry in content.checked():
            if any(group.examples for group in entry.record.groups):
                yield entry
            else:
                left_out.append(entry.record.latent)

    with atomic_folder(folder) as temporary:
        entries, number = alive(), 0
        while batch := list(islice(entries, LATENTS_IN_AN_UPLOAD)):
            features = [_upload(entry, rows) for entry in batch]
            payload = {"modelId": names.model, "source": names.source, "features": features}
            (temporary / f"batch-{number}.json").write_bytes(json_line(payload))
            number += 1
        if not number:
            raise ArtifactError(
                "None of the chosen latents ever fired, and the upload route takes none without an "
                "activation: choose others."
            )
    return left_out


def _upload(entry: Entry, rows: LatentRows) -> dict[str, Any]:
    record = entry.record

    def logits(found: Iterable[Any]) -> list[dict[str, Any]]:
        some = islice(found, _UPLOAD_LOGITS)
        return [{"token": rows.token(one.id), "value": truncated(one.value)} for one in some]

    explanations = [{"text": entry.shown[:_UPLOAD_LABEL]}] if entry.is_known else []
    activations = []
    for row in rows.activations(record):
        activation = {"tokens": row["tokens"], "values": row["values"]}
        activation |= {"quantileMin": row["binMin"], "quantileMax": row["binMax"]}
        if row["binContains"] >= 0:
            activation["quantileFraction"] = row["binContains"]
        activations.append(activation)
    return {
        "index": record.latent,
        "density": truncated(record.density, 8),
        "topLogits": logits(record.top_logits),
        "bottomLogits": logits(record.bottom_logits),
        "explanations": explanations,
        "activations": activations,
    }


def _write_batch(place: Path, number: int, batch: list[Entry], rows: LatentRows) -> None:
    tables = {
        "features": [rows.feature(entry) for entry in batch],
        "activations": [row for entry in batch for row in rows.activations(entry.record)],
        "explanations": [row for entry in batch for row in rows.explanation(entry)],
        OWN_FOLDER: [unknown_to_neuronpedia(entry.record) for entry in batch],
    }
    for table, lines in tables.items():
        if lines:
            _write_lines(place / table / f"batch-{number}.jsonl.gz", lines)


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(json_line(row) for row in rows)
    path.write_bytes(
        gzip.compress(data, compresslevel=6, mtime=0) if path.suffix == ".gz" else data
    )


def json_line(value: dict[str, Any]) -> bytes:
    r"""One value as a line.

    The importer replaces the six characters `\u0000` wherever they stand, also where they are the end
    of an escaped backslash and the text `u0000`, which would break the line. There the backslash is
    written as `\u005c`, which means the same.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("\\\\u0000", "\\u005cu0000").encode() + b"\n"


def _new(folder: Path) -> None:
    if folder.exists():
        raise ArtifactError(f"'{folder}' exists already: remove it or choose another name.")
