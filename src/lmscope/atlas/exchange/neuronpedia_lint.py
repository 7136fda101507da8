"""Rules of Neuronpedia that no schema states, checked on files and payloads before they are sent.

Each was read in its importer (`lib/db/import.ts`), its page (`components/activations-list.tsx`), its
database schema or its upload route. A file that breaks one is often taken without a word and then
shows nothing, or the wrong thing.
"""

import gzip
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lmscope.atlas.exchange.neuronpedia_keys import KEYS, LISTS, PAIRED_LISTS, TABLES
from lmscope.core.errors import ArtifactError

_MOST_FINDINGS: Final = 100
_DECIMALS: Final = 4
_SOURCE: Final = re.compile(
    r"(?P<layer>\d+)-(?P<set>[a-z0-9][a-z0-9._-]*?)(?:__(?P<suffix>[a-z0-9._-]+))?"
)
_ID: Final = re.compile(r"[a-z][a-z0-9]{0,24}")
_BATCH: Final = re.compile(r"batch-\d+\.jsonl\.gz")
_EXACT: Final = ("frac_nonzero",)
"""Numbers that may have more decimals: four would make a rare latent one that never fires."""

Row = dict[str, Any]


def lint_export(place: Path) -> list[str]:
    """What is wrong with the files of a bulk import; nothing when it can be imported.

    Args:
        place: The folder of one source, `MODEL/SOURCE`.

    Returns:
        One sentence a finding, at most 100.

    Raises:
        ArtifactError: The folder is not there.
    """
    if not place.is_dir():
        raise ArtifactError(f"There is no folder '{place}' to check.")
    findings: list[str] = []
    for finding in _Export(place).check():
        findings.append(finding)
        if len(findings) == _MOST_FINDINGS:
            break
    return findings


class _Export:
    """One source on disk."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._single: dict[str, Row] = {}
        self._features: set[str] = set()
        self._ids: set[str] = set()

    def check(self) -> Iterator[str]:
        for table in ("release", "model", "sourceset", "source"):
            yield from self._check_single(table)
        if len(self._single) < 4:
            return
        yield from self._check_names()
        if not any((self._place / "features").glob("*")):
            yield "features: there is no batch, so the source would be empty."
        for table in TABLES:
            for path in sorted((self._place / table).glob("*")):
                if not _BATCH.fullmatch(path.name):
                    yield f"{table}/{path.name}: files are called batch-N.jsonl.gz."
                    continue
                yield from self._check_batch(table, path)

    def _check_single(self, table: str) -> Iterator[str]:
        path = self._place / f"{table}.jsonl"
        if not path.is_file():
            yield f"{path.name} is missing."
            return
        lines = path.read_bytes().splitlines()
        if len(lines) != 1:
            yield f"{path.name} has {len(lines)} lines, one is read."
            return
        row, finding = _parse(lines[0])
        if row is None:
            yield f"{path.name}: {finding}"
            return
        self._single[table] = row
        yield from (f"{path.name}: {one}" for one in _check_keys(table, row))

    def _check_names(self) -> Iterator[str]:
        one = self._single
        source, model = str(one["source"].get("id")), one["model"].get("id")
        match = _SOURCE.fullmatch(source)
        if match is None:
            yield f"The source is called '{source}': LAYER-SET or LAYER-SET__SUFFIX in small letters is read."
        elif match["set"] != one["source"].get("setName"):
            yield f"The source '{source}' says set '{match['set']}', its row '{one['source'].get('setName')}'."
        for table, key, wanted in (
            ("source", "modelId", model),
            ("sourceset", "modelId", model),
            ("sourceset", "name", one["source"].get("setName")),
            ("sourceset", "releaseName", one["release"].get("name")),
        ):
            if one[table].get(key) != wanted:
                yield f"{table}.jsonl says {key} '{one[table].get(key)}' where others say '{wanted}'."
        if self._place.name != source or self._place.parent.name != model:
            yield f"The files lie in '{self._place.parent.name}/{self._place.name}', the importer looks in '{model}/{source}'."

    def _check_batch(self, table: str, path: Path) -> Iterator[str]:
        where = f"{table}/{path.name}"
        try:
            lines = gzip.decompress(path.read_bytes()).splitlines()
        except (OSError, EOFError):
            yield f"{where} is no gzip file."
            return
        if not lines:
            yield f"{where} is empty; the importer reads its columns from the first line."
        for number, line in enumerate(lines, 1):
            row, finding = _parse(line)
            found = [finding] if row is None else self._check_row(table, row)
            yield from (f"{where}, line {number}: {one}" for one in found)

    def _check_row(self, table: str, row: Row) -> Iterator[str]:
        keys = list(_check_keys(table, row))
        yield from keys
        if keys:
            return
        source = self._single["source"]
        if (row["modelId"], row["layer"]) != (source.get("modelId"), source.get("id")):
            yield f"it belongs to '{row['modelId']}/{row['layer']}', not to this source ('layer' is its id)."
        if not re.fullmatch(r"\d+", str(row["index"])) or not isinstance(row["index"], str):
            yield f"index is {row['index']!r}, a string of digits is read."
        elif table == "features":
            yield from self._check_new(row["index"], self._features, "latent")
        elif row["index"] not in self._features:
            yield f"latent {row['index']} has no line in features, so the database refuses it."
        if table != "features":
            yield from self._check_new(row["id"], self._ids, "id")
            if not _ID.fullmatch(str(row["id"])):
                yield f"id '{row['id']}' is not 25 small letters and digits or fewer, a letter first."
        yield from _CHECKS[table](row)

    def _check_new(self, value: str, seen: set[str], what: str) -> Iterator[str]:
        if value in seen:
            yield f"{what} {value} is there twice; the second one is dropped without a word."
        seen.add(value)


def _parse(line: bytes) -> tuple[Row | None, str]:
    """The row, or why there is none."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return None, "it is not UTF-8."
    if "\\u0000" in text:
        return (
            None,
            r"it holds \u0000, which the importer replaces by a space, also behind a backslash.",
        )
    try:
        row = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        return None, f"it is not JSON ({error})."
    if not isinstance(row, dict):
        return None, "it is no object."
    if re.search(r"[\ud800-\udfff]", json.dumps(row, ensure_ascii=False)):
        return None, "it holds half of a surrogate pair, which the database refuses."
    return row, ""


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


def _check_keys(table: str, row: Row) -> Iterator[str]:
    """Columns are taken from the first line alone, so each line must have them all."""
    for key in sorted(KEYS[table] - row.keys()):
        yield f"'{key}' is missing; where there is no value, null is written."
    for key in sorted(row.keys() - KEYS[table]):
        yield f"'{key}' is no column of the table and would be dropped."
    for key in sorted(LISTS.get(table, frozenset()) & row.keys()):
        if not isinstance(row[key], list):
            yield f"'{key}' is {row[key]!r}, a list is read (an empty one where there is nothing)."


def _check_feature(row: Row) -> Iterator[str]:
    for names in PAIRED_LISTS:
        lengths = {name: len(row[name]) for name in names}
        if len(set(lengths.values())) > 1:
            yield "lists that belong together differ in length: " + ", ".join(
                f"{name} {n}" for name, n in lengths.items()
            )
    if not 0 <= row["frac_nonzero"] <= 1:
        yield f"frac_nonzero is {row['frac_nonzero']}, a share from 0 to 1 is read."
    if row["hasVector"] != bool(row["vector"]):
        yield f"hasVector is {row['hasVector']} with a vector of {len(row['vector'])} numbers."
    if row["hasVector"] and not row["hookName"]:
        yield "it has a vector without hookName, and steering would fail."
    if any(not isinstance(token, str) for name in ("pos_str", "neg_str") for token in row[name]):
        yield "pos_str and neg_str hold strings only."
    yield from _check_numbers(row)


def _check_activation(row: Row) -> Iterator[str]:
    tokens, values = row["tokens"], row["values"]
    if len(tokens) != len(values) or not tokens:
        yield f"it has {len(tokens)} tokens and {len(values)} values."
        return
    if row["maxValue"] != max(values) or row["minValue"] != min(values):
        yield f"maxValue {row['maxValue']} and minValue {row['minValue']} are not those of its values."
    elif row["maxValueTokenIndex"] != values.index(max(values)):
        yield f"maxValueTokenIndex is {row['maxValueTokenIndex']}, the largest value is at {values.index(max(values))}."
    if max(values) <= 0:
        yield "it fires nowhere; the page hides such examples."
    yield from _check_interval(row)
    yield from _check_numbers(row)


def _check_interval(row: Row) -> Iterator[str]:
    low, high, share = row["binMin"], row["binMax"], row["binContains"]
    if None in (low, high, share):
        yield "binMin, binMax or binContains is null: the page then shows it under no heading."
        return
    if low == -1 or share == -1:
        if (low, share) != (-1, -1):
            yield f"binMin {low} and binContains {share}: among the largest activations both are -1."
        elif high <= row["maxValue"]:
            yield f"binMax {high} does not exceed the value {row['maxValue']}: the page would move it into the strongest interval."
        return
    if not 0 <= low <= high:
        yield f"the interval from {low} to {high} is none."
    if not 0 <= share <= 1:
        yield f"binContains is {share}, a share from 0 to 1 is read."


def _check_explanation(row: Row) -> Iterator[str]:
    if not str(row["description"]).strip():
        yield "the description is empty."
    if row["embedding"] is not None and len(row["embedding"]) != 256:
        yield f"the embedding has {len(row['embedding'])} numbers, 256 or null are read."


_CHECKS: Final[Mapping[str, Callable[[Row], Iterator[str]]]] = {
    "features": _check_feature,
    "activations": _check_activation,
    "explanations": _check_explanation,
}


def _check_numbers(row: Row) -> Iterator[str]:
    for name, value in row.items():
        numbers = value if isinstance(value, list) else [value]
        for number in numbers:
            if not isinstance(number, float):
                continue
            if not math.isfinite(number):
                yield f"{name} holds {number}."
                break
            if name not in _EXACT and abs(round(number, _DECIMALS) - number) > 1e-12 * max(
                1.0, abs(number)
            ):
                yield f"{name} holds {number}; four decimals are usual, more only make the files larger."
                break


def lint_upload(payload: Mapping[str, Any]) -> list[str]:
    """What the upload route would refuse in one payload, at most 100 findings.

    Args:
        payload: The JSON object of one request.
    """
    return [
        finding for finding, _ in zip(_check_upload(payload), range(_MOST_FINDINGS), strict=False)
    ]


def _check_upload(payload: Mapping[str, Any]) -> Iterator[str]:
    for name in ("modelId", "source"):
        value = payload.get(name)
        if not isinstance(value, str) or not value:
            yield f"'{name}' is missing."
        elif value != value.lower():
            yield f"'{name}' is '{value}': the route makes letters small, and then finds nothing."
    features = payload.get("features") or []
    if not 1 <= len(features) <= 128:
        yield f"there are {len(features)} features, 1 to 128 are taken."
    indices = [feature.get("index") for feature in features]
    if len(set(indices)) != len(indices):
        yield "an index is there twice."
    for feature in features:
        yield from (f"latent {feature.get('index')}: {one}" for one in _check_uploaded(feature))


def _check_uploaded(feature: Mapping[str, Any]) -> Iterator[str]:
    index = feature.get("index")
    if not isinstance(index, int) or not 0 <= index <= 10_000_000:
        yield f"its index is {index!r}, a whole number up to 10,000,000 is taken."
    if not 0 <= feature.get("density", 0) <= 1:
        yield f"its density is {feature['density']}."
    for name in ("topLogits", "bottomLogits"):
        logits = feature.get(name) or []
        if len(logits) > 20:
            yield f"{name} has {len(logits)} tokens, 20 are taken."
        if any(not logit.get("token") for logit in logits):
            yield f"{name} has an empty token, which the route refuses."
    for explanation in feature.get("explanations") or []:
        if not 1 <= len(explanation.get("text") or "") <= 512:
            yield "an explanation has no text, or more than 512 characters."
    activations = feature.get("activations") or []
    if not activations:
        yield "it has no activation, and the route takes none without."
    for number, activation in enumerate(activations):
        yield from (f"activation {number} {one}" for one in _check_uploaded_activation(activation))


def _check_uploaded_activation(activation: Mapping[str, Any]) -> Iterator[str]:
    tokens, values = activation.get("tokens") or [], activation.get("values") or []
    if not 1 <= len(tokens) <= 1024:
        yield f"has {len(tokens)} tokens, 1 to 1024 are taken."
    if len(tokens) != len(values):
        yield f"has {len(tokens)} tokens and {len(values)} values."
    if any(not isinstance(token, str) or not token for token in tokens):
        yield "has an empty token, which the route refuses."
    if any(not isinstance(value, int | float) or not math.isfinite(value) for value in values):
        yield "has a value that is no number."
    share = activation.get("quantileFraction")
    if share is not None and not 0 <= share <= 1:
        yield f"has quantileFraction {share}, a share from 0 to 1 is taken."
