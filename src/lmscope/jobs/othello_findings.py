"""What is measured at one place of a game of Othello: sums that add up over places to shares of all (he2024othello).

Each function takes one place and gives its parts by name, so that a ratio of sums over games has an interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from lmscope.circuits.attribution import Attribution, attribute
from lmscope.circuits.config import TraceOptions
from lmscope.circuits.frozen import Frozen
from lmscope.circuits.interventions import LatentRule, edited_logits, run_edited
from lmscope.circuits.score_groups import KINDS, ScoreGroups, score_groups, written_by_kind
from lmscope.circuits.scores import head_pattern
from lmscope.circuits.targets import FeatureTarget, LogitTarget
from lmscope.core.site import Site
from lmscope.jobs.othello_nodes import NodeMask, Nodes, Place
from lmscope.models.batch import Batch
from lmscope.models.edit import At

Sums = dict[str, tuple[float, ...]]
CONTROLS: Final = ("same places", "anywhere")
"""Random features, as many as a circuit has: at each of its sites and positions, or of all that fire."""
ABLATED: Final = ("line", "same places", "other squares")
"""Features that are taken out: those of the lines; as many others at each of their sites and positions; as many that
speak of discs on other squares."""
REPLACED: Final = ("makers", "other moves")
"""Moves whose token embeddings give way to the mean of the game's: those that made a square what it is, and as many others."""
LINE_KINDS: Final = ("line", "state", "legal")
METHODS: Final = ("hierarchical", "standard", "random")
MET: Final = ("position x position", "position x feature", "feature x feature", "token", "other")
"""Pairs of an attention score: `token` is what a token embedding has part in, `other` what constants and errors have."""
_ALL: Final = TraceOptions(threshold=0.0)


@dataclass(frozen=True, eq=False)
class Seen:
    """A place as it is traced.

    Attributes:
        frozen: The run up to the place.
        nodes: Its active features.
        place: The place.
        made: Which moves put or turned the disc on each square.
        own: Which moves were made by the player who moves next.
        rng: What draws controls.
    """

    frozen: Frozen
    nodes: Nodes
    place: Place
    made: Bool[np.ndarray, "square earlier"]
    own: Bool[np.ndarray, "earlier"]
    rng: np.random.Generator

    @property
    def target(self) -> LogitTarget:
        """The logit of the move above the mean of all."""
        return LogitTarget(self.place.token, -1, demeaned=True)

    def kept(self, found: Attribution) -> NodeMask:
        """The circuit."""
        return self.nodes.flat({site: one.kept for site, one in found.sites.items()}) > 0


def logit_sums(seen: Seen, options: TraceOptions, n_draws: int) -> Sums:
    """Which features of the lines a move's circuit has, beside random features.

    Args:
        seen: The place.
        options: How far the logit is traced.
        n_draws: Random sets of each kind, which are averaged.
    """
    nodes = seen.nodes
    kept = seen.kept(attribute(seen.frozen, seen.target, options))
    truth = nodes.of_lines(seen.place)
    drawn = {
        "same places": [nodes.drawn_alike(kept, seen.rng) for _ in range(n_draws)],
        "anywhere": [nodes.drawn(int(kept.sum()), seen.rng) for _ in range(n_draws)],
    }
    found: Sums = {"logit n": (1.0,)}
    for arm, sets in {"circuit": [kept], **drawn}.items():
        hits = np.array([[(one & truth[kind]).sum() for kind in LINE_KINDS] for one in sets])
        found[f"logit {arm} has"] = _plain((hits > 0).mean(0))
        found[f"logit {arm} of"] = _plain(hits.mean(0))
        found[f"logit {arm} nodes"] = (float(np.mean([one.sum() for one in sets])),)
    return found


def ablation_sums(seen: Seen, least_probability: float, *, everywhere: bool) -> Sums:
    """Whether a move stops being legal for the model when the features of its lines are taken out.

    Only places where it is legal for the model to begin with, and where such features fire, are tried.

    Args:
        seen: The place.
        least_probability: What the model gives more to is legal for it.
        everywhere: Whether features are taken out at all moves so far; else at the place alone.
    """
    nodes, place = seen.nodes, seen.place
    sets = ablation_sets(seen, everywhere=everywhere)
    rows = [np.zeros(len(nodes), dtype=np.bool_), *sets.values()]
    logits = _logits(seen, rows).double()
    p = logits.softmax(-1).cpu().numpy()
    token, others = place.token, place.others
    was_legal, fires = bool(p[0, token] > least_probability), bool(sets["line"].any())
    size = seen.place.world.n_tokens
    is_legal = np.isin(np.arange(1, size), [token, *others])
    clean = p[0, 1:] > least_probability
    tried = was_legal and fires
    found: Sums = {
        "ablation places": (1.0,),
        "ablation legal before": (float(was_legal),),
        "ablation fires": (float(fires),),
        "ablation n": (float(tried),),
        "ablation told": (float((clean & is_legal).sum()), float((~clean & ~is_legal).sum())),
        "ablation moves": (float(is_legal.sum()), float((~is_legal).sum())),
        "ablation others": (float((p[0, others] > least_probability).sum() * tried),),
    }
    for row, (arm, chosen) in enumerate(sets.items(), start=1):
        below = bool(p[row, token] <= least_probability)
        behind = bool(p[row, token] < p[row, others].min())
        left = (p[row, others] > least_probability) & (p[0, others] > least_probability)
        values = (below, behind, below and behind, p[0, token] - p[row, token], chosen.sum())
        found[f"ablation {arm}"] = tuple(float(v) * tried for v in values)
        found[f"ablation {arm} others"] = (float(left.sum() * tried),)
    return found


def ablation_sets(seen: Seen, *, everywhere: bool) -> dict[str, NodeMask]:
    """What is taken out, by `ABLATED`."""
    nodes, place = seen.nodes, seen.place
    where = np.ones(len(nodes), dtype=np.bool_)
    if not everywhere:
        where = nodes.position == place.place
    line = nodes.of_squares(place.on_line) & where
    elsewhere = nodes.of_squares(~place.on_line) & where
    return {
        "line": line,
        "same places": nodes.drawn_alike(line, seen.rng, among=~line),
        "other squares": nodes.drawn(int(line.sum()), seen.rng, among=elsewhere),
    }


def state_sums(seen: Seen, n_features: int) -> Sums:
    """How much of a board-state feature comes from the tokens of the moves that made the square so.

    Features that say truly at the place that a disc is mine or yours are traced, everything let through. Squares
    that no move touched, and those that every move did, say nothing. Each is then read in the model itself where the
    embeddings of these moves' tokens give way to the mean.

    Args:
        seen: The place.
        n_features: At most so many, drawn evenly.
    """
    nodes, place = seen.nodes, seen.place
    board = place.world.bits(np.array([place.mine, place.yours], dtype=np.uint64))
    n_made = seen.made.sum(1)
    able = (n_made > 0) & (n_made < seen.made.shape[1])
    here = nodes.position == place.place
    true = (nodes.says("mine", board[0] & able) | nodes.says("yours", board[1] & able)) & here
    found, edits = np.zeros(8), np.zeros(7)
    for index in np.flatnonzero(nodes.drawn(n_features, seen.rng, among=true)).tolist():
        site, latent = nodes.name(index)
        start = attribute(seen.frozen, FeatureTarget(site, -1, latent), _ALL)
        tokens = start.ledger.tokens.double().cpu().numpy()
        told = [
            (family, square)
            for family, own in zip(("mine", "yours"), board & able, strict=True)
            for square in np.flatnonzero(nodes.squares(index, family) & own).tolist()
        ]
        family, square = told[int(seen.rng.integers(len(told)))]
        other = int(seen.rng.choice(np.flatnonzero(able & (np.arange(len(able)) != square))))
        found += _token_parts(tokens, seen.made[square], seen.made[other])
        level = nodes.level(site, latent, family, square)
        edits += _without_makers(seen, FeatureTarget(site, -1, latent), seen.made[square], level)
    return {"state": _plain(found), "state edits": _plain(edits)}


def _without_makers(
    seen: Seen, target: FeatureTarget, made: Bool[np.ndarray, "earlier"], level: float
) -> Float64[np.ndarray, "part"]:
    """A feature of a square in the model itself, where the moves that made the square so have lost their names.

    Args:
        seen: The place.
        target: The feature.
        made: The moves.
        level: Above what pre-activation it says its label.

    Returns:
        1; then of each of `REPLACED` whether the feature says its label, and how far its pre-activation fell; at last
        how many moves were replaced, and the size of the pre-activation before.
    """
    others = np.flatnonzero(~made)
    drawn = np.zeros(len(made), dtype=np.bool_)
    drawn[seen.rng.permutation(others)[: made.sum()]] = True
    rows = torch.from_numpy(np.stack([np.zeros_like(made), made, drawn]))

    def gone(x: Tensor, _at: At) -> Tensor:
        return torch.where(rows[..., None].to(x.device), x.mean(1, keepdim=True), x)

    with seen.frozen.replacement.model.edit({"embed": gone}):
        values = run_edited(seen.frozen, target, {}, len(rows)).tolist()
    before = values[0]
    parts = [part for after in values[1:] for part in (after > level, before - after)]
    return np.array([1.0, *map(float, parts), float(made.sum()), abs(before)])


def empty_sums(seen: Seen, n_features: int) -> Sums:
    """Whether features of empty squares fall silent by the move that took the square.

    Features that say a square is empty, and are silent at the place as it has been taken, are traced, everything let
    through: what keeps them from firing. Each is then read in the model itself where the embedding of the token of the
    move that took the square gives way to the mean.

    Args:
        seen: The place.
        n_features: At most so many, drawn evenly.
    """
    nodes, world = seen.nodes, seen.place.world
    moves = seen.frozen.tokens.cpu().numpy()
    taken_at = {s: np.flatnonzero(moves == world.token_of[s]) for s in map(int, world.squares)}
    taken = [square for square, at in taken_at.items() if len(at)]
    silent = nodes.silent("empty", seen.place.among(taken), seen.place.place)
    found, edits = np.zeros(4), np.zeros(7)
    for i in seen.rng.permutation(len(silent))[:n_features].tolist():
        site, latent, square = silent[i]
        start = attribute(seen.frozen, FeatureTarget(site, -1, latent), _ALL)
        tokens = start.ledger.tokens.double().cpu().numpy()
        taker = int(taken_at[square][0])
        total = np.abs(tokens).sum()
        share = abs(tokens[taker]) / total if total else 0.0
        found += [1.0, share, 1 / len(tokens), float(tokens.argmin() == taker)]
        made = np.arange(len(tokens)) == taker
        level = nodes.level(site, latent, "empty", square)
        edits += _without_makers(seen, FeatureTarget(site, -1, latent), made, level)
    return {"empty": _plain(found), "empty edits": _plain(edits)}


def _token_parts(
    tokens: Float64[np.ndarray, "earlier"],
    made: Bool[np.ndarray, "earlier"],
    other: Bool[np.ndarray, "earlier"],
) -> Float64[np.ndarray, "part"]:
    """Of one trace: 1, shares on makers, on those of another square, what even shares give for both, and the last."""
    sizes = np.abs(tokens)
    total = sizes.sum()
    if not total:
        return np.zeros(8)
    share, last = sizes / total, np.flatnonzero(made)[-1]
    return np.array(
        [
            1.0,
            share[made].sum(),
            made.mean(),
            share[other].sum(),
            other.mean(),
            share[last],
            1 / len(tokens),
            float(made[share.argmax()]),
        ]
    )


def attention_sums(seen: Seen) -> Sums:
    """Whose moves each head attends to from the place, and what makes its scores differ between them.

    Columns have one figure for each head, layer by layer.
    """
    model = seen.frozen.replacement.model
    rows: dict[str, list[float]] = {}
    for layer in range(model.n_layers):
        written = written_by_kind(seen.frozen, layer)
        for head in range(model.n_heads):
            groups = score_groups(seen.frozen, layer, head, -1, written)
            pattern = head_pattern(seen.frozen, layer, head)[-1].double().cpu().numpy()
            for name, value in _head_sums(groups, pattern, seen.own).items():
                rows.setdefault(f"attention {name}", []).append(value)
    even = (1.0, float(seen.own.mean()), 1 / len(seen.own))
    return {"attention n": even} | {name: tuple(values) for name, values in rows.items()}


def _head_sums(
    groups: ScoreGroups, pattern: Float64[np.ndarray, "key"], own: Bool[np.ndarray, "key"]
) -> dict[str, float]:
    scores = groups.scores.double().cpu().numpy()
    met = pairs_met(groups)
    rest = [i for i, kind in enumerate(KINDS) if kind != "position"]
    without = groups.pairs.double().cpu().numpy()[np.ix_(rest, rest)].sum((0, 1))
    centred = scores - scores.mean()
    found = {
        "mine": float(pattern[own].sum()),
        "self": float(pattern[-1]),
        "mine by positions alone": float(_softmax(met["position x position"])[own].sum()),
        "mine without positions": float(_softmax(without)[own].sum()),
        "variance": float((centred**2).sum()),
    }
    for name, values in met.items():
        found[f"of {name}"] = float((centred * (values - values.mean())).sum())
    return found


def pairs_met(groups: ScoreGroups) -> dict[str, Float64[np.ndarray, "key"]]:
    """Scores of a query by `MET`; they sum to the scores."""
    pairs = groups.pairs.double().cpu().numpy()
    found = {name: np.zeros(pairs.shape[-1]) for name in MET}
    for i, at_query in enumerate(KINDS):
        for j, at_key in enumerate(KINDS):
            found[_met(at_query, at_key)] += pairs[i, j]
    return found


def _met(one: str, other: str) -> str:
    kinds = {one, other}
    if kinds & {"other", "constant"}:
        return "other"
    if "token" in kinds:
        return "token"
    return " x ".join(sorted((one, other), reverse=True))


def threshold_sums(seen: Seen, thresholds: Sequence[float], options: TraceOptions) -> Sums:
    """Precision and recall of circuits against the lines, at several thresholds and found in three ways.

    A feature is true if it speaks of a disc of a line, a token if its move put or turned one. Circuits of all three
    ways have as many features, and as many tokens, as the hierarchical one at that threshold.

    Args:
        seen: The place.
        thresholds: Shares of the target.
        options: By what rule.
    """
    nodes, place = seen.nodes, seen.place
    full = attribute(seen.frozen, seen.target, options.model_copy(update={"threshold": 0.0}))
    sizes = nodes.flat({site: one.attribution.abs() for site, one in full.sites.items()})
    ranked = np.argsort(-sizes, kind="stable")
    tokens = np.argsort(-full.ledger.tokens.abs().cpu().numpy(), kind="stable")
    true = nodes.of_squares(place.on_line)
    true_token = seen.made[place.on_line].any(0)
    rows: dict[str, list[float]] = {}
    for threshold in thresholds:
        one = attribute(
            seen.frozen, seen.target, options.model_copy(update={"threshold": threshold})
        )
        cut = threshold * (abs(one.start.value) if options.relative else 1.0)
        reached = (one.ledger.tokens.abs() >= cut).cpu().numpy()
        kept = seen.kept(one)
        n, m = int(kept.sum()), int(reached.sum())
        circuits = {
            "hierarchical": (kept, reached),
            "standard": (_first(ranked, n), _first(tokens, m)),
            "random": (
                nodes.drawn(n, seen.rng),
                _first(seen.rng.permutation(len(tokens)), m),
            ),
        }
        for method, (chosen, moves) in circuits.items():
            hit = chosen & true
            counted = (
                chosen,
                chosen & nodes.speaks,
                hit,
                nodes.told_squares(hit) & place.on_line,
                moves,
                moves & true_token,
            )
            for name, one_of in zip(COUNTS, counted, strict=True):
                rows.setdefault(f"tau {method} {name}", []).append(float(one_of.sum()))
    every = (true, place.on_line, true_token, np.ones(len(nodes)), np.ones(len(tokens)))
    totals = tuple(float(one.sum()) for one in every)
    return {"tau totals": totals} | {name: tuple(v) for name, v in rows.items()}


COUNTS: Final = ("kept", "said", "true", "squares", "tokens", "true tokens")
"""Of a circuit: features, those that say anything, those that are true, squares of lines that these speak of; tokens,
and true ones."""


@torch.no_grad()
def _logits(seen: Seen, rows: Sequence[NodeMask]) -> Tensor:
    """Logits at the place, in each row without its nodes."""
    rules = _taking_out(seen.nodes, rows)
    if rules:
        return edited_logits(seen.frozen, rules, len(rows))
    found = seen.frozen.replacement.model(Batch(tokens=seen.frozen.tokens[None]))
    return found.logits[:, -1].expand(len(rows), -1)


def _taking_out(nodes: Nodes, rows: Sequence[NodeMask]) -> Mapping[Site, LatentRule]:
    """In each row its nodes write nothing."""
    masks = [nodes.masks(row) for row in rows]
    shapes = {site: mask for one in masks for site, mask in one.items()}

    def rule(site: Site) -> LatentRule:
        none = torch.zeros_like(shapes[site])
        out = torch.stack([one.get(site, none) for one in masks])
        return lambda live: live.masked_fill(out, 0.0)

    return {site: rule(site) for site in shapes}


def _first(order: np.ndarray, n: int) -> np.ndarray:
    found = np.zeros(len(order), dtype=np.bool_)
    found[order[:n]] = True
    return found


def _softmax(scores: Float64[np.ndarray, "key"]) -> Float64[np.ndarray, "key"]:
    found = np.exp(scores - scores.max())
    return found / found.sum()


def _plain(values: Float64[np.ndarray, "part"]) -> tuple[float, ...]:
    return tuple(values.tolist())
