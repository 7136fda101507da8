"""Health reports in a run's folder: written whole, read back, shown as tables."""

import json
from pathlib import Path
from typing import Final

from lmscope.core.errors import ArtifactError
from lmscope.dictionaries.health import Health
from lmscope.dictionaries.latent_statistics import LatentStatistics
from lmscope.dictionaries.report import Baseline, HealthReport
from lmscope.display.tables import Cell, Table
from lmscope.evaluation.statistics import Estimate
from lmscope.runs.artifact import read_manifest, write_artifact
from lmscope.runs.run import Run

KIND = "health"
FORMAT_VERSION = 1
_LATENTS: Final = "latents.safetensors"


def write_health(run: Run, name: str, health: Health) -> Path:
    """Write a report under `artifacts/health/NAME` and its headline as a `result` event.

    The folder holds `report.json` and, for each latent, `latents.safetensors`.
    """
    path = run.artifacts / KIND / name
    if not path.exists():
        with write_artifact(path, KIND, FORMAT_VERSION) as folder:
            text = json.dumps(health.report.to_mapping(), indent=1, sort_keys=True)
            (folder / "report.json").write_text(text + "\n", encoding="utf-8")
            health.latents.save(folder / _LATENTS)
    run.event("result", name=name, figures=health.report.headline())
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


def read_whole_health(path: Path | str) -> Health:
    """The report that `write_health` wrote, with what it says of each latent.

    Raises:
        ArtifactError: As `read_health` does.
    """
    report = read_health(path)
    return Health(report, LatentStatistics.load(Path(path) / _LATENTS))


FIGURES: Final = {
    "explained variance, centred": ("reconstruction", "explained_variance_centred"),
    "explained variance, uncentred": ("reconstruction", "explained_variance_uncentred"),
    "cosine": ("reconstruction", "cosine"),
    "cross-entropy, spliced (nats)": ("loss", "ce"),
    "CE recovered, against zero": ("loss", "ce_recovered_zero"),
    "CE recovered, against mean": ("loss", "ce_recovered_mean"),
    "KL from clean (nats)": ("loss", "kl"),
}
"""Rows of the table: what it says, and where the report has it."""


BASELINES: Final = ("pca", "random", "identity")
"""Columns beside the dictionary's."""


def health_table(report: HealthReport, caption: str) -> Table:
    """A dictionary beside its baselines, one row a figure with its 95 % interval."""
    baselines = {name: report.baselines[name] for name in BASELINES if name in report.baselines}
    arms: dict[str, HealthReport | Baseline] = {"dictionary": report, **baselines}
    rows: list[tuple[Cell, ...]] = [
        ("active numbers a token", *(_active(arm) for arm in arms.values()))
    ]
    for label, (part, figure) in FIGURES.items():
        estimates = [getattr(getattr(arm, part), figure, None) for arm in arms.values()]
        if any(estimate is not None for estimate in estimates):
            rows.append((label, *(_interval(estimate) for estimate in estimates)))
    none = (None,) * (len(arms) - 1)
    sparsity = report.sparsity
    rows.append(
        ("latents that never fire", f"{sparsity.n_dead} ({sparsity.dead_fraction:.1%})", *none)
    )
    rows.append(
        (
            "latents on > 10 % of tokens",
            f"{sparsity.n_dense} ({sparsity.dense_fraction:.1%})",
            *none,
        )
    )
    return Table(("figure", *arms), tuple(rows), caption=caption)


def _active(arm: HealthReport | Baseline) -> str:
    return str(arm.n_active) if isinstance(arm, Baseline) else f"{arm.sparsity.l0.value:.1f}"


def _interval(estimate: Estimate | None) -> str | None:
    if estimate is None:
        return None
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
