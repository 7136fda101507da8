"""Examples of a task from files and from the Hugging Face hub, each row checked."""

import json
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

from lmscope.core.errors import DataError, did_you_mean
from lmscope.text.document import Document
from lmscope.text.hub import HubAddress, HubSource
from lmscope.text.tasks.choices.example import ChoiceExample
from lmscope.text.tasks.choices.rows import file_rows, plain_name
from lmscope.text.tasks.choices.task import ChoiceTask, Columns, Layout

OWN: Final = "own"
"""The layout of one's own files: JSON lines or a table with a header, columns named as the fields, and `label`."""
HUB: Final = "hf:"
"""What the address of a dataset on the hub begins with."""
_ABSENT: Final = object()


class Examples(NamedTuple):
    """What was read.

    Attributes:
        examples: In the order of the rows.
        n_unlabelled: Rows that were left out because nobody gave them a label.
        n_empty: Rows that were left out because they have a label and no text.
    """

    examples: tuple[ChoiceExample, ...]
    n_unlabelled: int
    n_empty: int


def read_examples(
    task: ChoiceTask,
    source: str | Path,
    *,
    layout: str = "",
    every_label: bool = True,
    revision: str | None = None,
) -> Examples:
    """The examples of a task in one file or one split of a dataset.

    Args:
        task: Says how rows become examples.
        source: A path, or an address on the hub such as `hf:nyu-mll/glue@sst2:train`.
        layout: Name of one of the task's layouts, or `own`; empty takes the one whose pattern fits the file's name,
            and `own` where none does.
        every_label: Whether a class without any example is an error; a test set may lack one.
        revision: Commit, branch or tag of a dataset on the hub.

    Raises:
        DataError: There is no such file or dataset, it holds no example, or a row lacks a column or has an unknown
            label; one sentence with file and line.
    """
    text = str(source)
    if text.startswith(HUB):
        columns, rows = _hub_columns(task, text), _hub_rows(text, revision)
    else:
        path = Path(text).expanduser()
        columns = _layout(task, path, layout)
        rows = ((f"'{path}' line {row.number}", row.values) for row in file_rows(path, columns))
    found = [_example(task, columns, values, place) for place, values in rows]
    labelled = [example for example in found if example is not None]
    examples = tuple(example for example in labelled if example.fields["text"])
    n_unlabelled, n_empty = len(found) - len(labelled), len(labelled) - len(examples)
    if not examples:
        raise DataError(
            f"'{text}' holds no example: it has {len(found)} rows, {n_unlabelled} without a label and {n_empty} "
            f"without a text. Give a file of task '{task.name}'."
        )
    if every_label:
        _check_labels(task, examples, text)
    return Examples(examples, n_unlabelled, n_empty)


def _check_labels(task: ChoiceTask, examples: Iterable[ChoiceExample], source: str) -> None:
    found = {example.label for example in examples}
    absent = [name for label, name in enumerate(task.labels) if label not in found]
    if absent:
        raise DataError(
            f"'{source}' has no example of '{absent[0]}'{_more(absent)}, a label of task '{task.name}': give a file "
            "that has every label, or a task without it."
        )


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _layout(task: ChoiceTask, path: Path, name: str) -> Layout:
    """The layout that is named, else the one whose pattern fits the file's name.

    Raises:
        DataError: There is none of that name, or several fit, or none.
    """
    if name and name != OWN:
        if name not in task.layouts:
            raise DataError(
                f"Task '{task.name}' has no layout '{name}'.{did_you_mean(name, [*task.layouts, OWN])}"
            )
        return task.layouts[name]
    file = plain_name(path)
    fitting = {
        key: layout
        for key, layout in task.layouts.items()
        if any(fnmatchcase(file, pattern.lower()) for pattern in layout.files)
    }
    if name == OWN or not fitting:
        return _own_layout(task, path)
    if len(fitting) > 1:
        raise DataError(
            f"'{path}' may be of layout {' or '.join(fitting)} of task '{task.name}': say which with layout=NAME, or "
            f"'{OWN}' for columns {', '.join((*task.fields, 'label'))}."
        )
    return next(iter(fitting.values()))


def _own_layout(task: ChoiceTask, path: Path) -> Layout:
    form = {".jsonl": "json-lines", ".json": "json-lines", ".csv": "table", ".tsv": "table"}
    suffix = Path(plain_name(path)).suffix
    if suffix not in form:
        known = "".join(f", {name} ({', '.join(x.files)})" for name, x in task.layouts.items())
        raise DataError(
            f"'{path}' fits no layout of task '{task.name}': give a .jsonl, .csv or .tsv file with the columns "
            f"{', '.join((*task.fields, 'label'))}, or say which layout it has{known}."
        )
    return Layout.from_mapping(
        {
            "format": form[suffix],
            "separator": "\t" if suffix == ".tsv" else ",",
            "label": "label" if task.labels else "",
            "options": "options" if task.row_options else "",
        }
    )


def _hub_columns(task: ChoiceTask, address: str) -> Columns:
    if task.hub is None:
        raise DataError(
            f"Task '{task.name}' does not say how '{address}' is read: give a file, or a task of your own with a "
            "[hub] table."
        )
    return task.hub


class _WholeRow:
    """Makes of a row a document that is the row, as JSON: rows come through the reader of all hub data."""

    column = "*"
    fingerprint = "whole-row"

    def document(self, row: Mapping[str, Any], place: str, source: str) -> Document:
        """The row as text."""
        text = json.dumps(dict(row), ensure_ascii=False, default=str)
        return Document(place, text, place, source, "unknown", place)


def _hub_rows(address: str, revision: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    source = HubSource(address, HubAddress.parse(address), _WholeRow(), revision)
    for number, document in enumerate(source.documents(), start=1):
        yield f"'{address}' row {number}", json.loads(document.text)


def _example(
    task: ChoiceTask, columns: Columns, values: Mapping[str, Any], place: str
) -> ChoiceExample | None:
    """The example that a row holds; None where nobody labelled it."""
    label = _label(task, columns, values, place)
    if label is None:
        return None
    fields = {
        field: _field(columns, values, columns.columns.get(field, field), place)
        for field in task.fields
    }
    options = _options(columns, values, place) if task.row_options else ()
    if not columns.label and not options:
        options = ("",)  # a question that its text does not answer
    if task.row_options and label >= len(options):
        raise DataError(
            f"{place} has {len(options)} options and its label is number {label + 1}: mend or remove the row."
        )
    if task.labels and len(options) > len(task.labels):
        raise DataError(
            f"{place} has {len(options)} options, and task '{task.name}' has letters for {len(task.labels)}: remove "
            "the row, or write a task with more labels."
        )
    return ChoiceExample(fields, label, options)


def _label(task: ChoiceTask, columns: Columns, values: Mapping[str, Any], place: str) -> int | None:
    if not columns.label:
        return 0
    found = _plain(_cell(values, columns.label, place)).strip()
    if found in columns.unlabelled:
        return None
    name = columns.labels.get(found) if columns.labels else found
    if name not in task.labels:
        known = list(columns.labels or task.labels)
        raise DataError(
            f"{place} has the label '{found[:40]}', which task '{task.name}' does not know.{did_you_mean(found, known)} "
            "Mend the row, or the labels of the task."
        )
    return task.labels.index(name)


def _field(
    columns: Columns, values: Mapping[str, Any], names: str | tuple[str, ...], place: str
) -> str:
    parts = [names] if isinstance(names, str) else names
    cells = (_cell(values, name, place) for name in parts)
    return columns.joiner.join(
        columns.joiner.join(map(_plain, cell)) if isinstance(cell, list) else _plain(cell)
        for cell in cells
    ).strip()


def _options(columns: Columns, values: Mapping[str, Any], place: str) -> tuple[str, ...]:
    if not isinstance(columns.options, str):
        return tuple(_plain(_cell(values, name, place)) for name in columns.options)
    found = _cell(values, columns.options, place)
    if isinstance(found, list):
        return tuple(map(_plain, found))
    return (_plain(found),)


def _cell(values: Mapping[str, Any], name: str, place: str) -> Any:
    """A value by column; a dot leads into a table of its own."""
    found: Any = values.get(name, _ABSENT)
    if found is _ABSENT:
        found = values
        for part in name.split("."):
            found = found.get(part, _ABSENT) if isinstance(found, Mapping) else _ABSENT
    if found is _ABSENT:
        raise DataError(
            f"{place} has no column '{name}'; it has {', '.join(values) or 'none'}. Give a file that has it, or say "
            "which layout this one has."
        )
    return found


def _plain(value: Any) -> str:
    """A value as people write it: true, not True."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
