"""Games as a model reads them, at the sites of its dictionaries, with what is true after each move."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmscope.core.errors import DataError, ModelError, did_you_mean
from lmscope.core.protocols import Listener
from lmscope.core.site import Site
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.labels import Firings
from lmscope.evaluation.legal_moves import check_plays
from lmscope.models.batch import Batch
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel
from lmscope.text.worlds import board_labels, line_labels
from lmscope.text.worlds.board import SIZES
from lmscope.text.worlds.games import GameStream, game_batch
from lmscope.text.worlds.othello import Games, Othello, States

FAMILIES: Final = (*board_labels.FAMILIES, line_labels.FAMILY)
"""Kinds of labels: those of `worlds.board_labels`, and the line that a move turned."""
BOARD_FAMILIES: Final = ("mine", "yours", "empty")
"""Those that say together what is on every square."""
_PHASE: Final = "games"
_BATCH: Final = 128


@dataclass(frozen=True, eq=False)
class ReadGames:
    """Games as a model reads them; tokens are all moves of the first game, then of the second and so on.

    Attributes:
        games: The games.
        states: What is true after each move.
        values: What the model has at each site.
        counts: At each site, where a position counts: not the first of a game, no outlier.
    """

    games: Games
    states: States
    values: Mapping[Site, Float[Tensor, "token _width"]]
    counts: Mapping[Site, Bool[np.ndarray, "token"]]


@dataclass(frozen=True, eq=False)
class Truths:
    """Truth values of each token by label.

    Attributes:
        names: Of the labels.
        families: The family of each.
        values: Truth values, tokens as in `ReadGames`.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    values: Bool[np.ndarray, "token label"]

    def columns(self, *families: str) -> list[int]:
        """The labels of some families."""
        return [i for i, family in enumerate(self.families) if family in families]


def world_of(model: LanguageModel) -> Othello:
    """The board that a model was trained to play on.

    Raises:
        ModelError: It plays no Othello.
    """
    for size in SIZES:
        world = Othello(size)
        if model.d_vocab == world.n_tokens:
            check_plays(model, world)
            return world
    boards = " nor ".join(
        f"the {Othello(size).n_tokens} of a board of {size} by {size}" for size in SIZES
    )
    raise ModelError(
        f"'{model.name}' plays no Othello, its {model.d_vocab} tokens are neither {boards}: give a model that "
        "`lmscope othello train` made."
    )


def held_out(world: Othello, n_games: int, seed: int) -> Games:
    """Games of the random stream that no model trains on."""
    stream = GameStream(world, batch_games=1, n_games=n_games, seed=seed, part="held_out")
    return stream.games(0, n_games)


@torch.no_grad()
def read_games(
    model: LanguageModel, games: Games, sites: Collection[Site], listener: Listener
) -> ReadGames:
    """Read games once at all sites.

    An outlier is told by the median norm of these games, at each site by itself.

    Args:
        model: One that plays.
        games: Full ones.
        sites: Where.
        listener: Follows it.
    """
    n, asked = len(games), sorted(sites)
    parts: dict[Site, list[Tensor]] = {site: [] for site in asked}
    kept: list[Tensor] = []
    for first in range(0, n, _BATCH):
        listener.on_progress(_PHASE, first, n, {})
        tokens, mask, _ = game_batch(games.take(slice(first, first + _BATCH)))
        batch = Batch(tokens=tokens.to(model.device), mask=mask.to(model.device))
        for site, value in model.read(batch, asked).items():
            parts[site].append(value.flatten(2).flatten(0, 1).float().cpu())
        kept.append(Exclusion().keep_tokens(tokens, mask, model.special_ids).flatten())
    listener.on_progress(_PHASE, n, n, {})
    values = {site: torch.cat(found) for site, found in parts.items()}
    by_token = torch.cat(kept)
    medians = {site: float(x[by_token].norm(dim=-1).median()) for site, x in values.items()}
    exclusion = Exclusion(medians)
    counts = {
        site: np.asarray((by_token & exclusion.inlier(site, x)).numpy())
        for site, x in values.items()
    }
    return ReadGames(games, games.world.replay(games.moves), values, counts)


def truths(games: Games, states: States, families: Sequence[str] = FAMILIES) -> Truths:
    """What is true after each move.

    Args:
        games: The games.
        states: What is known after each move of them.
        families: Some of `FAMILIES`.

    Raises:
        DataError: A family is unknown, or none was named.
    """
    unknown = [family for family in families if family not in FAMILIES]
    if unknown:
        raise DataError(
            f"'{unknown[0]}' is no family of labels.{did_you_mean(unknown[0], FAMILIES)}"
        )
    if not families:
        raise DataError(f"No family of labels was named: take some of {', '.join(FAMILIES)}.")
    names, of, columns = [], [], []
    for family in dict.fromkeys(families):
        own = (
            line_labels.line_labels(states, games)
            if family == line_labels.FAMILY
            else board_labels.labels(states, games, (family,))
        )
        names += own
        of += [family] * len(own)
        columns += [values.reshape(-1) for values in own.values()]
    return Truths(tuple(names), tuple(of), np.stack(columns, axis=1))


@torch.no_grad()
def firings_of(dictionary: Dictionary, seen: ReadGames) -> Firings:
    """Where the latents of a dictionary fire; only tokens that count, numbered among themselves."""
    site = dictionary.config.read_site
    counts = seen.counts[site]
    x = seen.values[site][torch.from_numpy(counts)]
    token, latent, value = [], [], []
    for first in range(0, len(x), 4096):
        part = dictionary.encode(x[first : first + 4096].to(dictionary.W_enc.device))
        places = part.nonzero()
        positive = part[places[:, 0], places[:, 1]]
        token.append((places[:, 0] + first).cpu().numpy())
        latent.append(places[:, 1].cpu().numpy())
        value.append(positive.float().cpu().numpy())
    n_moves = seen.games.moves.shape[1]
    text = np.flatnonzero(counts) // n_moves
    return Firings(np.concatenate(token), np.concatenate(latent), np.concatenate(value), text)
