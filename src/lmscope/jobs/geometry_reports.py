"""Findings of `geometry` in a run's folder: written whole, read back, shown as tables and pictures."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from torch import Tensor

from lmscope.core.errors import ArtifactError
from lmscope.core.tensor_files import write_tensors
from lmscope.dictionaries.geometry.report import (
    CURVE_COSINES,
    LayersReport,
    MapReport,
    MatchingReport,
    NeighbourReport,
    SplittingReport,
    definitions,
)
from lmscope.dictionaries.geometry.statistics import StatisticsReport
from lmscope.display.plots import line_plot
from lmscope.display.tables import Cell, Table
from lmscope.runs.artifact import read_manifest, write_artifact
from lmscope.runs.run import Run

KIND: Final = "geometry"
FORMAT_VERSION: Final = 1
REPORT_FILE: Final = "report.json"
ARRAYS_FILE: Final = "arrays.safetensors"
MAX_SITES_SHOWN: Final = 12
"""A matrix of more sites is too wide for a terminal and stays in its file."""
_LONGEST_NAME: Final = 180

Report = (
    SplittingReport | MatchingReport | LayersReport | NeighbourReport | StatisticsReport | MapReport
)
REPORTS: Final[dict[str, type[Report]]] = {
    "splitting": SplittingReport,
    "matching": MatchingReport,
    "layers": LayersReport,
    "neighbours": NeighbourReport,
    "statistics": StatisticsReport,
    "map": MapReport,
}
"""By folder under `artifacts/geometry`, in the order in which they are shown."""


class Finding(NamedTuple):
    """What one comparison found.

    Attributes:
        analysis: A key of `REPORTS`.
        report: Its figures.
        arrays: What it found for each latent, by name; latents by their number in the dictionary.
    """

    analysis: str
    report: Report
    arrays: Mapping[str, Tensor]


def write_finding(run: Run, name: str, finding: Finding) -> Path:
    """Write `artifacts/geometry/ANALYSIS/NAME` and the headline as a `result` event.

    The folder holds `report.json`, which says what each figure means, and `arrays.safetensors` with
    what was found for each latent. A picture is drawn in `artifacts/plots` where matplotlib is installed.
    """
    path = run.artifacts / KIND / finding.analysis / name
    draw(run.artifacts / "plots" / f"{finding.analysis}-{name}.png", finding.report)
    with write_artifact(path, KIND, FORMAT_VERSION) as folder:
        content = {
            "analysis": finding.analysis,
            "figures": finding.report.to_mapping(),
            "definitions": definitions(type(finding.report)),
        }
        text = json.dumps(content, indent=1, sort_keys=True)
        (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")
        if finding.arrays:
            plain = {key: t.detach().cpu().contiguous() for key, t in finding.arrays.items()}
            write_tensors(folder / ARRAYS_FILE, plain)
    run.event("result", name=f"{finding.analysis} {name}", figures=finding.report.headline())
    return path


def read_findings(run: Run) -> dict[str, dict[str, Report]]:
    """The reports of a run, by analysis and name.

    Raises:
        ArtifactError: One is damaged.
    """
    found: dict[str, dict[str, Report]] = {}
    for analysis, kind in REPORTS.items():
        for path in sorted((run.artifacts / KIND / analysis).glob("[!.]*")):
            found.setdefault(analysis, {})[path.name] = _read(path, kind)
    return found


def _read(path: Path, kind: type[Report]) -> Report:
    read_manifest(path, KIND, (FORMAT_VERSION,), verify=True)
    try:
        values = json.loads((path / REPORT_FILE).read_text(encoding="utf-8"))["figures"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"'{path / REPORT_FILE}' is damaged: {error}.") from None
    return kind.from_mapping(values, f"'{path}'")


def folder_name(names: Sequence[str]) -> str:
    """The names of the dictionaries of a comparison as one folder's; shortened, with a digest, if long."""
    text = ".with.".join(names)
    if len(text) <= _LONGEST_NAME:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{names[0][: _LONGEST_NAME - 40]}.with-{len(names) - 1}-more-{digest}"


def tables(analysis: str, reports: Mapping[str, Report]) -> list[Table]:
    """All findings of an analysis as tables: one for all, or one for each group of sites."""
    if analysis == "layers":
        return [
            table
            for report in reports.values()
            if isinstance(report, LayersReport)
            for table in _layer_tables(report)
        ]
    columns, row, caption = _TABLES[analysis]
    return [Table(columns, tuple(row(report) for report in reports.values()), caption=caption)]


def _splitting_row(report: SplittingReport) -> tuple[Cell, ...]:
    true, null = report.shares, report.shares_null
    shares = [
        f"{one:.1%} ({other:.1%})"
        for one, other in (
            (true.new, null.new),
            (true.split, null.split),
            (true.carried_over, null.carried_over),
            (true.lost, null.lost),
        )
    ]
    return (report.narrow, report.wide, f"{report.threshold:.3f}", *shares)


def _matching_row(report: MatchingReport) -> tuple[Cell, ...]:
    null = report.a_in_b.mean_max_cosine_null
    return (
        report.a,
        report.b,
        report.a_in_b.mean_max_cosine,
        report.b_in_a.mean_max_cosine,
        null["isotropic"],
        null["moments"],
        report.one_to_one.mean_cosine,
        report.one_to_one.method,
    )


def _neighbour_row(report: NeighbourReport) -> tuple[Cell, ...]:
    null = report.neighbour_share_null
    return (
        report.dictionary,
        report.threshold,
        f"{report.neighbour_share:.1%}",
        f"{null['isotropic']:.1%}",
        f"{null['moments']:.1%}",
        report.max_cosine,
        report.max_cosine_isotropic,
        report.n_clusters,
        report.largest_cluster,
    )


def _statistics_row(report: StatisticsReport) -> tuple[Cell, ...]:
    found = report.frequencies
    norms = (report.norms.rows, report.norms.mean)
    if found is None:
        return (report.dictionary, None, None, None, *norms)
    inactive = f"{found.inactive_share:.1%} ({_verdict(found.inactive_is_fine)})"
    ultra = f"{found.ultra_active_share:.1%} ({_verdict(found.ultra_active_is_fine)})"
    return (report.dictionary, found.n_tokens, inactive, ultra, *norms)


def _map_row(report: MapReport) -> tuple[Cell, ...]:
    shares = ", ".join(f"{share:.1%}" for share in report.explained_share or ())
    return (", ".join(report.dictionaries), report.method, sum(report.n_latents), shares or None)


def _verdict(is_fine: bool | None) -> str:
    return {True: "fine", False: "too many", None: "too few tokens to say"}[is_fine]


def _layer_tables(report: LayersReport) -> list[Table]:
    null = report.headline()["mean_max_cosine_null"]
    caption = f"Mean max cosine of a row's latents in a column's; {null:.3f} on average by chance"
    if len(report.names) > MAX_SITES_SHOWN:
        row = (len(report.names), report.headline()["mean_max_cosine"], null)
        return [Table(("dictionaries", "mean max cosine", "by chance"), (row,), caption=caption)]
    numbers = tuple(str(i + 1) for i in range(len(report.names)))
    rows = tuple(
        (number, name, *line)
        for number, name, line in zip(numbers, report.names, report.mean_max_cosine, strict=True)
    )
    return [Table(("", "dictionary", *numbers), rows, caption=caption)]


_Row = Callable[[Any], tuple[Cell, ...]]
_TABLES: Final[dict[str, tuple[tuple[str, ...], _Row, str]]] = {
    "splitting": (
        ("narrow", "wide", "threshold", "new", "split", "carried over", "lost"),
        _splitting_row,
        "Splitting: shares of latents, in brackets those of random rows",
    ),
    "matching": (
        ("a", "b", "a in b", "b in a", "isotropic", "moments", "one to one", "method"),
        _matching_row,
        "Matching: mean max cosine, beside that of random rows in the place of a",
    ),
    "neighbours": (
        (
            "dictionary",
            "threshold",
            "with a neighbour",
            "isotropic",
            "moments",
            "max cosine",
            "by chance",
            "clusters",
            "largest",
        ),
        _neighbour_row,
        "Neighbours: latents with another one above the Johnson-Lindenstrauss threshold",
    ),
    "statistics": (
        ("dictionary", "tokens", "inactive", "ultra-active", "norms of", "mean norm"),
        _statistics_row,
        "Statistics: against at most 10 % inactive over 100,000 tokens and 2 % ultra-active",
    ),
    "map": (
        ("dictionaries", "method", "latents", "variance along x, y"),
        _map_row,
        "Maps",
    ),
}


def draw(path: Path, report: Report) -> None:
    """A picture of a matching or a splitting; none of other findings, or without matplotlib.

    Raises:
        ArtifactError: The file cannot be written.
    """
    if find_spec("matplotlib") is None:
        return
    x, series = list(CURVE_COSINES), _series(report)
    if not series:
        return
    title, y_label = (
        (f"{report.a} in {report.b}", "share of latents at most so near")
        if isinstance(report, MatchingReport)
        else ("New latents by threshold", "share of wide latents that are new")
    )
    lines = {name: (x, list(ys)) for name, ys in series.items()}
    line_plot(path, lines, title=title, x_label="cosine of the best partner", y_label=y_label)


def _series(report: Report) -> dict[str, tuple[float, ...]]:
    match report:
        case MatchingReport():
            curve = report.a_in_b.curve
            return {"latents": curve.latents, **{f"random, {k}": v for k, v in curve.null.items()}}
        case SplittingReport():
            return {
                "wide latents": report.new_share_by_cosine,
                f"random rows, {report.threshold_null}": report.new_share_by_cosine_null,
            }
        case _:
            return {}
