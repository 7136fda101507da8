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

N_LATENTS, N_CONTEXTS = 6, 2


def main() -> int:
    run, target = Path(sys.argv[1]), Path(sys.argv[2])
    (report,) = sorted((run / "artifacts" / "health").iterdir())
    console = Console(record=True, width=134, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    for latent in json.loads((run / "artifacts" / "latents.json").read_text())[:N_LATENTS]:
        console.print(latent["headline"], style="bold", highlight=False, markup=False)
        for context in latent["contexts"][:N_CONTEXTS]:
            tokens = [token.replace("\n", " ") for token in context["tokens"]]
            strip = TokenStrip(tuple(tokens), tuple(context["activations"]))
            console.print(strip.to_rich(), overflow="ellipsis", no_wrap=True)
    console.print(health_table(read_health(report), report.name).to_rich())
    svg = console.export_svg(title="lmscope demo")
    svg = re.sub(r"@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL)  # no font is fetched
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(svg.replace("Fira Code", "DejaVu Sans Mono"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
