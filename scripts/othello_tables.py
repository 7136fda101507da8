"""Markdown tables of what was measured on a player of Othello, for docs/results.

python scripts/othello_tables.py labels RUN/artifacts/labels.json
python scripts/othello_tables.py circuits RUN/artifacts/circuits.json
python scripts/othello_tables.py quality RUN

The first is what `lmscope othello label --out` wrote, the second the report of `lmscope othello circuits`, the third a
run that trained dictionaries.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from lmscope.display.tables import Table
from lmscope.evaluation.statistics import Estimate
from lmscope.jobs.othello_circuit_report import OthelloCircuitsReport
from lmscope.jobs.othello_label_report import OthelloTruthReport


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("labels", "circuits", "quality"))
    parser.add_argument("path", type=Path)
    asked = parser.parse_args()
    if asked.what == "labels":
        tables = OthelloTruthReport.load(asked.path).tables()
    elif asked.what == "circuits":
        values = json.loads(asked.path.read_text(encoding="utf-8"))
        tables = OthelloCircuitsReport.from_mapping(values).tables()
    else:
        tables = (quality(asked.path),)
    for table in tables:
        bare = replace(table, caption="").to_markdown()
        print(f"{table.caption}\n\n{bare}\n" if table.caption else f"{bare}\n")


def quality(run: Path) -> Table:
    """How well each dictionary of a run stands in for what it reads."""
    rows = []
    for path in sorted((run / "artifacts" / "health").iterdir()):
        held = json.loads((path / "report.json").read_text(encoding="utf-8"))
        loss, sparsity = held["loss"], held["sparsity"]
        figures = [held["reconstruction"]["explained_variance_centred"]]
        figures += [loss["ce_recovered_zero"], loss["ce_recovered_mean"]]
        estimates = [_short(Estimate.from_mapping(one)) for one in figures]
        silent = f"{sparsity['dead_fraction']:.1%}"
        rows.append((path.name, f"{sparsity['l0']['value']:.1f}", *estimates, silent))
    columns = ("dictionary", "L0", "explained variance", "CE recovered, zero", "CE recovered, mean")
    return Table((*columns, "latents that never fire"), tuple(rows))


def _short(one: Estimate) -> str:
    if one.low is None or one.high is None:
        return f"{one.value:.3f}"
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


if __name__ == "__main__":
    main()
