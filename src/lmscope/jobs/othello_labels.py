"""Label the latents of a model of Othello by what the rules say is true after every move."""

from typing import Annotated, Final

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int
from pydantic import Field

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError
from lmscope.core.protocols import Listener
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.health import check_fits
from lmscope.dictionaries.label_table import TableOptions, by_latent, label_table, voted
from lmscope.dictionaries.labels import Firings
from lmscope.dictionaries.linear_probes import LinearProbes, probe_f1
from lmscope.evaluation.statistics import BootstrapOptions, ContextSums, Estimate, Resamples
from lmscope.jobs.choices import load_model
from lmscope.jobs.evaluate import OtherModel
from lmscope.jobs.othello_label_report import (
    LEVELS,
    BoardTruth,
    DictionaryTruth,
    FamilyTruth,
    LabelTruth,
    LatentTruth,
    OthelloTruthReport,
    PreciseLabel,
    StrongestFirings,
    TruthLabel,
)
from lmscope.jobs.othello_reading import (
    BOARD_FAMILIES,
    FAMILIES,
    ReadGames,
    Truths,
    firings_of,
    held_out,
    read_games,
    truths,
    world_of,
)
from lmscope.jobs.trace_dictionaries import CircuitDictionaries, check_weights, find_parts
from lmscope.text.worlds.othello import Othello

_PHASE: Final = "labels"
PRECISE_FAMILIES: Final = ("move", "mine", "yours", "legal", "flipped")
"""What a latent may say of squares precisely though rarely; most squares are empty for long, so that `empty` says little."""


class TruthChoice(Config):
    """Which latents are looked at, and on how many games."""

    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    """Runs that trained dictionaries of a player, folders of dictionaries, or names on the hub."""
    only: tuple[str, ...] = ()
    """Names, or patterns of names (`mlp_out-*`), of those that are taken; absent: all."""
    other_model: bool = False
    """Whether the model may have other weights than those that the dictionaries were trained on."""
    model: OtherModel = OtherModel()
    """Absent keys are those of the run that trained the dictionaries."""
    n_games: Annotated[int, Field(ge=4)] = 1000
    """Held-out ones; every other one chooses latents and thresholds, the rest judge."""
    families: tuple[str, ...] = FAMILIES
    """Kinds of labels."""
    scores: TableOptions = TableOptions()
    ridge: Annotated[float, Field(ge=0)] = 1e-4
    """Of the linear probes, as a share of the mean variance of a direction."""
    min_f1: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Labels of a latent with less are not listed."""
    n_strongest: Annotated[int, Field(ge=1)] = 100
    """Firings of a latent of which boards are averaged."""
    bootstrap: BootstrapOptions = BootstrapOptions()
    seed: Annotated[int, Field(ge=0)] = 0


def label_othello(choice: TruthChoice, listener: Listener) -> OthelloTruthReport:
    """Score every latent of some dictionaries against the truth of held-out games.

    The first move of a game and outliers are left out, as in the training of dictionaries.

    Args:
        choice: Which.
        listener: Follows it.

    Raises:
        RecipeError: No dictionary stands in the model.
        ModelError: The model plays no Othello.
        LmscopeError: Model or dictionaries cannot be read, or do not go together.
    """
    wanted = CircuitDictionaries(sources=choice.sources, only=choice.only)
    parts = find_parts(wanted, choice.model, several=True)
    if parts.task is None:
        raise RecipeError(
            "Without a dictionary there is no latent to label: give a run that trained some."
        )
    model = load_model(parts.model, listener)
    world = world_of(model)
    check_weights(model, parts.dictionaries, other_model=choice.other_model)
    dictionaries = {one.name: one.load().to(model.device) for one in parts.dictionaries}
    for dictionary in dictionaries.values():
        check_fits(model, dictionary)
    games = held_out(world, choice.n_games, choice.seed)
    sites = {dictionary.config.read_site for dictionary in dictionaries.values()}
    truth = truths(games, world.replay(games.moves), choice.families)
    seen = read_games(model, games, sites, listener)
    found = []
    for done, (name, dictionary) in enumerate(dictionaries.items()):
        listener.on_progress(_PHASE, done, len(dictionaries), {})
        found.append(_Examined(name, dictionary, seen, truth, choice).describe())
    listener.on_progress(_PHASE, len(dictionaries), len(dictionaries), {})
    return OthelloTruthReport(
        model=model.name,
        weights_hash=model.weights_hash,
        size=world.size,
        n_games=choice.n_games,
        seed=choice.seed,
        precision=choice.scores.precision,
        min_f1=choice.min_f1,
        dictionaries=tuple(found),
    )


class _Examined:
    """One dictionary on the games, with all that its report is made of."""

    def __init__(
        self, name: str, dictionary: Dictionary, seen: ReadGames, truth: Truths, choice: TruthChoice
    ) -> None:
        self.name, self.dictionary, self.seen, self.choice = name, dictionary, seen, choice
        self.truth = truth
        self.site = dictionary.config.read_site
        self.places = np.flatnonzero(seen.counts[self.site])  # of each token that counts
        self.labels = truth.values[self.places]
        self.firings = firings_of(dictionary, seen)
        if not len(self.firings.token):
            raise RecipeError(
                f"No latent of '{name}' fires on {choice.n_games} games: it was trained on something else, or its "
                "training is not finished."
            )
        options = choice.scores.model_copy(update={"seed": choice.seed})
        self.table = label_table(
            self.firings, self.labels, options, by_place=truth.columns("position")
        )
        self.judges = self.firings.text % 2 == 1
        x = seen.values[self.site][torch.from_numpy(self.places)]
        probes = LinearProbes.fit(x[~self.judges], self.labels[~self.judges], ridge=choice.ridge)
        scores = probes.scores(x)
        self.probed = probe_f1(
            scores[~self.judges],
            self.labels[~self.judges],
            scores[self.judges],
            self.labels[self.judges],
        )
        self.scores = scores[self.judges].numpy()

    def describe(self) -> DictionaryTruth:
        config, firings = self.dictionary.config, self.firings
        return DictionaryTruth(
            name=self.name,
            reads=str(config.read_site),
            writes=str(config.write_site),
            n_latents=config.n_latents,
            n_firing=len(np.unique(firings.latent)),
            mean_l0=len(firings.token) / len(firings.text),
            n_tokens=len(firings.text),
            families=tuple(
                family
                for name in dict.fromkeys(self.truth.families)
                if (family := self._family(name)) is not None
            ),
            labels=self._labels(),
            latents=self._latents(),
            board=_board(self) if set(BOARD_FAMILIES) <= set(self.truth.families) else None,
        )

    def _family(self, name: str) -> FamilyTruth | None:
        table = self.table
        columns = np.array([i for i in self.truth.columns(name) if table.told[i]], dtype=int)
        if not len(columns):
            return None
        best = table.chosen_f1[:, columns].argmax(1)
        rows = np.arange(len(table.latents))
        own = table.f1[:, columns][rows, best]
        real = table.above_null()[:, columns][rows, best]
        above = [int((real & (own > level)).sum()) for level in LEVELS]
        covered = table.f1[table.best(), np.arange(table.f1.shape[1])]
        return FamilyTruth(
            family=name,
            n_labels=len(columns),
            n_above_90=above[0],
            n_above_80=above[1],
            n_above_70=above[2],
            n_above_null=int(real.sum()),
            coverage=float(covered[columns].mean(dtype=np.float64)),
            null=None if table.null_f1 is None else float(table.null_f1[columns].mean()),
            always=float(table.always_f1[columns].mean()),
            probe=float(self.probed[columns].mean()),
        )

    def _labels(self) -> tuple[LabelTruth, ...]:
        table, best = self.table, self.table.best()
        return tuple(
            LabelTruth(
                label=self.truth.names[i],
                family=self.truth.families[i],
                n_true=int(table.n_true[i]),
                always_f1=float(table.always_f1[i]),
                null_f1=None if table.null_f1 is None else float(table.null_f1[i]),
                probe_f1=float(self.probed[i]),
                latent=int(table.latents[best[i]]),
                best=self._label(int(best[i]), i),
            )
            for i in np.flatnonzero(table.told).tolist()
        )

    def _label(self, row: int, column: int) -> TruthLabel:
        table = self.table
        return TruthLabel(
            label=self.truth.names[column],
            threshold=float(table.threshold[row, column]),
            f1=float(table.f1[row, column]),
            precision=float(table.precision[row, column]),
            recall=float(table.recall[row, column]),
            chosen_f1=float(table.chosen_f1[row, column]),
        )

    def _precise(self, row: int) -> tuple[PreciseLabel, ...]:
        """Labels of squares that a latent says with the wanted precision on both halves of the games."""
        table, options = self.table, self.choice.scores
        able = (table.vote_fired[row] >= options.min_firings) & table.told
        able &= table.vote_precision[row] >= options.precision
        columns = [i for i in self.truth.columns(*PRECISE_FAMILIES) if able[i]]
        return tuple(
            PreciseLabel(
                label=self.truth.names[i],
                threshold=float(table.votes[row, i]),
                precision=float(table.vote_precision[row, i]),
                n_fired=int(table.vote_fired[row, i]),
            )
            for i in columns
        )

    def _latents(self) -> tuple[LatentTruth, ...]:
        table, firings = self.table, self.firings
        listed = table.above_null() & (table.f1 >= self.choice.min_f1)
        row_of = {int(latent): row for row, latent in enumerate(table.latents)}
        facts = _Facts(self.seen, self.places)
        found = []
        for latent, firing in by_latent(firings.latent):
            mine = firing[np.argsort(-firings.value[firing], kind="stable")]
            row, labels, precise = row_of.get(latent), (), ()
            if row is not None:
                columns = np.flatnonzero(listed[row])
                ranked = columns[np.argsort(-table.chosen_f1[row, columns], kind="stable")]
                labels = tuple(self._label(row, int(column)) for column in ranked)
                precise = self._precise(row)
            found.append(
                LatentTruth(
                    latent=latent,
                    n_fired=len(mine),
                    max_activation=float(firings.value[mine[0]]),
                    labels=labels,
                    strongest=facts.of(firings.token[mine[: self.choice.n_strongest]]),
                    precise=precise,
                )
            )
        return tuple(found)


class _Facts:
    """What is averaged where a latent fires most strongly."""

    def __init__(self, seen: ReadGames, places: Int[np.ndarray, "token"]) -> None:
        states, world = seen.states, seen.games.world
        mine, yours = (one.reshape(-1)[places] for one in (states.mine, states.yours))
        self.board = world.bits(mine).astype(np.int8) - world.bits(yours)
        self.moves = places % seen.games.moves.shape[1] + 1
        self.empties = world.n_squares - np.bitwise_count(mine | yours)
        self.n_legal = np.bitwise_count(states.legal.reshape(-1)[places])
        self.n_flipped = np.bitwise_count(states.flipped.reshape(-1)[places])
        self.black = states.black.reshape(-1)[places]

    def of(self, tokens: Int[np.ndarray, "some"]) -> StrongestFirings:
        def mean(values: np.ndarray) -> float:
            return round(float(values[tokens].mean()), 3)

        return StrongestFirings(
            n=len(tokens),
            moves_made=mean(self.moves),
            empties=mean(self.empties),
            n_legal=mean(self.n_legal),
            n_flipped=mean(self.n_flipped),
            black=mean(self.black),
            board=tuple(self.board[tokens].mean(0, dtype=np.float64).round(2).tolist()),
        )


def _board(examined: _Examined) -> BoardTruth:
    """The board by votes, beside what place alone and probes say."""
    truth, judges, choice = examined.truth, examined.judges, examined.choice
    columns = truth.columns(*BOARD_FAMILIES)
    votes = voted(examined.firings, examined.table, columns)[judges]
    labels = examined.labels[:, columns]
    true, world = labels[judges], examined.seen.games.world
    hits, said, held = (one.sum(1) for one in (votes & true, votes, true))
    f1 = 2 * hits / (said + held)
    square = _squares(truth, columns, world)
    place = examined.places % examined.seen.games.moves.shape[1]
    by_place = np.zeros((world.n_moves, len(columns)))
    np.add.at(by_place, place[~judges], labels[~judges])
    return BoardTruth(
        f1=_over_games(f1, examined.firings, judges, choice),
        precision=float(hits.sum() / max(said.sum(), 1)),
        recall=float(hits.sum() / held.sum()),
        n_latents=int(np.isfinite(examined.table.votes[:, columns]).any(1).sum()),
        by_place_f1=_likeliest_f1(by_place[place[judges]], true, square),
        probe_f1=_likeliest_f1(examined.scores[:, columns].astype(np.float64), true, square),
    )


def _over_games(
    f1: Float64[np.ndarray, "board"],
    firings: Firings,
    judges: Bool[np.ndarray, "token"],
    choice: TruthChoice,
) -> Estimate:
    game = np.unique(firings.text[judges], return_inverse=True)[1]
    sums = ContextSums(int(game.max()) + 1)
    values = {"f1": torch.from_numpy(f1), "n": torch.ones(len(f1), dtype=torch.float64)}
    sums.add(torch.from_numpy(game), torch.zeros(len(f1), dtype=torch.int64), values)
    units = choice.bootstrap.max_units
    if sums.n_contexts > units:
        sums = sums.regrouped(np.arange(sums.n_contexts) * units // sums.n_contexts, units)
    resamples = Resamples(sums, choice.bootstrap, choice.seed)
    found = resamples.estimate(resamples.total("f1") / resamples.total("n"))
    assert found is not None
    return found


def _squares(truth: Truths, columns: list[int], world: Othello) -> Int[np.ndarray, "column"]:
    return np.array([world.square_of(truth.names[i].split()[1]) for i in columns])


def _likeliest_f1(
    scores: Float64[np.ndarray, "board column"],
    true: Bool[np.ndarray, "board column"],
    square: Int[np.ndarray, "column"],
) -> float:
    """F1 where the state with the largest score is said of each square: the share of squares that are right."""
    right = np.zeros(len(true))
    squares = np.unique(square)
    for one in squares:
        own = np.flatnonzero(square == one)
        said = own[scores[:, own].argmax(1)]
        right += true[np.arange(len(true)), said]
    return float((right / len(squares)).mean())
