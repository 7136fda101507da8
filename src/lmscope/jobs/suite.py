"""The table of a suite: one row a dictionary, on disk while the run goes on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError
from lmscope.core.files import write_text
from lmscope.dictionaries.config import DictionaryConfig
from lmscope.dictionaries.report import HealthReport
from lmscope.display.tables import Cell, Table
from lmscope.runs.run import Run

FILE: Final = "suite.json"
FORMAT_VERSION: Final = 1
COLUMNS: Final = (
    "dictionary",
    "group",
    "L0",
    "EV (centred)",
    "CE recovered",
    "dead",
    "tokens",
    "hours",
    "status",
)


class SuiteRow(Config):
    """What a suite says of one dictionary; figures are absent until they are measured."""

    name: str
    reads: str
    writes: str
    n_latents: int
    group: int
    """Of the dictionaries that were trained side by side, from 1."""
    status: str = "waiting"
    """`waiting`, `trained`, `measured` or `failed`."""
    n_tokens: int | None = None
    """Training tokens, passes counted."""
    train_hours: float | None = None
    """Wall time of the group's training, an equal share of it; rows add up to the whole."""
    l0: float | None = None
    explained_variance_centred: float | None = None
    ce_recovered_zero: float | None = None
    dead_fraction: float | None = None
    problem: str | None = None
    """Why it failed, or what was not measured."""


class Suite:
    """The rows of a run's dictionaries, kept in `artifacts/suite.json` where there are several.

    Args:
        run: Whose.
        rows: One for each dictionary, as it is before anything is trained; what the file holds
            already is taken from there.
        writes: Whether this process keeps the file; of several the first does.
    """

    def __init__(self, run: Run, rows: Sequence[SuiteRow], *, writes: bool = True) -> None:
        self._writes = writes
        self._path = run.artifacts / FILE
        known = {row.name: row for row in read_suite(run.path)} if self._path.exists() else {}
        self._rows = {
            row.name: known[row.name].model_copy(update={"group": row.group})
            if row.name in known
            else row
            for row in rows
        }

    def __getitem__(self, name: str) -> SuiteRow:
        return self._rows[name]

    def trained(self, names: Sequence[str], n_tokens: int, seconds: float) -> None:
        """Add training time to the rows of a group, shared evenly, and say how far it is."""
        for name in names:
            hours = (self._rows[name].train_hours or 0.0) + seconds / 3600 / len(names)
            self._change(name, n_tokens=n_tokens, train_hours=hours, problem=None)
        self._write()

    def finished(self, name: str, report: HealthReport | None) -> None:
        """Note that a dictionary is saved, and how good it is where that was measured."""
        if report is None:
            self._change(name, status="trained", problem=None)
        else:
            figures = report.headline()
            wanted = ("l0", "explained_variance_centred", "ce_recovered_zero", "dead_fraction")
            self._change(
                name,
                status="measured",
                problem=" ".join(report.notes) or None,
                **{key: figures[key] for key in wanted},
            )
        self._write()

    def failed(self, names: Sequence[str], problem: str) -> None:
        """Note why some dictionaries were not finished."""
        for name in names:
            if self._rows[name].status == "waiting":
                self._change(name, status="failed", problem=problem)
        self._write()

    def _change(self, name: str, **changes: Any) -> None:
        self._rows[name] = self._rows[name].model_copy(update=changes)

    def _write(self) -> None:
        if len(self._rows) == 1 or not self._writes:
            return  # its report says it all
        rows = [row.to_mapping() for row in self._rows.values()]
        text = json.dumps({"format": FORMAT_VERSION, "dictionaries": rows}, indent=1)
        write_text(self._path, text + "\n")


def waiting_row(name: str, config: DictionaryConfig, group: int) -> SuiteRow:
    """The row of a dictionary that is still to be trained."""
    return SuiteRow(
        name=name,
        reads=config.reads[0],
        writes=config.writes[0],
        n_latents=config.n_latents,
        group=group,
    )


def read_suite(run: Path | str) -> list[SuiteRow]:
    """The rows of a run's suite table; none when the run trained one dictionary only.

    Raises:
        ArtifactError: The file is damaged or of a newer format.
    """
    path = Path(run) / "artifacts" / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT_VERSION:
            raise ArtifactError(
                f"'{path}' has format {values['format']}, this lmscope reads {FORMAT_VERSION}: "
                "upgrade lmscope."
            )
        return [SuiteRow.model_validate(row) for row in values["dictionaries"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise ArtifactError(
            f"'{path}' is damaged ({first}): delete it; the reports beside it hold the same figures."
        ) from None


def suite_table(rows: Sequence[SuiteRow]) -> Table:
    """The rows for the eye, problems below in the caption."""
    found = [row.status for row in rows]
    counts = {word: found.count(word) for word in ("measured", "trained", "failed", "waiting")}
    said = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    return Table(COLUMNS, tuple(map(_cells, rows)), caption=f"{len(rows)} dictionaries: {said}")


def problems(rows: Sequence[SuiteRow]) -> Mapping[str, str]:
    """What went wrong or was left out, by dictionary."""
    return {row.name: row.problem for row in rows if row.problem}


def _cells(row: SuiteRow) -> tuple[Cell, ...]:
    return (
        row.name,
        str(row.group),
        None if row.l0 is None else f"{row.l0:.1f}",
        _three(row.explained_variance_centred),
        _three(row.ce_recovered_zero),
        None if row.dead_fraction is None else f"{row.dead_fraction:.1%}",
        row.n_tokens,
        None if row.train_hours is None else round(row.train_hours, 4),
        row.status,
    )


def _three(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
