"""What circuits of a model of Othello show, put together from sums over games, with intervals over games."""

from collections.abc import Callable, Sequence
from typing import Final, Literal

from lmscope.core.config import Config
from lmscope.display.tables import Cell, Table
from lmscope.evaluation.statistics import (
    Estimate,
)
from lmscope.jobs.othello_findings import (
    LINE_KINDS,
    MET,
    METHODS,
)

Finding = Literal["logit", "ablation", "state", "empty", "attention", "thresholds"]
FINDINGS: Final[tuple[Finding, ...]] = (
    "logit",
    "ablation",
    "state",
    "empty",
    "attention",
    "thresholds",
)
Estimates = dict[str, Estimate]
"""By name; what is undefined (0 / 0) is left out."""


class LogitArm(Config):
    """Circuits of legal moves, or random features in their place.

    By kind: `line`, a feature that speaks of a disc of a flanking line, anywhere in the game; `state`, one that says
    at the place itself that an anchor is mine or a disc between yours; `legal`, one that says there that the move is
    legal.
    """

    arm: str
    has: Estimates
    """Share of circuits with at least one such feature."""
    share: Estimates
    """Share of such features among those of circuits."""
    n_features: float


class LogitFinding(Config):
    """Whether circuits of legal moves contain features of their flanking lines."""

    n_places: int
    arms: tuple[LogitArm, ...]
    more: Estimates
    """Share of circuits with such a feature, above that of random features at the same sites and positions."""


class AblationArm(Config):
    """Features that were taken out at the places that were tried."""

    arm: str
    below: Estimate | None = None
    """Share of places where the move is no longer legal for the model."""
    behind: Estimate | None = None
    """Share where all other legal moves are likelier than it."""
    both: Estimate | None = None
    lost_probability: Estimate | None = None
    """Of the move, on average."""
    others_left: Estimate | None = None
    """Share of the other legal moves, of those that were legal for the model, that are so still."""
    n_features: float


class AblationFinding(Config):
    """Whether a move stops being legal for the model without the features of its flanking lines."""

    least_probability: float
    """What the model gives more to is legal for it."""
    n_places: int
    n_tried: int
    """Places where the move was legal for the model and features of its lines fire."""
    legal_before: Estimate | None = None
    fires: Estimate | None = None
    """Share of places where such features fire."""
    legal_told: Estimate | None = None
    """Share of legal moves that are legal for the model as it is."""
    illegal_told: Estimate | None = None
    """Share of moves that are not, and are not for the model."""
    arms: tuple[AblationArm, ...]


class SquareArm(Config):
    """Features of the board in the model itself, where tokens of some moves gave way to the mean."""

    arm: str
    says: Estimate | None = None
    """Share of features that say their label at the place."""
    moved: Estimate | None = None
    """By how much their pre-activations fell, as a share of their size, all together; below 0 where they rose."""


class StateFinding(Config):
    """How much of a board-state feature comes from tokens of the moves that made its square so.

    Shares are of the sizes of what token embeddings add to the feature, averaged over features.
    """

    n_features: int
    makers: Estimate | None = None
    """On the moves that put or turned the disc."""
    makers_even: Estimate | None = None
    """The same if all tokens had an equal share."""
    other_makers: Estimate | None = None
    """On the moves that put or turned the disc of another square."""
    other_even: Estimate | None = None
    last_maker: Estimate | None = None
    """On the one that did it last."""
    last_even: Estimate | None = None
    top_is_maker: Estimate | None = None
    """Share of features whose largest token is among the makers."""
    n_replaced: float = 0.0
    """Moves that made a square so, on average."""
    arms: tuple[SquareArm, ...] = ()
    """Without their tokens, and without those of as many other moves."""


class EmptyFinding(Config):
    """Whether features of empty squares fall silent by the move that took the square.

    Shares are of the sizes of what token embeddings add to the feature's pre-activation, averaged over features.
    """

    n_features: int
    taker: Estimate | None = None
    """On the move that took the square."""
    even: Estimate | None = None
    """The same if all tokens had an equal share."""
    lowest_is_taker: Estimate | None = None
    """Share of features whose lowest token, which keeps it most from firing, is that move."""
    arms: tuple[SquareArm, ...]
    """Without its token, and without that of another move."""


class HeadFinding(Config):
    """One head, from the places that were drawn."""

    layer: int
    head: int
    figures: Estimates
    """`mine`: share of attention on moves of the player who moves next; `self`: on the last move; `mine by positions
    alone`: the first if scores held only pairs of position embeddings; `mine without positions`: if they held no pair
    with one."""
    explained: Estimates
    """Of how scores differ between keys, the share that each kind of pairs has; they sum to 1."""


class AttentionFinding(Config):
    """Whose moves heads attend to, and what makes their scores."""

    n_places: int
    even: Estimates
    """`mine` and `self` if attention were even."""
    heads: tuple[HeadFinding, ...]


class ThresholdRow(Config):
    """Circuits of one way at one threshold."""

    threshold: float
    n_features: float
    figures: Estimates
    """`precision`: share of features that speak of a disc of a line; `precision of labelled`: among those that say
    anything; `recall`: of all that fire and speak so; `squares`: share of squares of lines that some speaks of;
    `token precision`, `token recall`: of moves that put or turned discs of the lines."""


class ThresholdFinding(Config):
    """Circuits scored by what is known to be true."""

    even: Estimates
    """`precision` and `token precision` of all that fires, which random sets have."""
    methods: dict[str, tuple[ThresholdRow, ...]]


class OthelloCircuitsReport(Config):
    """What one run found."""

    model: str
    weights_hash: str
    size: int
    """Squares along a side of the board."""
    dictionaries: tuple[str, ...]
    """By the sites that they write."""
    n_labelled: int
    """Latents that say something, in all dictionaries."""
    n_games: int
    n_places: int
    logit: LogitFinding | None = None
    ablation: AblationFinding | None = None
    state: StateFinding | None = None
    empty: EmptyFinding | None = None
    attention: AttentionFinding | None = None
    thresholds: ThresholdFinding | None = None

    def tables(self) -> tuple[Table, ...]:
        """All findings for people."""
        found: list[Table] = []
        if self.logit is not None:
            found += _logit_tables(self.logit)
        if self.ablation is not None:
            found.append(_ablation_table(self.ablation))
        if self.state is not None:
            found += [_state_table(self.state), _square_table("board-state", self.state)]
        if self.empty is not None:
            found += [_empty_table(self.empty), _square_table("empty-cell", self.empty)]
        if self.attention is not None:
            found += _attention_tables(self.attention)
        if self.thresholds is not None:
            found += _threshold_tables(self.thresholds)
        return tuple(found)


def _logit_tables(found: LogitFinding) -> list[Table]:
    tables: list[tuple[str, Callable[[LogitArm], Estimates]]] = [
        ("Circuits of legal moves with a feature of", lambda arm: arm.has),
        ("Such features among those of circuits", lambda arm: arm.share),
    ]
    return [
        Table(
            ("features", "number", *LINE_KINDS),
            tuple((one.arm, one.n_features, *_cells(of(one), LINE_KINDS)) for one in found.arms),
            caption=f"{caption}, {found.n_places} places",
        )
        for caption, of in tables
    ]


def _ablation_table(found: AblationFinding) -> Table:
    rows = tuple(
        (
            one.arm,
            one.n_features,
            *map(_cell, (one.below, one.behind, one.both, one.lost_probability, one.others_left)),
        )
        for one in found.arms
    )
    columns = ("taken out", "number", "not legal", "behind", "both", "p lost", "others legal")
    caption = (
        f"Moves without the features of their lines, {found.n_tried} of {found.n_places} places; a move is legal for the "
        f"model above {found.least_probability:g} (so are {_cell(found.legal_told)} of legal moves, and "
        f"{_cell(found.illegal_told)} of the others are not)"
    )
    return Table(columns, rows, caption=caption)


def _state_table(found: StateFinding) -> Table:
    rows = (
        ("moves that made the square so", _cell(found.makers), _cell(found.makers_even)),
        ("the last of them", _cell(found.last_maker), _cell(found.last_even)),
        ("moves that made another square so", _cell(found.other_makers), _cell(found.other_even)),
        ("largest token is one of the first", _cell(found.top_is_maker), _cell(found.makers_even)),
    )
    caption = f"Where board-state features come from, {found.n_features} features: share of tokens"
    return Table(("tokens", "share", "if even"), rows, caption=caption)


def _empty_table(found: EmptyFinding) -> Table:
    rows = (
        ("the move that took the square", _cell(found.taker), _cell(found.even)),
        ("the lowest token is that move", _cell(found.lowest_is_taker), _cell(found.even)),
    )
    caption = (
        f"What keeps empty-cell features from firing where the square is taken, {found.n_features} features: share of "
        "tokens"
    )
    return Table(("tokens", "share", "if even"), rows, caption=caption)


def _square_table(kind: str, found: StateFinding | EmptyFinding) -> Table:
    rows = tuple((one.arm, _cell(one.says), _cell(one.moved)) for one in found.arms)
    caption = (
        f"The same {kind} features in the model itself, where tokens of moves gave way to the mean"
    )
    return Table(("moves", "says so", "fell by"), rows, caption=caption)


def _attention_tables(found: AttentionFinding) -> list[Table]:
    names = ("mine", "self", "mine by positions alone", "mine without positions")
    even = ", ".join(f"{name} {one}" for name, one in found.even.items())
    heads = [(f"{one.layer}.{one.head}", one) for one in found.heads]
    return [
        Table(
            ("head", *names),
            tuple((name, *_cells(one.figures, names)) for name, one in heads),
            caption=f"Attention to moves of the player who moves next, {found.n_places} places (if even: {even})",
        ),
        Table(
            ("head", *MET),
            tuple((name, *_cells(one.explained, MET)) for name, one in heads),
            caption="What makes scores differ between keys, by what meets",
        ),
    ]


def _threshold_tables(found: ThresholdFinding) -> list[Table]:
    names = (
        "precision",
        "precision of labelled",
        "recall",
        "squares",
        "token precision",
        "token recall",
    )
    return [
        Table(
            ("threshold", "features", *names),
            tuple((one.threshold, one.n_features, *_cells(one.figures, names)) for one in rows),
            caption=f"{method} circuits against the flanking lines",
        )
        for method in METHODS
        if (rows := found.methods.get(method))
    ]


def _cells(found: Estimates, names: Sequence[str]) -> tuple[Cell, ...]:
    return tuple(_cell(found.get(name)) for name in names)


def _cell(one: Estimate | None) -> str:
    if one is None:
        return "—"
    if one.low is None or one.high is None:
        return f"{one.value:.3f}"
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
