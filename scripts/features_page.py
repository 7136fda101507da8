"""Prints a Markdown page of the features of an atlas whose labels are best supported, chosen by score.

python scripts/features_page.py RUN [--n 10] [--examples 3] > docs/results/features.md
"""

import argparse
from html import escape

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.best import best_features
from lmscope.atlas.feature import Feature
from lmscope.display.tokens import TokenStrip
from lmscope.display.visible import visible

STRONG = 0.3
"""Of the latent's largest activation, from which a token is printed bold."""
AROUND = 24
"""Tokens on either side of the peak that are printed."""


def main() -> None:
    asked = arguments()
    with Atlas.open(asked.run, name=asked.name) as atlas:
        report = "\n\n".join(
            part(feature, asked.examples) for feature in best_features(atlas, asked.n)
        )
        meta = atlas.meta
    print(
        f"# The best supported features of {meta.dictionary}\n\n"
        f"Of {meta.model}, {meta.n_latents:,} latents, {meta.n_counted:,} tokens of the bundled text. Written by "
        "`scripts/features_page.py`: the features are chosen by the lowest of the lower ends of their scores, "
        "not by hand. Bold tokens fire with at least 30 % of the latent's largest activation.\n\n"
        f"{report}"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="a run that built an atlas; labels are looked for beside it")
    parser.add_argument("--name", default=None)
    parser.add_argument("--n", type=int, default=10)
    parser.add_argument("--examples", type=int, default=3)
    return parser.parse_args()


def part(feature: Feature, n_examples: int) -> str:
    record = feature.record
    scores = ", ".join(
        f"{one.scorer} {one.value:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in feature.scores
    )
    lines = [
        f"## {record.latent}: {safe(feature.label)}",
        f"{scores}; fires on {record.density:.3%} of the tokens, in {record.n_documents} documents.",
    ]
    lines += [f"> {line(strip)}" for strip in feature.strips()[:n_examples]]
    return "\n\n".join(lines) + "\n"


def line(strip: TokenStrip) -> str:
    full, values = strip.full or 1.0, strip.values
    peak = max(range(len(values)), key=values.__getitem__)
    shown = []
    for i in range(max(0, peak - AROUND), min(len(values), peak + AROUND + 1)):
        text = safe(strip.tokens[i])
        core = text.strip()
        bold = values[i] >= STRONG * full and core
        shown.append(text.replace(core, f"**{core}**", 1) if bold else text)
    return "".join(shown).replace("****", "")


def safe(text: str) -> str:
    text = escape(visible(text), quote=False)
    for sign in "\\`*_[]#|~":
        text = text.replace(sign, f"\\{sign}")
    return text


if __name__ == "__main__":
    main()
