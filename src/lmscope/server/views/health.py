"""Health reports as tables: the dictionary beside its baselines and the two ends of the scale."""

import json
from collections.abc import Mapping
from typing import Any, Final

from lmscope.core.errors import ArtifactError
from lmscope.server.library.entries import DictionaryEntry, ReportEntry, RunEntry
from lmscope.server.library.scan import HEALTH_FILE
from lmscope.server.schemas.common import Estimate, Histogram
from lmscope.server.schemas.dictionary import Arm, Evaluation, PositionLine

_ABLATIONS: Final = {
    "model alone": {"ce": "ce_clean"},
    "zero ablation": {"ce": "ce_zero", "kl": "kl_zero"},
    "mean ablation": {"ce": "ce_mean", "kl": "kl_mean"},
}
"""What stands beside the dictionary, and where the report has its figures."""
_FEWEST_EDGES: Final = 2


def evaluation(
    entry: DictionaryEntry, report: ReportEntry, runs: Mapping[str, RunEntry]
) -> Evaluation:
    """One health report.

    Args:
        entry: The dictionary.
        report: Where the report lies.
        runs: All runs by id.

    Raises:
        ArtifactError: The report is damaged.
    """
    values = _read(report)
    try:
        return _evaluation(values, report, _title(entry, report, values, runs))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ArtifactError(
            f"'{report.folder / HEALTH_FILE}' is damaged: measure the dictionary again with `lmscope evaluate`."
        ) from None


def _evaluation(values: Mapping[str, Any], report: ReportEntry, title: str) -> Evaluation:
    subject, sparsity = values["subject"], values["sparsity"]
    return Evaluation(
        run=report.run,
        title=title,
        model=subject["model"],
        n_tokens=subject["n_tokens"],
        n_scored_tokens=subject["n_scored_tokens"],
        context_length=subject["context_length"],
        arms=_arms(values),
        positions=[
            PositionLine(first=one["first"], last=one["last"], figures=_figures(one))
            for one in values["positions"]
        ],
        n_dead=sparsity["n_dead"],
        n_dense=sparsity["n_dense"],
        frequency=Histogram(**sparsity["frequency_histogram"], scale="log10"),
        l0=trimmed(Histogram(**sparsity["l0_histogram"])),
        notes=list(values.get("notes", ())),
    )


def _arms(values: Mapping[str, Any]) -> list[Arm]:
    l0 = values["sparsity"]["l0"]["value"]
    arms = [Arm(name="dictionary", n_active=l0, figures=_figures(values))]
    for name, one in values["baselines"].items():
        arms.append(Arm(name=name, n_active=one["n_active"], figures=_figures(one)))
    ablation = values.get("ablation") or {}
    for name, figures in _ABLATIONS.items():
        found = {to: Estimate(**ablation[key]) for to, key in figures.items() if ablation.get(key)}
        if found:
            arms.append(Arm(name=name, n_active=None, figures=found))
    return arms


def _figures(values: Mapping[str, Any]) -> dict[str, Estimate]:
    """What a part of a report says, each figure by its name."""
    found = {**(values.get("reconstruction") or {}), **(values.get("loss") or {})}
    for name in ("l0", "ce_clean"):
        if isinstance(values.get(name), Mapping):
            found[name] = values[name]
    return {name: Estimate(**one) for name, one in found.items() if one is not None}


def trimmed(histogram: Histogram) -> Histogram:
    """Without empty bins at its two ends."""
    filled = [place for place, count in enumerate(histogram.counts) if count]
    if not filled or len(histogram.edges) < _FEWEST_EDGES:
        return histogram
    first, last = filled[0], filled[-1]
    return Histogram(
        edges=histogram.edges[first : last + 2],
        counts=histogram.counts[first : last + 1],
        scale=histogram.scale,
    )


def _title(
    entry: DictionaryEntry,
    report: ReportEntry,
    values: Mapping[str, Any],
    runs: Mapping[str, RunEntry],
) -> str:
    if report.own:
        return "Held-out text of its own training"
    run, subject = runs.get(report.run), values["subject"]
    text = {} if run is None else run.recipe.get("text") or {}
    source = text.get("source") or "the text of its training, held-out part"
    told = f"On {source}, contexts of {subject['context_length']} tokens"
    return told if report.model == entry.model else f"{told}, model {report.model}"


def _read(report: ReportEntry) -> dict[str, Any]:
    file = report.folder / HEALTH_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"'{file}' cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ArtifactError(f"'{file}' is damaged: {error}.") from None
    if not isinstance(values, dict):
        raise ArtifactError(f"'{file}' is damaged: it holds no table.")
    return values
