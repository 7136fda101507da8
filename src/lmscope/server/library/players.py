"""Players of Othello among the runs that are served, and the dictionaries that belong to each."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lmscope.server.failures import WrongInput
from lmscope.server.library.entries import DictionaryEntry, RunEntry
from lmscope.server.library.library import Library
from lmscope.text.worlds.board import SIZES
from lmscope.text.worlds.othello import Othello

# The modules that write these import torch, which this process must not.
JOB: Final = "othello"
MODEL: Final = Path("artifacts") / "model"
_GAMES: Final = re.compile(r"othello:(\d+)(@[\d_]+)?")
_MOST_CHARACTERS: Final = 80


@dataclass(frozen=True)
class Player:
    """A model that plays Othello.

    Attributes:
        run: The run that trained it; where that is not served, one that trained dictionaries of it.
        name: Of the model.
        size: Squares along a side of the board.
        folder: Where the model lies; None where that is not served.
        dictionaries: Of its activations, whose weights are here.
    """

    run: RunEntry
    name: str
    size: int
    folder: Path | None
    dictionaries: tuple[DictionaryEntry, ...]

    @property
    def world(self) -> Othello:
        """What it plays."""
        return Othello(self.size)

    @property
    def weights(self) -> frozenset[str]:
        """Hashes of its weights, as runs write them down."""
        return frozenset(self.run.record.weights.values())

    @property
    def sources(self) -> tuple[str, ...]:
        """Ids of the runs that trained its dictionaries."""
        found = (one.run for one in self.dictionaries)
        return tuple(dict.fromkeys(run for run in found if run is not None))


def players(library: Library) -> list[Player]:
    """All players, newest first; a training that is not finished is one of them."""
    found: list[Player] = []
    runs = library.runs()[::-1]
    for run in runs:
        if run.record.job == JOB and _size_of(run) is not None:
            found.append(_player(library, run))
    known = frozenset[str]().union(*(one.weights for one in found))
    for run in runs:
        if run.record.job == JOB or not run.dictionaries or _size_of(run) is None:
            continue
        player = _player(library, run)
        if player.weights and not player.weights & known:
            known |= player.weights
            found.append(player)
    return found


def related_player(library: Library, run: RunEntry) -> Player | None:
    """The player that a run trained or studied; None where it is of something else."""
    found = players(library)
    own = next((one for one in found if one.run.id == run.id), None)
    if own is not None or run.record.job == JOB:
        return own
    weights = frozenset(run.record.weights.values())
    return next((one for one in found if one.weights & weights), None)


def board_of(library: Library, run: RunEntry) -> str | None:
    """Id of the run at whose board games of a run's player can be looked at; None where there is none."""
    found = related_player(library, run)
    return None if found is None or found.run.status != "done" else found.run.id


def player_of(library: Library, run_id: str) -> Player:
    """The player that a run trained or studied, ready to be asked.

    Raises:
        NotFound: There is no such run.
        WrongInput: It is of no player, or the training is not finished.
    """
    run = library.run(run_id)
    found = related_player(library, run)
    if found is None:
        raise WrongInput(
            f"The run '{run.id}' is of no model that plays Othello (its job is {_short(run.record.job)}). Choose one of "
            "`lmscope othello train`, or one that trained dictionaries of such a model."
        )
    if found.run.record.job == JOB and found.run.status != "done":
        raise WrongInput(_unfinished(found.run))
    return found


def _player(library: Library, run: RunEntry) -> Player:
    weights = frozenset(run.record.weights.values())
    is_trained_here = run.record.job == JOB
    return Player(
        run=run,
        name=run.record.name if is_trained_here else next(iter(run.record.weights), run.id),
        size=_size_of(run) or SIZES[0],
        folder=run.path / MODEL if is_trained_here else None,
        dictionaries=tuple(
            one
            for one in library.dictionaries()
            if one.folder is not None and one.weights_hash in weights
        ),
    )


def _size_of(run: RunEntry) -> int | None:
    """The board that a run's recipe speaks of; None where it speaks of none."""
    if run.record.job == JOB:
        size = _table(run.recipe, "games").get("size", SIZES[0])
    else:
        source = _GAMES.fullmatch(str(_table(run.recipe, "text").get("source", "")))
        size = None if source is None else int(source[1])
    return size if size in SIZES else None


def _table(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = recipe.get(name)
    return found if isinstance(found, Mapping) else {}


def _unfinished(run: RunEntry) -> str:
    if run.status == "running":
        return f"The training of '{run.id}' still runs, so there is no player yet. Wait until it is done."
    return (
        f"The training of '{run.id}' is not finished ({run.status}), so there is no player. Go on with it by "
        f"`lmscope othello train --resume {run.id}`."
    )


def _short(text: str) -> str:
    return text[:_MOST_CHARACTERS]
