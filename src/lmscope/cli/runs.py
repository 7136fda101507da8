"""`lmscope runs`: the executions on disk, listed, shown, compared and removed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App

from lmscope.cli import console
from lmscope.cli.failures import DONE
from lmscope.cli.numbers import format_seconds
from lmscope.cli.options import Switch
from lmscope.cli.run_names import find_run
from lmscope.display.tables import Table

if TYPE_CHECKING:
    from lmscope.runs.listing import RunEntry
    from lmscope.runs.run import Run

_EXAMPLES: Final = """Example:

    lmscope runs list
    lmscope runs show last
    lmscope runs diff RUN_A RUN_B
    lmscope runs rm RUN

RUN is a path, a folder name, a beginning of one that fits one run only, or
`last`.
"""
_RUNS: Final = Path("runs")

app = App(name="runs", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.command(name="list", help_epilogue="Example:\n\n    lmscope runs list --json\n")
def list_all(*, runs_dir: Path = _RUNS, json: Switch = False) -> int:
    """List runs, oldest first.

    Args:
        runs_dir: Folder of all runs.
        json: Print one JSON object to stdout.
    """
    from lmscope.runs.listing import list_runs

    entries = list_runs(runs_dir)
    if json:
        console.print_json({"runs": [_entry(one) for one in entries]})
        return DONE
    if not entries:
        console.say(f"'{runs_dir}' holds no runs yet. Make the first with `lmscope demo`.")
        return DONE
    console.print_table(
        Table(("run", "job", "status", "took", "created (UTC)"), tuple(map(_row, entries)))
    )
    return DONE


@app.command(name="show", help_epilogue="Example:\n\n    lmscope runs show last\n")
def show(run: str, /, *, runs_dir: Path = _RUNS, json: Switch = False) -> int:
    """Show one run: what was asked, where it stands, what it made.

    Args:
        run: A path, a folder name, a beginning of one, or `last`.
        runs_dir: Folder of all runs.
        json: Print one JSON object to stdout.
    """
    from lmscope.runs.run import Run

    opened = Run.open(find_run(run, runs_dir))
    found, suite = summary(opened), (opened.artifacts / "suite.json").is_file()
    if json:
        console.print_json({**found, **(_suite_of(opened) if suite else {})})
        return DONE
    console.print_rows(console.flat(found))
    if suite:
        from lmscope.cli.reports import report_run

        console.print_line("")
        report_run(opened, as_json=False)
    return DONE


@app.command(name="diff", help_epilogue="Example:\n\n    lmscope runs diff RUN_A RUN_B\n")
def diff(a: str, b: str, /, *, runs_dir: Path = _RUNS, json: Switch = False) -> int:
    """Say in what two runs differ: recipe, results, last metrics, machine and weights.

    Args:
        a: The first run.
        b: The second run.
        runs_dir: Folder of all runs.
        json: Print one JSON object to stdout.
    """
    from lmscope.runs.listing import diff_runs
    from lmscope.runs.run import Run

    runs = [Run.open(find_run(text, runs_dir)) for text in (a, b)]
    found = diff_runs(*runs)
    parts = {
        name: {key: list(values) for key, values in getattr(found, name).items()}
        for name in ("recipe", "results", "metrics", "machine", "weights")
    }
    if json:
        console.print_json({"runs": [str(run.path) for run in runs], **parts})
    elif found.is_empty:
        console.say("The two runs do not differ.")
    else:
        rows = tuple(
            (f"{part}: {key}", *map(console.readable, values))
            for part, table in parts.items()
            for key, values in table.items()
        )
        console.print_table(Table(("what", *(run.path.name for run in runs)), rows))
    return DONE


@app.command(name="rm", help_epilogue="Example:\n\n    lmscope runs rm RUN\n")
def remove(run: str, /, *more: str, runs_dir: Path = _RUNS) -> int:
    """Delete runs with all that they made. This cannot be undone.

    Args:
        run: A path or a whole folder name.
        more: Further runs.
        runs_dir: Folder of all runs.
    """
    from lmscope.runs.listing import remove_run

    paths = [find_run(text, runs_dir, exact=True) for text in (run, *more)]
    for path in paths:
        remove_run(path)
        console.say(f"Removed {path}")
    return DONE


def summary(run: "Run") -> dict[str, Any]:
    """All that a run folder says, as plain values."""
    record = run.record
    return {
        **_brief(run),
        "error": record.error,
        "n_resumed": record.n_resumed,
        "checkpoints": _names(run.checkpoints),
        "artifacts": _names(run.artifacts),
        "weights": record.weights,
        "machine": record.machine.to_mapping(),
        "results": run.results(),
        "metrics": (run.metrics_rows() or [{}])[-1],
        "recipe": run.recipe_values,
    }


def _suite_of(run: "Run") -> dict[str, Any]:
    from lmscope.jobs.suite import (
        read_suite,
    )  # it brings torch with it, which other runs do not need

    return {"suite": [row.to_mapping() for row in read_suite(run.path)]}


def _brief(run: "Run") -> dict[str, Any]:
    record = run.record
    return {
        "run": str(run.path),
        "job": record.job,
        "name": record.name,
        "status": run.status,
        "created": record.created.isoformat(),
        "elapsed_s": record.elapsed_s,
        "recipe_digest": record.recipe_digest,
    }


def _entry(entry: "RunEntry") -> dict[str, Any]:
    if entry.run is None:
        return {"run": str(entry.path), "status": "damaged", "problem": entry.problem}
    return _brief(entry.run)


def _row(entry: "RunEntry") -> tuple[str | None, ...]:
    if entry.run is None:
        return (entry.path.name, None, "damaged", None, None)
    record = entry.run.record
    took, created = format_seconds(record.elapsed_s), f"{record.created:%Y-%m-%d %H:%M}"
    return (entry.path.name, record.job, entry.run.status, took, created)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("[!.]*")) if folder.is_dir() else []
