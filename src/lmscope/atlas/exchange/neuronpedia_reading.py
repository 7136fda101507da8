"""An atlas from the Neuronpedia files that lmscope wrote itself.

What Neuronpedia has a column for is read from its columns, to four decimals; the rest, and the ids of
tokens, from the folder `lmscope` beside them.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmscope.atlas.exchange.content import Entry
from lmscope.atlas.exchange.described import Described, read_described
from lmscope.atlas.exchange.neuronpedia import FORMAT_VERSION, OWN_FILE, OWN_FOLDER
from lmscope.atlas.explain.protocols import Label, Score
from lmscope.atlas.record import Example, ExampleGroup, LatentRecord, TokenFirings, Weighted
from lmscope.core.errors import ArtifactError

Row = Mapping[str, Any]


def find_neuronpedia(folder: Path) -> Path:
    """The folder of the one source that an export holds.

    Raises:
        ArtifactError: lmscope wrote no Neuronpedia files there, or several sources lie there.
    """
    if (folder / OWN_FOLDER / OWN_FILE).is_file():
        return folder
    found = sorted(path.parents[1] for path in folder.glob(f"*/*/{OWN_FOLDER}/{OWN_FILE}"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(path.relative_to(folder)) for path in found)
        raise ArtifactError(f"'{folder}' holds several sources ({names}): name one of them.")
    raise ArtifactError(
        f"'{folder}' holds no atlas that can be imported: a Parquet file or the Neuronpedia files of "
        "`lmscope atlas export` are needed; those of others lack positions and token ids."
    )


def read_neuronpedia_meta(place: Path) -> Described:
    """What the atlas says of itself and of its labels.

    Raises:
        ArtifactError: The file is damaged or of a newer format.
    """
    path = place / OWN_FOLDER / OWN_FILE
    return read_described(path.read_bytes(), FORMAT_VERSION, path)


def read_neuronpedia(place: Path) -> Iterator[tuple[Entry, np.ndarray | None]]:
    """Each latent with its decoder row, where there is one.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    own = place / OWN_FOLDER / OWN_FILE
    try:
        n_batches = json.loads(own.read_bytes())["n_batches"]
        for number in range(n_batches):
            yield from _read_batch(place, f"batch-{number}.jsonl.gz")
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, zlib.error) as error:
        reason = f"{type(error).__name__}: {error}".rstrip(".")
        raise ArtifactError(
            f"The Neuronpedia files in '{place}' are damaged or incomplete ({reason}): export the atlas again."
        ) from None


def _read_batch(place: Path, name: str) -> Iterator[tuple[Entry, np.ndarray | None]]:
    features = _lines(place / "features" / name)
    unknown = _lines(place / OWN_FOLDER / name)
    activations = _by_latent(place / "activations" / name)
    explanations = _by_latent(place / "explanations" / name)
    for feature, rest in zip(features, unknown, strict=True):
        index = feature["index"]
        if int(index) != rest["latent"]:
            raise ValueError(f"latent {index} stands beside {rest['latent']}")
        record = _record(feature, rest, activations.get(index, ()))
        said = explanations.get(index)
        label, scores = _label(record.latent, said[0]) if said else (None, ())
        vector = np.array(feature["vector"], dtype=np.float16) if feature["vector"] else None
        yield Entry(record, label, True, scores), vector


def _lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def _by_latent(path: Path) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in _lines(path) if path.exists() else ():
        found.setdefault(row["index"], []).append(row)
    return found


def _record(feature: Row, rest: Row, activations: Sequence[Row]) -> LatentRecord:
    n_examples = sum(len(group["peaks"]) for group in rest["groups"])
    if n_examples != len(activations):
        raise ValueError(
            f"latent {rest['latent']} has {len(activations)} of {n_examples} activations"
        )
    rows = iter(activations)
    groups = tuple(_group(group, rows) for group in rest["groups"])
    names = ("latent", "n_fired", "density", "mean", "n_stretches", "n_documents", "document_share")
    numbers: dict[str, Any] = {name: rest[name] for name in names}
    return LatentRecord(
        **numbers,
        max=feature["maxActApprox"],
        histogram=tuple(feature["freq_hist_data_bar_heights"]),
        groups=groups,
        silent=tuple(rest["silent"]),
        peak_tokens=_weighted(rest["peak_tokens"]),
        tokens=tuple(TokenFirings(*one) for one in rest["tokens"]),
        top_logits=_paired(rest["top_logits"], feature["pos_values"]),
        bottom_logits=_paired(rest["bottom_logits"], feature["neg_values"]),
        neighbours=_paired(feature["topkCosSimIndices"], feature["topkCosSimValues"]),
        coactive=_weighted(rest["coactive"]),
    )


def _group(group: Row, rows: Iterator[Row]) -> ExampleGroup:
    low, high, share = group["bounds"]
    examples = tuple(_example(next(rows), peak) for peak in group["peaks"])
    return ExampleGroup(group["name"], low, high, share, examples)


def _example(row: Row, peak: int) -> Example:
    values = np.array(row["values"], dtype=np.float32)
    places = np.flatnonzero(values).astype(np.int32)
    return Example(int(row["dataIndex"]), len(values), peak, places, values[places])


def _weighted(pairs: Sequence[Sequence[Any]]) -> tuple[Weighted, ...]:
    return tuple(Weighted(id_, value) for id_, value in pairs)


def _paired(ids: Sequence[int], values: Sequence[float]) -> tuple[Weighted, ...]:
    return tuple(Weighted(id_, value) for id_, value in zip(ids, values, strict=True))


def _label(latent: int, row: Row) -> tuple[Label, tuple[Score, ...]]:
    said = json.loads(row["notes"])
    rest = (said["rule"], said["precision"], said["recall"])
    label = Label(latent, row["description"], said["explainer"], *rest)
    return label, tuple(Score(**one) for one in said["scores"])
