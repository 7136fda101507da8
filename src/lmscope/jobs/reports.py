"""Health reports in a run's folder: written whole, read back, shown as tables."""

import json
from pathlib import Path

from lmscope.core.errors import ArtifactError
from lmscope.dictionaries.health import Health
from lmscope.dictionaries.report import HealthReport
from lmscope.display.tables import Cell, Table
from lmscope.evaluation.statistics import Estimate
from lmscope.runs.artifact import read_manifest, write_artifact
from lmscope.runs.run import Run

KIND = "health"
FORMAT_VERSION = 1


def write_health(run: Run, name: str, health: Health) -> Path:
    """Write a report under `artifacts/health/NAME` and its headline into the run's events.

    The folder holds `report.json` and, for each latent, `latents.safetensors`.
    """
    path = run.artifacts / KIND / name
    if not path.exists():
        with write_artifact(path, KIND, FORMAT_VERSION) as folder:
            text = json.dumps(health.report.to_mapping(), indent=1, sort_keys=True)
            (folder / "report.json").write_text(text + "\n", encoding="utf-8")
            health.latents.save(folder / "latents.safetensors")
    run.event("health", dictionary=name, **health.report.headline())
    return path


def read_health(path: Path | str) -> HealthReport:
    """The report that `write_health` wrote.

    Raises:
        ArtifactError: It is missing, damaged or of another format.
    """
    path = Path(path)
    read_manifest(path, KIND, (FORMAT_VERSION,), verify=True)
    try:
        values = json.loads((path / "report.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"'{path / 'report.json'}' is damaged: {error}.") from None
    return HealthReport.from_mapping(values, f"'{path}'")


def health_table(report: HealthReport, caption: str) -> Table:
    """A dictionary beside its baselines, with intervals, for the terminal and the notebook."""
    columns, rows = report.table()
    return Table(
        columns=columns, rows=tuple(tuple(_cell(v) for v in row) for row in rows), caption=caption
    )


def _cell(value: str | int | float | Estimate | None) -> Cell:
    return str(value) if isinstance(value, Estimate) else value
