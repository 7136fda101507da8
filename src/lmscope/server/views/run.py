"""The page of a run, and what a running one says as it goes on."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lmscope.server.library.entries import RunEntry
from lmscope.server.library.journals import Events, Metrics
from lmscope.server.library.library import Library
from lmscope.server.library.players import board_of
from lmscope.server.schemas.common import Problem, Provenance, Snippet
from lmscope.server.schemas.run import Curves, RunEvent, RunPage
from lmscope.server.views.curves import lines
from lmscope.server.views.lines import dictionary_line

_VERBS: Final = {
    "train": "train",
    "demo": "demo",
    "evaluate": "evaluate",
    "atlas": "atlas build",
    "explain": "explain",
    "geometry": "geometry",
    "convert": "convert",
    "trace": "trace",
    "othello": "othello train",
}
"""The command of each job."""
_MOST_ARTIFACTS: Final = 2000


def run_page(library: Library, run: RunEntry) -> RunPage:
    """What was asked of a run, where it stands, and what it found."""
    metrics, events = library.journals.of(run.path)
    record, status = run.record, run.status
    dictionaries = library.catalogue.dictionaries
    where = library.where(run.path)
    return RunPage(
        id=run.id,
        job=record.job,
        name=record.name,
        status=status,
        error=record.error,
        created=record.created.isoformat(),
        started=None if record.started is None else record.started.isoformat(),
        ended=None if record.ended is None else record.ended.isoformat(),
        elapsed_s=run.elapsed_s,
        n_resumed=record.n_resumed,
        machine=record.machine.to_mapping(),
        weights=record.weights,
        recipe=dict(run.recipe),
        results=events.results,
        events=[run_event(one) for one in events.since(0)],
        metric_names=metrics.names,
        last_metrics=dict(metrics.last),
        n_steps=n_steps(run, events),
        artifacts=_artifacts(run.path / "artifacts"),
        dictionaries=[
            dictionary_line(dictionaries[one]) for one in run.dictionaries if one in dictionaries
        ],
        player=board_of(library, run),
        problems=[
            *(one for one in library.problems() if Path(one.where).is_relative_to(where)),
            *(Problem(where=row.name, message=row.problem) for row in run.suite if row.problem),
        ],
        provenance=_provenance(run),
    )


def curves(library: Library, run: RunEntry, names: list[str], points: int) -> Curves:
    """Metrics of a run by step.

    Raises:
        NotFound: There is no such metric.
    """
    metrics, _ = library.journals.of(run.path)
    return Curves(run=run.id, step=metrics.step, lines=lines(metrics, names, points))


def n_steps(run: RunEntry, events: Events) -> int | None:
    """Steps that the whole run takes, where its recipe or its first phase says so."""
    training = run.recipe.get("training")
    asked = training.get("steps") if isinstance(training, Mapping) else None
    return events.n_steps or (asked if isinstance(asked, int) else None)


def run_event(row: Mapping[str, Any]) -> RunEvent:
    """A line of events.jsonl."""
    return RunEvent(
        time=str(row.get("time", "")),
        event=str(row.get("event", "")),
        fields={key: value for key, value in row.items() if key not in ("time", "event")},
    )


def progress_of(run: RunEntry, metrics: Metrics, events: Events) -> dict[str, Any]:
    """The phase that a run is in, and how far; steps of training are all that is on disk."""
    phase = events.phase.get("phase")
    if phase != "train":
        return {"phase": phase, "done": None, "total": None}
    return {"phase": phase, "done": metrics.step, "total": n_steps(run, events)}


def _artifacts(folder: Path) -> list[str]:
    """Paths below a folder, two levels deep."""
    found: list[str] = []
    for name in _names(folder):
        inner = _names(folder / name)
        found += [f"{name}/{one}" for one in inner] if inner else [name]
    return found[:_MOST_ARTIFACTS]


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as found:
            return sorted(one.name for one in found if not one.name.startswith("."))
    except OSError:  # a file, or nothing yet
        return []


def _provenance(run: RunEntry) -> Provenance:
    record = run.record
    machine = record.machine
    facts = [
        ("folder", str(run.path.resolve())),
        ("recipe digest", record.recipe_digest),
        ("seed", str(run.recipe.get("seed", 0))),
        *((f"weights of {name}", digest) for name, digest in record.weights.items()),
        ("machine", f"{machine.kind}, {machine.n_threads} threads"),
        *((name, version) for name, version in machine.versions.items()),
    ]
    if machine.git_commit is not None:
        facts.append(("commit", machine.git_commit))
    return Provenance(facts=facts, snippets=_snippets(run))


def _snippets(run: RunEntry) -> list[Snippet]:
    path = str(run.path.resolve())
    quoted, verb = shlex.quote(path), _VERBS.get(run.record.job)
    found = [
        Snippet(
            title="All of this page", language="shell", text=f"lmscope runs show {quoted} --json"
        ),
        Snippet(
            title="Results and curves",
            language="python",
            text=(
                "from lmscope import Run\n\n"
                f"run = Run.open({path!r})\n"
                "print(run.status, run.results())\n"
                "print(run.metrics_rows()[-1:])\n"
            ),
        ),
    ]
    if verb is not None:
        recipe = shlex.quote(str(run.path.resolve() / "recipe.toml"))
        again = Snippet(
            title="The same again, as a new run", language="shell", text=f"lmscope {verb} {recipe}"
        )
        found.append(again)
        if run.status in ("created", "interrupted", "failed"):
            text = f"lmscope {verb} --resume {quoted}"
            found.append(Snippet(title="Go on with this run", language="shell", text=text))
    return found
