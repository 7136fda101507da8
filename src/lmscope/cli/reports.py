"""What a run found, printed at its end: a table, or one JSON object."""

from collections.abc import Sequence
from typing import Any

from lmscope.cli import console
from lmscope.jobs.demo import DemoResult
from lmscope.jobs.reports import health_table, read_health
from lmscope.jobs.suite import SuiteRow, problems, read_suite, suite_table
from lmscope.runs.run import Run


def report_run(run: Run, as_json: bool) -> None:
    """Print the figures of every dictionary that a run trained or measured to stdout.

    Several that were trained by one run share one table.

    Args:
        run: A run of `train` or `evaluate`.
        as_json: One object instead of tables.

    Raises:
        ArtifactError: A report is damaged.
    """
    suite = read_suite(run.path)
    if suite and not as_json:
        report_suite(suite)
        return
    folder = run.artifacts / "health"
    reports = {path.name: read_health(path) for path in sorted(folder.glob("[!.]*"))}
    if not as_json:
        for name, report in reports.items():
            console.print_table(health_table(report, name))
        return
    trained = run.artifacts / "dictionaries"
    names = sorted({*reports, *(path.name for path in trained.glob("[!.]*"))})
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        place = {"path": str(trained / name)} if (trained / name).exists() else {}
        figures = reports[name].headline() if name in reports else {}
        found[name] = {**place, **figures}
    rows = {"suite": [row.to_mapping() for row in suite]} if suite else {}
    console.print_json({"run": str(run.path), "status": run.status, "dictionaries": found, **rows})


def report_suite(rows: Sequence[SuiteRow]) -> None:
    """Print the table of a suite, and below it what went wrong."""
    console.print_table(suite_table(rows))
    for name, problem in problems(rows).items():
        console.print_line(f"{name}: {problem}")


def report_demo(result: DemoResult, as_json: bool) -> None:
    """Print the demo's best supported features and its tables, or its figures as one JSON object."""
    if as_json:
        console.print_json(result.to_mapping())
        return
    for feature in result.features:
        console.print_line(f"\n{feature.headline}")
        for strip in feature.strips:
            console.print_strip(strip)
    console.print_line("")
    console.print_table(result.table)
    console.print_table(result.labels)
    if result.plots:
        console.say(f"Plots: {result.plots[0].parent}")
    command = console.own_command()
    console.say(f"More of any latent: {command} atlas show {result.run.path} LATENT")
    console.say(
        f"See, search and steer all of it in the browser: {command} serve {result.run.path}"
    )
