"""All latents scored against many labels at once: what `dictionaries.labels` does for few labels exactly.

Each latent is tried as a detector at a fixed number of thresholds, which are chosen so that each lets a certain share
fewer of its firings through than the one before. Then a product of a sparse matrix (firings) with the truth values
counts the hits of every latent, threshold and label. Texts of even number choose, those of odd number judge.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int
from pydantic import Field
from scipy.sparse import csr_array

from lmscope.core.config import Config
from lmscope.core.errors import DataError
from lmscope.core.rng import numpy_generator
from lmscope.dictionaries.labels import Firings

_BLOCK: Final = 64
"""Latents that are scored at once, to bound memory."""
_NULL_QUANTILE: Final = 0.95


class TableOptions(Config):
    """How latents are scored against many labels."""

    n_thresholds: Annotated[int, Field(ge=1)] = 40
    """Tried of each latent."""
    kept_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.85
    """Share of a latent's firings above one threshold that are above the next."""
    n_permutations: Annotated[int, Field(ge=0)] = 4
    """Times that texts get labels of others, and the best latent for these is found; 0: never. Over many labels and
    latents draws differ little."""
    precision: Annotated[float, Field(gt=0, le=1)] = 0.95
    """What counts as precise: a latent that is may vote for a label (karvonen2024measuring)."""
    min_firings: Annotated[int, Field(ge=1)] = 10
    """Firings of which that precision is told, at least."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Every latent as a detector of every label.

    Attributes:
        latents: Those that fire on the texts that choose, ascending: the rows.
        threshold: By the texts that choose, for each label.
        chosen_f1: On them.
        f1: On the others.
        precision: On the others; 0 where it never fires.
        recall: On the others.
        null_f1: Of other texts' labels: F1 of their best latent, chosen and judged likewise; 95th percentile over
            draws. None if none was made.
        always_f1: Of a detector that always fires.
        n_true: Tokens of which a label holds, among those that judge.
        told: Whether a label is true of some tokens and false of others in both halves; else its column means nothing.
        votes: Lowest threshold above which a latent is precise, infinite where it never is.
        vote_precision: Above it, on the others; 0 where it never fires.
        vote_fired: Firings above it on the others.
    """

    latents: Int[np.ndarray, "row"]
    threshold: Float32[np.ndarray, "row label"]
    chosen_f1: Float32[np.ndarray, "row label"]
    f1: Float32[np.ndarray, "row label"]
    precision: Float32[np.ndarray, "row label"]
    recall: Float32[np.ndarray, "row label"]
    null_f1: Float64[np.ndarray, "label"] | None
    always_f1: Float64[np.ndarray, "label"]
    n_true: Int[np.ndarray, "label"]
    told: Bool[np.ndarray, "label"]
    votes: Float32[np.ndarray, "row label"]
    vote_precision: Float32[np.ndarray, "row label"]
    vote_fired: Float32[np.ndarray, "row label"]

    def best(self) -> Int[np.ndarray, "label"]:
        """The row of each label's best latent by the texts that choose."""
        return self.chosen_f1.argmax(0)

    def above_null(self) -> Bool[np.ndarray, "row label"]:
        """Where F1 is above both what chance and what always firing gives."""
        floor = self.always_f1
        if self.null_f1 is not None:
            floor = np.maximum(floor, self.null_f1)
        return (self.f1 > floor) & self.told


def label_table(
    firings: Firings,
    labels: Bool[np.ndarray, "token label"],
    options: TableOptions = TableOptions(),  # noqa: B008 (a frozen value)
    *,
    by_place: Sequence[int] = (),
) -> LabelTable:
    """Score all latents that fire against all labels.

    F1 of the chosen threshold is below that of the best one there is by no more than the grid of thresholds is coarse:
    by default a few hundredths at most.

    Args:
        firings: Of all latents of a dictionary.
        labels: Truth values of each token.
        options: How.
        by_place: Labels that the place in a text decides, whatever the text: other texts have the same ones, so chance
            is told by each text's own labels, turned round by some tokens.

    Raises:
        DataError: Lengths differ, there are fewer than two texts, or no latent fires on those that choose.
    """
    if len(labels) != len(firings.text):
        raise DataError(f"There are truth values of {len(labels)} tokens for {len(firings.text)}.")
    chooses = firings.text % 2 == 0
    if chooses.all() or not chooses.any():
        raise DataError("Latents are chosen on some texts and judged on others: give two or more.")
    cuts = _cuts(firings, chooses, options)
    choosing = _Half.of(firings, chooses, cuts, labels)
    judging = _Half.of(firings, ~chooses, cuts, labels)
    parts = [_score(choosing, judging, cuts, rows, options) for rows in _blocks(len(cuts.latents))]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    n_true, n_tokens = judging.n_true, len(judging.truth)
    return LabelTable(
        latents=cuts.latents,
        null_f1=_null(choosing, judging, options, by_place) if options.n_permutations else None,
        always_f1=2 * n_true / (n_tokens + n_true),
        n_true=n_true,
        told=choosing.told & judging.told,
        **joined,
    )


def voted(
    firings: Firings, table: LabelTable, columns: Sequence[int]
) -> Bool[np.ndarray, "token label"]:
    """Whether any precise latent says that a label holds (karvonen2024measuring).

    Args:
        firings: Of the dictionary that the table is of.
        table: Which latents are precise, and above which thresholds.
        columns: The labels.
    """
    found = np.zeros((len(firings.text), len(columns)), dtype=np.bool_)
    floors = table.votes[:, columns]
    row_of = {int(latent): row for row, latent in enumerate(table.latents)}
    for latent, mine in by_latent(firings.latent):
        if (row := row_of.get(latent)) is None:
            continue
        token, value = firings.token[mine], firings.value[mine]
        for i in np.flatnonzero(np.isfinite(floors[row])).tolist():
            found[token[value > floors[row, i]], i] = True
    return found


def by_latent(
    latent: Int[np.ndarray, "firing"],
) -> list[tuple[int, Int[np.ndarray, "some"]]]:
    """Each latent that fires, ascending, with its firings in their order."""
    if not len(latent):
        return []
    small = latent.max() <= np.iinfo(np.uint16).max  # then numpy sorts without comparing
    order = np.argsort(latent.astype(np.uint16) if small else latent, kind="stable")
    latents, starts = np.unique(latent[order], return_index=True)
    return list(zip(latents.tolist(), np.split(order, starts[1:]), strict=True))


@dataclass(frozen=True, eq=False)
class _Cuts:
    """Thresholds of each latent that fires on the texts that choose, ascending."""

    latents: Int[np.ndarray, "row"]
    values: Float32[np.ndarray, "row cut"]


@dataclass(frozen=True, eq=False)
class _Half:
    """Firings on half of the texts by row and by how many thresholds they pass, and the truth there."""

    token: Int[np.ndarray, "firing"]
    cell: Int[np.ndarray, "firing"]
    starts: Int[np.ndarray, "row_and_end"]
    truth: Float32[np.ndarray, "token label"]
    text: Int[np.ndarray, "token"]
    n_cuts: int
    n_true: Int[np.ndarray, "label"] = field(init=False)
    told: Bool[np.ndarray, "label"] = field(init=False)

    def __post_init__(self) -> None:
        n_true = self.truth.sum(0, dtype=np.float64).astype(np.int64)
        object.__setattr__(self, "n_true", n_true)
        object.__setattr__(self, "told", (n_true > 0) & (n_true < len(self.truth)))

    @staticmethod
    def of(
        firings: Firings,
        half: Bool[np.ndarray, "token"],
        cuts: _Cuts,
        labels: Bool[np.ndarray, "token label"],
    ) -> "_Half":
        n_rows, n_cuts = cuts.values.shape
        here = np.flatnonzero(half[firings.token])
        row_of = {int(latent): row for row, latent in enumerate(cuts.latents)}
        place = np.cumsum(half) - 1
        tokens, cells = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        sizes = np.zeros(n_rows, np.int64)
        for latent, mine in by_latent(firings.latent[here]):
            if (row := row_of.get(latent)) is None:
                continue
            own = here[mine]
            # A firing belongs to the last threshold that it is above; all are above the first, which is 0.
            passed = np.searchsorted(cuts.values[row], firings.value[own], side="left") - 1
            tokens.append(place[firings.token[own]])
            cells.append(row * n_cuts + passed)
            sizes[row] = len(own)
        truth = labels[half].astype(np.float32)
        starts = np.append(0, np.cumsum(sizes))
        token, cell = np.concatenate(tokens), np.concatenate(cells)
        return _Half(token, cell, starts, truth, firings.text[half], n_cuts)

    def hits(
        self, rows: slice, truth: Float32[np.ndarray, "token label"]
    ) -> Float32[np.ndarray, "row cut label"]:
        """Tokens that are above each threshold of some rows and of which each label holds."""
        mine = slice(int(self.starts[rows.start]), int(self.starts[rows.stop]))
        n_rows = rows.stop - rows.start
        shape = (n_rows * self.n_cuts, len(self.truth))
        ones = np.ones(mine.stop - mine.start, dtype=np.float32)
        cells = (self.cell[mine] - rows.start * self.n_cuts, self.token[mine])
        found = (csr_array((ones, cells), shape=shape) @ truth).reshape(n_rows, self.n_cuts, -1)
        return _from_above(found)

    def n_fired(self, rows: slice) -> Float32[np.ndarray, "row cut"]:
        """Tokens that are above each threshold of some rows."""
        mine = self.cell[int(self.starts[rows.start]) : int(self.starts[rows.stop])]
        n_rows = rows.stop - rows.start
        counts = np.bincount(mine - rows.start * self.n_cuts, minlength=n_rows * self.n_cuts)
        return _from_above(counts.astype(np.float32).reshape(n_rows, self.n_cuts))

    def fired(self, row: int, cut: int) -> Int[np.ndarray, "some"]:
        """Tokens on which a row is above one of its thresholds."""
        mine = slice(int(self.starts[row]), int(self.starts[row + 1]))
        return self.token[mine][self.cell[mine] >= row * self.n_cuts + cut]


def _cuts(firings: Firings, half: Bool[np.ndarray, "token"], options: TableOptions) -> _Cuts:
    here = half[firings.token]
    latent, value = firings.latent[here], firings.value[here]
    groups = by_latent(latent)
    if not groups:
        raise DataError("No latent fires on the texts that choose: give more of them.")
    kept = options.kept_fraction ** np.arange(options.n_thresholds)
    found = np.zeros((len(groups), options.n_thresholds), dtype=np.float32)
    for i, (_, mine) in enumerate(groups):
        ascending = np.sort(value[mine])
        above = np.ceil(kept * len(ascending)).astype(np.int64)  # so many firings are above each
        place = len(ascending) - above
        found[i] = (ascending[place] + ascending[np.maximum(place - 1, 0)]) / 2
    found[:, 0] = 0.0
    return _Cuts(np.array([latent for latent, _ in groups]), found)


def _blocks(n_rows: int) -> Iterator[slice]:
    for first in range(0, n_rows, _BLOCK):
        yield slice(first, min(first + _BLOCK, n_rows))


def _score(
    choosing: _Half, judging: _Half, cuts: _Cuts, rows: slice, options: TableOptions
) -> dict[str, Float32[np.ndarray, "row label"]]:
    hits, fired = choosing.hits(rows, choosing.truth), choosing.n_fired(rows)[..., None]
    f1 = 2 * hits / np.maximum(fired + choosing.n_true.astype(np.float32), 1)
    cut = f1.argmax(1, keepdims=True)
    precise = (hits >= options.precision * fired) & (fired >= options.min_firings)
    lowest = np.where(precise.any(1), precise.argmax(1), -1)
    values = cuts.values[rows]
    judged_hits, judged_fired = judging.hits(rows, judging.truth), judging.n_fired(rows)
    judged = np.take_along_axis(judged_hits, cut, 1)[:, 0]
    n_fired = np.take_along_axis(judged_fired, cut[:, 0], 1)
    voting = np.maximum(lowest, 0)
    floor = np.take_along_axis(values, voting, 1)
    vote_hits = np.take_along_axis(judged_hits, voting[:, None], 1)[:, 0]
    vote_fired = np.where(lowest < 0, 0.0, np.take_along_axis(judged_fired, voting, 1))
    n_true = judging.n_true.astype(np.float32)
    return {
        "threshold": np.take_along_axis(values, cut[:, 0], 1),
        "chosen_f1": np.take_along_axis(f1, cut, 1)[:, 0],
        "f1": 2 * judged / np.maximum(n_fired + n_true, 1),
        "precision": judged / np.maximum(n_fired, 1),
        "recall": judged / np.maximum(n_true, 1),
        "votes": np.where(lowest < 0, np.float32(np.inf), floor),
        "vote_precision": np.where(vote_fired > 0, vote_hits / np.maximum(vote_fired, 1), 0.0),
        "vote_fired": vote_fired,
    }


def _null(
    choosing: _Half, judging: _Half, options: TableOptions, by_place: Sequence[int]
) -> Float64[np.ndarray, "label"]:
    """F1 of the best latent for labels of other texts, which it cannot know; 95th percentile of draws."""
    draws, columns = [], list(by_place)
    for draw in range(options.n_permutations):
        rng = numpy_generator(options.seed, "labels", draw)
        moved = []
        for half in (choosing, judging):
            truth = half.truth[_of_others(half.text, rng)]
            truth[:, columns] = half.truth[:, columns][_turned(half.text, rng)]
            moved.append(truth)
        draws.append(_best_of(choosing, judging, *moved))
    return np.quantile(draws, _NULL_QUANTILE, axis=0)


def _best_of(
    choosing: _Half,
    judging: _Half,
    chosen_by: Float32[np.ndarray, "token label"],
    judged_by: Float32[np.ndarray, "other label"],
) -> Float64[np.ndarray, "label"]:
    n_true = chosen_by.sum(0)
    n_labels = len(n_true)
    best, row, cut = np.full(n_labels, -1.0), np.zeros(n_labels, int), np.zeros(n_labels, int)
    for rows in _blocks(len(choosing.starts) - 1):
        f1 = 2 * choosing.hits(rows, chosen_by)
        f1 /= np.maximum(choosing.n_fired(rows)[..., None] + n_true, 1)
        flat = f1.reshape(-1, n_labels)
        place = flat.argmax(0)
        value = flat[place, np.arange(n_labels)]
        better = value > best
        best[better] = value[better]
        row[better] = rows.start + place[better] // choosing.n_cuts
        cut[better] = place[better] % choosing.n_cuts
    true = judged_by.sum(0, dtype=np.float64)
    found = np.zeros(n_labels)
    for label in range(n_labels):
        fired = judging.fired(int(row[label]), int(cut[label]))
        found[label] = 2 * judged_by[fired, label].sum() / max(len(fired) + float(true[label]), 1.0)
    return found


def _of_others(
    text: Int[np.ndarray, "token"], rng: np.random.Generator
) -> Int[np.ndarray, "token"]:
    """For each token one of another text at the same place; texts that are too short are repeated."""
    pieces = _pieces(text)
    if len(pieces) == 1:
        return _turned(text, rng)
    order = rng.permutation(len(pieces))  # once round: no text keeps its own
    giver = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    return np.concatenate([np.resize(pieces[giver[i]], len(own)) for i, own in enumerate(pieces)])


def _turned(text: Int[np.ndarray, "token"], rng: np.random.Generator) -> Int[np.ndarray, "token"]:
    """For each token another one of its text, so many tokens away, round the end."""
    return np.concatenate(
        [np.roll(own, int(rng.integers(1, max(len(own), 2)))) for own in _pieces(text)]
    )


def _pieces(text: Int[np.ndarray, "token"]) -> list[Int[np.ndarray, "some"]]:
    return np.split(np.arange(len(text)), np.unique(text, return_index=True)[1][1:])


def _from_above(counts: np.ndarray) -> np.ndarray:
    """Sums over this threshold and all higher ones, along axis 1, in place."""
    for cut in range(counts.shape[1] - 1, 0, -1):
        counts[:, cut - 1] += counts[:, cut]
    return counts
