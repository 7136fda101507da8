"""What `lmscope geometry` found, printed at its end: a table for each analysis, or one JSON object."""

from lmscope.cli import console
from lmscope.jobs.geometry_reports import KIND, read_findings, tables
from lmscope.runs.run import Run


def report_geometry(run: Run, as_json: bool) -> None:
    """Print the findings of a run to stdout.

    Args:
        run: A run of `geometry`.
        as_json: One object with the figures of every comparison instead of tables.

    Raises:
        ArtifactError: A report is damaged.
    """
    found = read_findings(run)
    if as_json:
        figures = {
            analysis: {name: report.headline() for name, report in reports.items()}
            for analysis, reports in found.items()
        }
        console.print_json({"run": str(run.path), "status": run.status, "analyses": figures})
        return
    for analysis, reports in found.items():
        for table in tables(analysis, reports):
            console.print_table(table)
            console.print_line("")
    console.say(f"All figures, and what each latent was matched with: {run.artifacts / KIND}")
