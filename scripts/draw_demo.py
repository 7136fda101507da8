"""Draws what a finished demo showed as one SVG, for the README.

python scripts/draw_demo.py runs/RUN docs/assets/demo.svg
"""

import json
import re
import sys
from pathlib import Path

from rich.console import Console

from lmscope.display.tokens import TokenStrip
from lmscope.jobs.reports import health_table, read_health

N_FEATURES, N_EXAMPLES = 6, 2
AROUND = 14
"""Tokens on either side of the strongest."""


def main() -> int:
    run, target = Path(sys.argv[1]), Path(sys.argv[2])
    (report,) = sorted((run / "artifacts" / "health").iterdir())
    console = Console(record=True, width=134, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    text = (run / "artifacts" / "features.json").read_text(encoding="utf-8")
    for feature in json.loads(text)[:N_FEATURES]:
        console.print(feature["headline"], style="bold", highlight=False, markup=False)
        for example in feature["examples"][:N_EXAMPLES]:
            strip = around_peak(example["tokens"], example["activations"])
            console.print(strip.to_rich(break_lines=False), overflow="ellipsis", no_wrap=True)
    console.print(health_table(read_health(report), report.name).to_rich())
    svg = console.export_svg(title="lmscope demo")
    svg = re.sub(r"@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL)  # no font is fetched
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(svg.replace("Fira Code", "DejaVu Sans Mono"))
    return 0


def around_peak(tokens: list[str], values: list[float]) -> TokenStrip:
    peak = values.index(max(values))
    part = slice(max(0, peak - AROUND), peak + AROUND + 1)
    shown = [token.replace("\n", " ") for token in tokens[part]]
    return TokenStrip(tuple(shown), tuple(values[part]))


if __name__ == "__main__":
    sys.exit(main())
