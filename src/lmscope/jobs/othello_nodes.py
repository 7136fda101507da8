"""Active features of a game by the squares that they speak of, and moves whose lines they are held against."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmscope.circuits.feature_sets import features_of
from lmscope.circuits.frozen import Frozen
from lmscope.core.errors import ArtifactError
from lmscope.core.site import Site
from lmscope.text.worlds.board_labels import FAMILIES
from lmscope.text.worlds.flanks import Line, flanking_lines
from lmscope.text.worlds.othello import Games, Othello, States

LINE_FAMILIES: Final = ("move", "mine", "yours", "flipped")
"""Labels by which a feature speaks of a disc of a line: what it is, or what became of it."""
NodeMask = Bool[np.ndarray, "node"]


@dataclass(frozen=True)
class LatentLabel:
    """What a latent says.

    Attributes:
        label: As of `text.worlds.board_labels`, e.g. `mine d3`.
        threshold: It says so where its activation is above.
    """

    label: str
    threshold: float = 0.0


@dataclass(frozen=True, eq=False)
class SiteLabels:
    """What the latents of one dictionary say.

    Attributes:
        family: Number of the label's family in `board_labels.FAMILIES`; -1 without a label.
        square: That the label speaks of; -1 without.
        threshold: Above which it says so.
    """

    family: Int[np.ndarray, "latent"]
    square: Int[np.ndarray, "latent"]
    threshold: Float[np.ndarray, "latent"]

    @classmethod
    def of(cls, world: Othello, n_latents: int, labels: Mapping[int, LatentLabel]) -> "SiteLabels":
        """Labels by latent.

        Args:
            world: On whose squares they are.
            n_latents: Of the dictionary.
            labels: By latent; those that speak of no square are taken as of their family.

        Raises:
            ArtifactError: A label is none of this world, or there is no such latent.
        """
        family, square = np.full((2, n_latents), -1)
        threshold = np.zeros(n_latents)
        for latent, one in labels.items():
            words = one.label.split()
            if not words or words[0] not in FAMILIES or not 0 <= latent < n_latents:
                raise ArtifactError(
                    f"Latent {latent} of {n_latents} cannot be labelled '{one.label}': labels of this world begin with "
                    f"{', '.join(FAMILIES)}. Make them anew with `lmscope othello label`."
                )
            family[latent] = FAMILIES.index(words[0])
            if words[0] not in ("black", "position"):
                square[latent] = world.square_of(words[1])
            threshold[latent] = one.threshold
        return cls(family, square, threshold)


@dataclass(frozen=True, eq=False)
class Place:
    """A place of a game and a move that is legal next.

    Attributes:
        world: What is played.
        game: Number of the game.
        place: Number of the last move that was made, from 0.
        move: A square that may be taken next.
        lines: Along which it would turn discs.
        mine, yours: Discs of the player who moves next and of the other, as bits.
        legal: All squares that may be taken next.
    """

    world: Othello
    game: int
    place: int
    move: int
    lines: tuple[Line, ...]
    mine: int
    yours: int
    legal: tuple[int, ...]

    @property
    def token(self) -> int:
        """Of the move."""
        return int(self.world.token_of[self.move])

    @property
    def others(self) -> list[int]:
        """Tokens of the other legal moves."""
        return [int(self.world.token_of[s]) for s in self.legal if s != self.move]

    def among(self, squares: Sequence[int]) -> Bool[np.ndarray, "square"]:
        """Whether each square of the board is one of some."""
        found = np.zeros(self.world.n_squares, dtype=np.bool_)
        found[list(squares)] = True
        return found

    @cached_property
    def on_line(self) -> Bool[np.ndarray, "square"]:
        """Squares of all its lines."""
        return self.among([square for line in self.lines for square in line.squares])

    @cached_property
    def turned(self) -> Bool[np.ndarray, "square"]:
        """Squares whose discs it would turn."""
        return self.among([square for line in self.lines for square in line.turned])

    @cached_property
    def anchors(self) -> Bool[np.ndarray, "square"]:
        """Squares of the player's own discs at the far ends."""
        return self.among([line.anchor for line in self.lines])


def drawn_places(
    games: Games, states: States, game: int, n: int, earliest: int, rng: np.random.Generator
) -> Iterator[Place]:
    """Places of a game, each with a legal move, all drawn evenly.

    Only places with two legal moves or more are taken, so that a move can fall behind another.

    Args:
        games: Games.
        states: Their states.
        game: Of which.
        n: At most so many.
        earliest: Moves that must have been made.
        rng: What draws.
    """
    world = games.world
    counts = np.bitwise_count(states.legal[game])
    able = np.flatnonzero((counts >= 2) & (np.arange(len(counts)) >= earliest - 1))
    for place in np.sort(rng.permutation(able)[:n]).tolist():
        legal = np.flatnonzero(world.bits(states.legal[game, place : place + 1])[0])
        move = int(rng.choice(legal))
        mine, yours = int(states.mine[game, place]), int(states.yours[game, place])
        lines = flanking_lines(world, move, mine, yours)
        yield Place(world, game, place, move, lines, mine, yours, tuple(legal.tolist()))


class Nodes:
    """The active features of a run in forward order, with what they say.

    Args:
        frozen: The run.
        labels: What latents say, by the site that they write.

    Attributes:
        sites: In forward order.
        position: Of each node.
        family: Of what it says there, as `SiteLabels`; -1 where it says nothing.
        square: That it speaks of; -1 where it speaks of none.
    """

    def __init__(self, frozen: Frozen, labels: Mapping[Site, SiteLabels]) -> None:
        self.sites = tuple(frozen.replacement.dictionaries)
        self._features = {site: features_of(frozen, site) for site in self.sites}
        self._sizes = [len(one) for one in self._features.values()]
        parts = [self._said(site, labels.get(site)) for site in self.sites]
        stacked = np.concatenate([np.zeros((3, 0), dtype=np.int64), *parts], axis=1)
        self.position, self.family, self.square = stacked
        site = np.repeat(np.arange(len(self.sites)), self._sizes)
        self._group = site * frozen.n_positions + self.position

    def __len__(self) -> int:
        return len(self.position)

    def _said(self, site: Site, labels: SiteLabels | None) -> Int[np.ndarray, "3 node"]:
        features = self._features[site]
        latent, position = features.latent.cpu().numpy(), features.position.cpu().numpy()
        if labels is None:
            return np.stack([position, np.full((2, len(latent)), -1)[0], np.full(len(latent), -1)])
        says = features.value.cpu().numpy() > labels.threshold[latent]
        family = np.where(says, labels.family[latent], -1)
        return np.stack([position, family, np.where(says, labels.square[latent], -1)])

    def name(self, node: int) -> tuple[Site, int]:
        """Site and latent of a node."""
        site = int(np.searchsorted(np.cumsum(self._sizes), node, side="right"))
        features = self._features[self.sites[site]]
        return features.site, int(features.latent[node - sum(self._sizes[:site])])

    def flat(self, values: Mapping[Site, Tensor]) -> np.ndarray:
        """Values of nodes by site as one array; nodes of absent sites get 0."""
        parts = [
            values[site].cpu().numpy() if site in values else np.zeros(size)
            for site, size in zip(self.sites, self._sizes, strict=True)
        ]
        return np.concatenate([np.zeros(0), *parts])

    def masks(self, chosen: NodeMask) -> dict[Site, Bool[Tensor, "pos latent"]]:
        """Chosen nodes by site, position and latent; sites without one are left out."""
        found: dict[Site, Tensor] = {}
        ends = np.cumsum(self._sizes)[:-1]
        for (site, features), part in zip(
            self._features.items(), np.split(chosen, ends), strict=True
        ):
            if part.any():
                index = torch.from_numpy(np.flatnonzero(part)).to(features.position.device)
                shape = len(features.stands), features.dictionary.config.n_latents
                found[site] = torch.zeros(shape, dtype=torch.bool, device=index.device)
                found[site][features.position[index], features.latent[index]] = True
        return found

    def says(self, family: str, squares: Bool[np.ndarray, "square"]) -> NodeMask:
        """Nodes that say something of a family about one of some squares."""
        told = np.append(squares, False)[self.square]  # where no square is told
        return told & (self.family == FAMILIES.index(family))

    def of_squares(self, squares: Bool[np.ndarray, "square"]) -> NodeMask:
        """Nodes that speak of a disc on one of some squares."""
        return np.any([self.says(family, squares) for family in LINE_FAMILIES], axis=0)

    def of_lines(self, place: Place) -> dict[str, NodeMask]:
        """Nodes that speak of what makes a move legal.

        Returns:
            `line`: of a disc of a flanking line, anywhere in the game. `state`: at the place itself, that a disc of a
            line is what makes the move legal (an anchor is mine, a disc between is yours). `legal`: at the place
            itself, that the move is legal.
        """
        here = self.position == place.place
        state = self.says("mine", place.anchors) | self.says("yours", place.turned)
        return {
            "line": self.of_squares(place.on_line),
            "state": state & here,
            "legal": self.says("legal", place.among([place.move])) & here,
        }

    def drawn(self, n: int, rng: np.random.Generator, among: NodeMask | None = None) -> NodeMask:
        """So many nodes drawn evenly, at most all.

        Args:
            n: How many.
            rng: What draws.
            among: From which; absent: from all.
        """
        able = np.arange(len(self)) if among is None else np.flatnonzero(among)
        found = np.zeros(len(self), dtype=np.bool_)
        found[rng.permutation(able)[:n]] = True
        return found

    def drawn_alike(
        self, chosen: NodeMask, rng: np.random.Generator, among: NodeMask | None = None
    ) -> NodeMask:
        """As many nodes at each site and position as were chosen there, drawn evenly, at most all.

        Args:
            chosen: A choice.
            rng: What draws.
            among: From which; absent: from all.
        """
        able = np.arange(len(self)) if among is None else np.flatnonzero(among)
        mixed = rng.permutation(able)
        order = mixed[np.argsort(self._group[mixed], kind="stable")]
        group = self._group[order]
        nth = np.arange(len(order)) - np.searchsorted(group, group)
        wanted = np.bincount(self._group[chosen], minlength=int(self._group.max(initial=-1)) + 1)
        found = np.zeros(len(self), dtype=np.bool_)
        found[order[nth < wanted[group]]] = True
        return found
