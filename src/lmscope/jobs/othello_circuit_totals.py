"""Sums of many games of Othello put together into findings on circuits, with intervals over games."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from lmscope.core.config import Config
from lmscope.core.errors import DataError
from lmscope.evaluation.statistics import (
    BootstrapOptions,
    ContextSums,
    Estimate,
    Resamples,
    ratio,
)
from lmscope.jobs.othello_circuit_report import (
    AblationArm,
    AblationFinding,
    AttentionFinding,
    EmptyFinding,
    Estimates,
    HeadFinding,
    LogitArm,
    LogitFinding,
    SquareArm,
    StateFinding,
    ThresholdFinding,
    ThresholdRow,
)
from lmscope.jobs.othello_findings import (
    ABLATED,
    CONTROLS,
    COUNTS,
    LINE_KINDS,
    MET,
    METHODS,
    REPLACED,
)

_Column = Float64[np.ndarray, "resample"]


class GameSums(Config):
    """What one game adds to all findings."""

    game: int
    n_places: int
    sums: dict[str, tuple[float, ...]]


class Totals:
    """Sums of all games and of their resamples.

    Args:
        games: What each game adds.
        options: How intervals are made.
        seed: Of the resamples.

    Raises:
        DataError: There is no game.
    """

    def __init__(self, games: Sequence[GameSums], options: BootstrapOptions, seed: int) -> None:
        if not games:
            raise DataError(
                "No game has a place with two legal moves to look at: take more games, or set places.earliest lower."
            )
        sums = ContextSums(len(games))
        names = dict.fromkeys(name for one in games for name in one.sums)
        for name in names:
            width = max(len(one.sums.get(name, ())) for one in games)
            rows = [one.sums.get(name, (0.0,) * width) for one in games]
            sums.columns[name] = np.array(rows, dtype=np.float64)[:, None]
        if sums.n_contexts > options.max_units:
            n = sums.n_contexts
            groups = np.arange(n) * options.max_units // n
            sums = sums.regrouped(groups, options.max_units)
        self.resamples = Resamples(sums, options, seed)

    def column(self, name: str, place: int = 0) -> _Column:
        """One figure of a column, summed."""
        return self.resamples.total(name)[:, place]

    def value(self, name: str, place: int = 0) -> float:
        """The same of all games, without resamples."""
        return float(self.column(name, place)[0])

    def share(self, of: _Column, all_of: _Column) -> Estimate | None:
        """A ratio with its interval."""
        return self.resamples.estimate(ratio(of, all_of))

    def estimates(self, parts: dict[str, tuple[_Column, _Column]]) -> Estimates:
        """Ratios by name, without undefined ones."""
        found = {name: self.share(*pair) for name, pair in parts.items()}
        return {name: one for name, one in found.items() if one is not None}


def logit_finding(totals: Totals) -> LogitFinding:
    """Of `othello_findings.logit_sums`."""
    n = totals.column("logit n")

    def has(arm: str, i: int) -> _Column:
        return ratio(totals.column(f"logit {arm} has", i), n)

    def arm_of(arm: str) -> LogitArm:
        nodes = totals.column(f"logit {arm} nodes")
        kinds = enumerate(LINE_KINDS)
        of = {kind: (totals.column(f"logit {arm} of", i), nodes) for i, kind in kinds}
        own = {k: totals.resamples.estimate(has(arm, i)) for i, k in enumerate(LINE_KINDS)}
        return LogitArm(
            arm=arm,
            has={kind: one for kind, one in own.items() if one is not None},
            share=totals.estimates(of),
            n_features=float(nodes[0] / n[0]),
        )

    more = {
        kind: totals.resamples.estimate(has("circuit", i) - has("same places", i))
        for i, kind in enumerate(LINE_KINDS)
    }
    return LogitFinding(
        n_places=round(n[0]),
        arms=tuple(arm_of(arm) for arm in ("circuit", *CONTROLS)),
        more={kind: one for kind, one in more.items() if one is not None},
    )


def ablation_finding(totals: Totals, least_probability: float) -> AblationFinding:
    """Of `othello_findings.ablation_sums`."""
    n, tried = totals.column("ablation places"), totals.column("ablation n")
    others = totals.column("ablation others")

    def arm_of(arm: str) -> AblationArm:
        below, behind, both, lost = (
            totals.share(totals.column(f"ablation {arm}", i), tried) for i in range(4)
        )
        return AblationArm(
            arm=arm,
            below=below,
            behind=behind,
            both=both,
            lost_probability=lost,
            others_left=totals.share(totals.column(f"ablation {arm} others"), others),
            n_features=totals.value(f"ablation {arm}", 4) / max(tried[0], 1.0),
        )

    told = [
        totals.share(totals.column("ablation told", i), totals.column("ablation moves", i))
        for i in range(2)
    ]
    return AblationFinding(
        least_probability=least_probability,
        n_places=round(n[0]),
        n_tried=round(tried[0]),
        legal_before=totals.share(totals.column("ablation legal before"), n),
        fires=totals.share(totals.column("ablation fires"), n),
        legal_told=told[0],
        illegal_told=told[1],
        arms=tuple(arm_of(arm) for arm in ABLATED),
    )


def state_finding(totals: Totals) -> StateFinding:
    """Of `othello_findings.state_sums`."""
    n = totals.column("state")
    makers, even, other, other_even, last, last_even, top = (
        totals.share(totals.column("state", i), n) for i in range(1, 8)
    )
    return StateFinding(
        n_features=round(n[0]),
        makers=makers,
        makers_even=even,
        other_makers=other,
        other_even=other_even,
        last_maker=last,
        last_even=last_even,
        top_is_maker=top,
        n_replaced=totals.value("state edits", 5) / max(n[0], 1.0),
        arms=_square_arms(totals, "state edits"),
    )


def empty_finding(totals: Totals) -> EmptyFinding:
    """Of `othello_findings.empty_sums`."""
    n = totals.column("empty")
    taker, even, lowest = (totals.share(totals.column("empty", i), n) for i in range(1, 4))
    return EmptyFinding(
        n_features=round(n[0]),
        taker=taker,
        even=even,
        lowest_is_taker=lowest,
        arms=_square_arms(totals, "empty edits"),
    )


def _square_arms(totals: Totals, name: str) -> tuple[SquareArm, ...]:
    tried = totals.column(name)
    return tuple(
        SquareArm(
            arm=arm,
            says=totals.share(totals.column(name, 2 * i + 1), tried),
            moved=totals.share(totals.column(name, 2 * i + 2), totals.column(name, 6)),
        )
        for i, arm in enumerate(REPLACED)
    )


def attention_finding(totals: Totals, n_layers: int) -> AttentionFinding:
    """Of `othello_findings.attention_sums`."""
    n = totals.column("attention n")
    n_heads = totals.resamples.total("attention mine").shape[1] // n_layers
    names = ("mine", "self", "mine by positions alone", "mine without positions")

    def head_of(i: int) -> HeadFinding:
        variance = totals.column("attention variance", i)
        return HeadFinding(
            layer=i // n_heads,
            head=i % n_heads,
            figures=totals.estimates(
                {name: (totals.column(f"attention {name}", i), n) for name in names}
            ),
            explained=totals.estimates(
                {name: (totals.column(f"attention of {name}", i), variance) for name in MET}
            ),
        )

    even = {
        "mine": (totals.column("attention n", 1), n),
        "self": (totals.column("attention n", 2), n),
    }
    return AttentionFinding(
        n_places=round(n[0]),
        even=totals.estimates(even),
        heads=tuple(head_of(i) for i in range(n_layers * n_heads)),
    )


def threshold_finding(
    totals: Totals, thresholds: Sequence[float], n_places: int
) -> ThresholdFinding:
    """Of `othello_findings.threshold_sums`."""
    true, squares, true_tokens, nodes, tokens = (totals.column("tau totals", i) for i in range(5))

    def row(method: str, i: int) -> ThresholdRow:
        kept, said, hit, told, moves, true_moves = (
            totals.column(f"tau {method} {name}", i) for name in COUNTS
        )
        pairs = {
            "precision": (hit, kept),
            "precision of labelled": (hit, said),
            "recall": (hit, true),
            "squares": (told, squares),
            "token precision": (true_moves, moves),
            "token recall": (true_moves, true_tokens),
        }
        return ThresholdRow(
            threshold=thresholds[i],
            n_features=float(kept[0]) / n_places,
            figures=totals.estimates(pairs),
        )

    even = {"precision": (true, nodes), "token precision": (true_tokens, tokens)}
    return ThresholdFinding(
        even=totals.estimates(even),
        methods={m: tuple(row(m, i) for i in range(len(thresholds))) for m in METHODS},
    )
