"""Clamps the best-scored features of an atlas and prints whether the tokens that they promise come.

    python scripts/steering_table.py RUN ATLAS --features 10 --json steering.json

RUN trained the dictionary; ATLAS is its atlas (a run, a folder or a .atlas file), with labels. Features are chosen by
the lower end of their label's detection score, not by hand: known labels only, one for each peak token. A feature
promises the tokens that its decoder row raises by weights alone (`top_logits`) and those that its label's rule names
(`label`). Each figure stands beside random directions of equal norm; a difference counts where its 95 % interval lies
above 0. See lmscope.atlas.causal for what is measured.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.causal import CausalCheck, CausalOptions, Contrast, check_record
from lmscope.atlas.explain.rules import Rule
from lmscope.atlas.feature import Feature
from lmscope.atlas.promises import record_promises, rule_promise
from lmscope.core.errors import DataError, LmscopeError
from lmscope.core.files import write_text
from lmscope.display.tables import Cell, Table
from lmscope.jobs.running import Silent
from lmscope.jobs.steer import open_bench
from lmscope.models.quiet import quiet_transformers


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    options = _parser().parse_args(argv)
    try:
        with quiet_transformers():
            rows = list(_checks(options))
    except LmscopeError as error:
        print(error, file=sys.stderr)
        return 1
    for promise in ("top_logits", "label"):
        print(_table(promise, rows).to_markdown())
    print(_written_table(rows).to_markdown())
    print(json.dumps(_counts(rows), indent=1))
    if options.json is not None:
        found = [{**_named(feature), **check.to_mapping()} for feature, check in rows]
        text = json.dumps({"counts": _counts(rows), "features": found}, indent=1)
        write_text(options.json, text + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Steer the best-scored features of an atlas.")
    parser.add_argument("run", type=Path, help="the run that trained the dictionary")
    parser.add_argument("atlas", type=Path, help="its atlas, with labels")
    parser.add_argument("--name", help="which dictionary, of a run with several")
    parser.add_argument("--features", type=int, default=10)
    parser.add_argument("--times-max", type=float, default=1.0)
    parser.add_argument("--directions", type=int, default=8, help="random ones, for the next token")
    parser.add_argument("--generated", type=int, default=24, help="new tokens a prompt; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser


def _checks(options: argparse.Namespace) -> Iterator[tuple[Feature, CausalCheck]]:
    how = CausalOptions(
        times_max=options.times_max,
        n_directions=options.directions,
        n_generated=options.generated,
        seed=options.seed,
    )
    bench = open_bench(options.run, Silent(), name=options.name)
    with Atlas.open(options.atlas, name=options.name) as atlas:
        vocabulary = [_text(atlas, token) for token in range(bench.model.d_vocab)]
        for feature in _best(atlas, options.features):
            promised: dict[str, tuple[int, ...]] = {}
            logits = record_promises(feature.record, how.n_promised).get("top_logits")
            if logits:
                promised["top_logits"] = logits
            if feature.explained is not None and feature.explained.rule is not None:
                named = rule_promise(Rule.read(feature.explained.rule), vocabulary)
                if named:
                    promised["label"] = named
            print(f"latent {feature.record.latent}: {feature.label}", file=sys.stderr)
            yield (
                feature,
                check_record(
                    bench.model,
                    bench.dictionary,
                    feature.record,
                    atlas.corpus,
                    promised=promised,
                    exclusion=bench.exclusion,
                    options=how,
                ),
            )


def _best(atlas: Atlas, n: int) -> list[Feature]:
    """Known features by the lower end of their detection score, one for each peak token."""
    listed = atlas.filter(known=True, dead=False, limit=len(atlas))
    known = [atlas.feature(one.latent) for one in listed]
    known.sort(key=lambda feature: (-_detection(feature), feature.record.latent))
    chosen: dict[int | None, Feature] = {}
    for feature in known:
        if feature.record.silent:
            chosen.setdefault(feature.record.peak_token, feature)
    if not chosen:
        raise DataError("The atlas has no known label: run `lmscope explain` on it first.")
    return list(chosen.values())[:n]


def _detection(feature: Feature) -> float:
    return max((score.low for score in feature.scores if score.scorer == "detection"), default=0.0)


def _text(atlas: Atlas, token: int) -> str:
    return atlas.corpus.token_bytes(token).decode("utf-8", "replace")


def _named(feature: Feature) -> dict[str, Any]:
    return {
        "latent": feature.record.latent,
        "label": feature.label,
        "detection_low": _detection(feature),
        "max": feature.record.max,
    }


def _cells(contrast: Contrast | None) -> tuple[Cell, ...]:
    if contrast is None:
        return (None,) * 5
    figures = (contrast.clean, contrast.steered, contrast.control)
    values = [None if one is None else one.value for one in figures]
    return (*values, str(contrast.difference), f"{contrast.n_at_least} of {contrast.n_directions}")


def _columns() -> tuple[str, ...]:
    figures = ("clean", "clamped", "random", "clamped - random [95 %]", "random >= clamped")
    return ("latent", "label", "tokens", *figures)


def _table(promise: str, rows: list[tuple[Feature, CausalCheck]]) -> Table:
    lines = tuple(
        (
            feature.record.latent,
            feature.label,
            len(check.promised[promise]),
            *_cells(check.log_prob[promise]),
        )
        for feature, check in rows
        if promise in check.promised
    )
    caption = f"Log-probability (nats) that the next token is one of those promised by: {promise}"
    return Table(_columns(), lines, caption=caption)


def _written_table(rows: list[tuple[Feature, CausalCheck]]) -> Table:
    lines = []
    for feature, check in rows:
        shares: Mapping[str, Contrast | None] = {**check.written, "fires": check.fires}
        for name, contrast in shares.items():
            if contrast is not None:
                lines.append((feature.record.latent, feature.label, name, *_cells(contrast)))
    columns = ("latent", "label", "share of", *_columns()[3:])
    return Table(
        columns,
        tuple(lines),
        caption="Shares of generated tokens: promised ones, and those on which it fires",
    )


def _counts(rows: list[tuple[Feature, CausalCheck]]) -> dict[str, Any]:
    found: dict[str, Any] = {"n_features": len(rows)}
    for promise in ("top_logits", "label"):
        for kind in ("log_prob", "written"):
            table = [getattr(check, kind).get(promise) for _, check in rows]
            some = [contrast for contrast in table if contrast is not None]
            found[f"{kind}/{promise}"] = {
                "n": len(some),
                "n_raised": sum(one.is_raised for one in some),
                "n_lowered": sum(one.is_lowered for one in some),
                "n_above_all_directions": sum(one.n_at_least == 0 for one in some),
            }
    fires = [check.fires for _, check in rows if check.fires is not None]
    found["fires"] = {"n": len(fires), "n_raised": sum(one.is_raised for one in fires)}
    return found


if __name__ == "__main__":
    sys.exit(main())
