"""What the latents of a model of Othello say of the game: the values that `lmscope othello label` gives."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError, LmscopeError
from lmscope.core.files import write_text
from lmscope.display.tables import Cell, Table
from lmscope.evaluation.statistics import Estimate

LEVELS = (0.9, 0.8, 0.7)
"""F1 above which latents are counted."""


class TruthLabel(Config):
    """A label that a latent tells, on games that chose neither it nor its threshold."""

    label: str
    threshold: float
    """The latent says that the label holds where its activation is above."""
    f1: float
    precision: float
    recall: float
    chosen_f1: float
    """On the games that chose it."""


class PreciseLabel(Config):
    """A label that holds nearly always where a latent is above a threshold, on both halves of the games."""

    label: str
    threshold: float
    precision: float
    """On games that did not choose the threshold."""
    n_fired: int
    """Tokens above it, of those games."""


class StrongestFirings(Config):
    """What is true on average where a latent fires most strongly."""

    n: int
    """Firings that are looked at."""
    moves_made: float
    empties: float
    """Empty squares."""
    n_legal: float
    """Squares that may be taken next."""
    n_flipped: float
    """Discs that the move turned."""
    black: float
    """Share in which black moves next."""
    board: tuple[float, ...]
    """Of each square, from a1 along the row: 1 where the disc is always of the player who moves next, -1 where it is
    always the other's."""


class LatentTruth(Config):
    """One latent that fires."""

    latent: int
    n_fired: int
    """Tokens on which it fires."""
    max_activation: float
    labels: tuple[TruthLabel, ...]
    """Those that it tells better than chance and than always firing would, the best first."""
    strongest: StrongestFirings
    precise: tuple[PreciseLabel, ...] = ()
    """What the latent says with the precision of the report, however rarely: by square, not by place."""


class LabelTruth(Config):
    """One label, and the latent that tells it best."""

    label: str
    family: str
    n_true: int
    """Tokens of which it holds, among those that judge."""
    always_f1: float
    """F1 of a detector that always fires."""
    null_f1: float | None = None
    """F1 of the best latent for the labels of other games; 95th percentile."""
    probe_f1: float
    """F1 of a linear probe of the same activations."""
    latent: int
    best: TruthLabel


class FamilyTruth(Config):
    """A kind of labels in one dictionary."""

    family: str
    n_labels: int
    """Labels that hold somewhere and not everywhere in both halves of the games."""
    n_above_90: int
    """Latents whose best label of this family has F1 above 0.9, more than chance and always firing give."""
    n_above_80: int
    n_above_70: int
    n_above_null: int
    """Latents that tell their best label better than chance and than always firing."""
    coverage: float
    """F1 of the best latent of each label, averaged over labels (karvonen2024measuring)."""
    null: float | None = None
    """The same by chance."""
    always: float
    """The same of a detector that always fires."""
    probe: float
    """The same of linear probes."""


class BoardTruth(Config):
    """The board as precise latents tell it together (karvonen2024measuring).

    A latent votes for `mine`, `yours` or `empty` of a square above the lowest threshold at which it is precise on the
    games that choose. F1 is that of the votes on each board, averaged over boards.
    """

    f1: Estimate
    """Interval over games."""
    precision: float
    """Share of votes that are right, over all boards."""
    recall: float
    """Share of squares whose state got a vote, over all boards."""
    n_latents: int
    """Latents that vote for some square."""
    by_place_f1: float
    """F1 of the board that is likeliest at each place of a game, whatever was played."""
    probe_f1: float
    """F1 of the board that linear probes say."""


class DictionaryTruth(Config):
    """What one dictionary knows of the game."""

    name: str
    reads: str
    writes: str
    n_latents: int
    n_firing: int
    """Latents that fire at all."""
    mean_l0: float
    """Latents that fire on a token."""
    n_tokens: int
    """That count."""
    families: tuple[FamilyTruth, ...]
    labels: tuple[LabelTruth, ...]
    latents: tuple[LatentTruth, ...]
    board: BoardTruth | None = None
    """None where the board was not asked for."""


class OthelloTruthReport(Config):
    """What the dictionaries of a model of Othello know of the game."""

    model: str
    weights_hash: str
    size: int
    """Squares along a side of the board."""
    n_games: int
    """Half of which choose latents and thresholds, the others judge."""
    seed: int
    precision: float
    """Of latents that vote."""
    min_f1: float
    """Labels of a latent with less are left out."""
    dictionaries: tuple[DictionaryTruth, ...]

    def save(self, path: Path | str) -> None:
        """Write it as one JSON object."""
        write_text(path, json.dumps(self.to_mapping(), separators=(",", ":")) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> "OthelloTruthReport":
        """Read what `save` wrote.

        Raises:
            ArtifactError: It is absent, or no such report.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError("it is no JSON object")
            return cls.from_mapping(values, "the labels")
        except (OSError, ValueError, LmscopeError) as error:
            reason = getattr(error, "strerror", None) or str(error).rstrip(".")
            raise ArtifactError(
                f"'{path}' holds no labels of Othello features: {reason}. Make them with `lmscope othello label "
                "DICTIONARIES --out FILE`."
            ) from None

    def summary(self) -> dict[str, Any]:
        """Plain values without the latents one by one."""
        values = self.to_mapping()
        for one in values["dictionaries"]:
            del one["latents"]
        return values

    def labels_of(self, dictionary: str) -> dict[int, tuple[TruthLabel, ...]]:
        """Labels of the latents of one dictionary that have any, the best first.

        Raises:
            ArtifactError: There is no such dictionary.
        """
        found = self._dictionary(dictionary).latents
        return {latent.latent: latent.labels for latent in found if latent.labels}

    def _dictionary(self, dictionary: str) -> DictionaryTruth:
        for one in self.dictionaries:
            if one.name == dictionary:
                return one
        known = ", ".join(one.name for one in self.dictionaries)
        raise ArtifactError(f"There are no labels of '{dictionary}', only of {known}.")

    def precise_of(self, dictionary: str) -> dict[int, tuple[PreciseLabel, ...]]:
        """What latents of one dictionary say precisely, of those that say anything so.

        Raises:
            ArtifactError: There is no such dictionary.
        """
        found = self._dictionary(dictionary).latents
        return {latent.latent: latent.precise for latent in found if latent.precise}

    def tables(self) -> tuple[Table, ...]:
        """Dictionaries by families: how many latents, how much of each family they cover, beside probes and chance."""
        judged = f"on {self.n_games // 2} games that chose neither latent nor threshold"
        return (
            self._table(
                f"Latents whose best label of a family has F1 above {LEVELS[0]}, {judged}",
                lambda one: one.n_above_90,
            ),
            self._table("F1 of the best latent, averaged over labels", lambda one: one.coverage),
            self._table("The same of linear probes", lambda one: one.probe),
            self._table(
                "The same by chance, or of always firing where that is more",
                lambda one: max(one.null or 0.0, one.always),
            ),
            *self._boards(),
        )

    def _table(self, caption: str, figure: Callable[[FamilyTruth], Cell]) -> Table:
        families = list(dict.fromkeys(f.family for one in self.dictionaries for f in one.families))
        rows = []
        for one in self.dictionaries:
            found = {f.family: figure(f) for f in one.families}
            rows.append((one.name, *(found.get(family) for family in families)))
        return Table(("dictionary", *families), tuple(rows), caption=caption)

    def _boards(self) -> tuple[Table, ...]:
        columns = (
            "dictionary", "firing", "L0", "voting", "F1", "precision", "recall", "by place", "probes",
        )  # fmt: skip
        rows = tuple(
            (
                one.name, one.n_firing, one.mean_l0, one.board.n_latents, str(one.board.f1),
                one.board.precision, one.board.recall, one.board.by_place_f1, one.board.probe_f1,
            )
            for one in self.dictionaries
            if one.board is not None
        )  # fmt: skip
        caption = f"The board by the votes of latents with a precision of {self.precision:g}"
        return (Table(columns, rows, caption=caption),) if rows else ()
