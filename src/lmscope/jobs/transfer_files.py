"""What a transfer leaves in a run's folder: each condition's sums, the table, a picture."""

import json
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError
from lmscope.core.tensor_files import read_tensors, write_tensors
from lmscope.dictionaries.report import HealthReport
from lmscope.dictionaries.transfer import Measured, TransferReport, TransferRow
from lmscope.display.plots import line_plot
from lmscope.display.tables import Cell, Table
from lmscope.evaluation.contrasts import Contrast, Measurement
from lmscope.evaluation.statistics import ContextSums, Estimate
from lmscope.runs.artifact import read_manifest, write_artifact

CONDITION, TRANSFER = "transfer condition", "transfer"
FORMAT_VERSION: Final = 1


class _Place(Config):
    """Of a condition's contexts."""

    context_length: int
    text: str
    is_packed: bool


def write_measured(path: Path, found: Measured) -> None:
    """Keep a condition: `report.json`, `place.json` and `sums.safetensors`."""
    at = found.activations
    place = _Place(context_length=at.context_length, text=at.text, is_packed=at.is_packed)
    tensors = {"first_context": torch.from_numpy(at.first_context)}
    for part, measurement in (("activations", found.activations), ("losses", found.losses)):
        columns = {} if measurement is None else measurement.sums.columns
        tensors |= {f"{part}/{name}": torch.from_numpy(c) for name, c in columns.items()}
    with write_artifact(path, CONDITION, FORMAT_VERSION) as folder:
        _write_json(folder / "report.json", found.report)
        _write_json(folder / "place.json", place)
        write_tensors(folder / "sums.safetensors", {k: t.contiguous() for k, t in tensors.items()})


def read_measured(path: Path) -> Measured:
    """What `write_measured` wrote.

    Raises:
        ArtifactError: It is missing, damaged or of another format.
    """
    read_manifest(path, CONDITION, (FORMAT_VERSION,), verify=True)
    report = HealthReport.from_mapping(_read_json(path / "report.json"), f"'{path}'")
    place = _Place.from_mapping(_read_json(path / "place.json"), f"'{path}'")
    tensors = read_tensors(path / "sums.safetensors")
    first_context = tensors.pop("first_context").numpy()

    def measurement(part: str) -> Measurement | None:
        sums = _sums(part, tensors)
        return sums and Measurement(sums, first_context, **place.model_dump())

    activations = measurement("activations")
    if activations is None:
        raise ArtifactError(f"'{path}' holds no sums of activations: measure it anew.")
    return Measured(report, activations, measurement("losses"))


def write_transfer(path: Path, report: TransferReport) -> None:
    """Write a dictionary's table as `transfer.json`."""
    with write_artifact(path, TRANSFER, FORMAT_VERSION) as folder:
        _write_json(folder / "transfer.json", report)


def read_transfer(path: Path) -> TransferReport:
    """What `write_transfer` wrote.

    Raises:
        ArtifactError: It is missing, damaged or of another format.
    """
    read_manifest(path, TRANSFER, (FORMAT_VERSION,), verify=True)
    return TransferReport.from_mapping(_read_json(path / "transfer.json"), f"'{path}'")


_LABELS: Final = {
    "explained_variance_centred": "explained variance, centred",
    "normalised_mse": "normalised MSE",
    "l0": "L0",
    "ce_recovered_zero": "CE recovered, against zero",
    "ce_recovered_mean": "CE recovered, against mean",
    "ce_increase": "CE increase (nats)",
    "kl": "KL from clean (nats)",
    "ce_clean": "CE of the clean model (nats)",
}


def transfer_table(report: TransferReport) -> Table:
    """One block a figure and one line a condition: the figure, and its difference from home."""
    rows: list[tuple[Cell, ...]] = []
    for name, label in _LABELS.items():
        for row in report.rows:
            if (found := row.figures.get(name)) is not None:
                rows.append((label, *_where(row), _text(found), _change(row, name)))
    for row in report.rows:
        dead = f"{row.n_dead} ({row.dead_fraction:.1%})"
        rows.append(("latents that never fire", *_where(row), dead, None))
    columns = ("figure", "model", "context", "value", "minus home")
    return Table(columns, _without_repeats(rows), caption=_caption(report))


def positions_table(report: TransferReport) -> Table:
    """Normalised MSE by position, one column a condition, and the mean squared error against home's."""
    places = {(p.first, p.last): None for row in report.rows for p in row.positions}
    rows: list[tuple[Cell, ...]] = []
    for first, last in sorted(places):
        for row in report.rows:
            for p in row.positions:
                if (p.first, p.last) == (first, last):
                    values = (p.l0, p.normalised_mse, p.mse_over_home)
                    rows.append((f"{first}-{last}", *_where(row), *map(_text, values)))
    columns = ("positions", "model", "context", "L0", "normalised MSE", "MSE / MSE at home")
    return Table(columns, _without_repeats(rows), caption=f"{report.dictionary}, by position")


def draw_positions(path: Path, report: TransferReport) -> None:
    """Draw normalised MSE by position, one line a condition.

    Raises:
        LmscopeError: matplotlib is not installed.
    """
    lines = {}
    for row in report.rows:
        points = [(p, p.normalised_mse) for p in row.positions]
        xs = [(p.first + p.last) / 2 for p, error in points if error is not None]
        ys = [error.value for _, error in points if error is not None]
        lines[f"{_short(row.model)}, {row.context_length}"] = (xs, ys)
    line_plot(
        path,
        lines,
        title="Error by position in the context",
        x_label="position (middle of its bucket)",
        y_label="normalised mean squared error",
        log_x=True,
    )


def _caption(report: TransferReport) -> str:
    home, trained = report.rows[0], report.trained_on
    weights = f" (weights {trained.model_hash[:12]})" if trained.model_hash else ""
    measured_on = {row.model: row.model_hash[:12] for row in report.rows}
    others = ", ".join(f"'{_short(name)}' (weights {h})" for name, h in measured_on.items())
    pairs = {c.paired for row in report.rows for c in row.differences.values()}
    how = {
        frozenset({True}): "paired by stretches of the same text",
        frozenset({False}): "unpaired: the text is not the same",
    }.get(frozenset(pairs), "paired where marked p, unpaired where marked u")
    return (
        f"{report.dictionary}: trained on '{_short(trained.model or 'unknown')}'{weights}, measured on "
        f"{others}; {home.n_tokens:,} tokens at home; differences {how}."
    )


def _where(row: TransferRow) -> tuple[Cell, Cell]:
    return _short(row.model), row.context_length


def _short(model: str) -> str:
    """The last part of a path."""
    return Path(model).name or model


def _change(row: TransferRow, name: str) -> str | None:
    contrast = row.differences.get(name)
    return None if contrast is None else f"{_text(contrast, '+')} {'p' if contrast.paired else 'u'}"


def _text(estimate: Estimate | Contrast | None, sign: str = "") -> str | None:
    if estimate is None:
        return None
    shown = f"{estimate.value:{sign}.3f}"
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return shown
    return f"{shown} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


def _without_repeats(rows: list[tuple[Cell, ...]]) -> tuple[tuple[Cell, ...], ...]:
    """The first cell only where it changes."""
    before: Cell = None
    shown = []
    for row in rows:
        shown.append(("" if row[0] == before else row[0], *row[1:]))
        before = row[0]
    return tuple(shown)


def _sums(part: str, tensors: dict[str, Tensor]) -> ContextSums | None:
    columns = {
        name.removeprefix(f"{part}/"): tensor.numpy()
        for name, tensor in tensors.items()
        if name.startswith(f"{part}/")
    }
    if not columns:
        return None
    sums = ContextSums(*columns["n"].shape)
    sums.columns = columns
    return sums


def _write_json(path: Path, value: Config) -> None:
    text = json.dumps(value.to_mapping(), indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"'{path}' is damaged: {error}.") from None
