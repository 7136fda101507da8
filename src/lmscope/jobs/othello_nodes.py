"""Active features of a game by the squares that they speak of, and moves whose lines they are held against."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lmscope.circuits.feature_sets import features_of
from lmscope.circuits.frozen import Frozen
from lmscope.core.errors import ArtifactError
from lmscope.core.site import Site
from lmscope.dictionaries.config import TopK
from lmscope.text.worlds.board_labels import FAMILIES
from lmscope.text.worlds.flanks import Line, flanking_lines
from lmscope.text.worlds.othello import Games, Othello, States

LINE_FAMILIES: Final = ("move", "mine", "yours", "flipped")
"""Labels by which a feature speaks of a disc of a line: what it is, or what became of it."""
NodeMask = Bool[np.ndarray, "node"]


@dataclass(frozen=True)
class LatentLabel:
    """Something that a latent says.

    Attributes:
        label: As of `text.worlds.board_labels`, e.g. `mine d3`.
        threshold: It says so where its activation is above.
        tells: Whether it says so nearly wherever it holds, too, so that its silence means something.
    """

    label: str
    threshold: float = 0.0
    tells: bool = True


@dataclass(frozen=True, eq=False)
class SiteLabels:
    """What the latents of one dictionary say.

    Attributes:
        threshold: Above what activation a latent says something of a family (as numbered in `board_labels.FAMILIES`)
            about a square; infinite where it never does.
        any_threshold: Above what activation it says anything at all, of a square or not.
        tells: What it says nearly wherever it holds.
    """

    threshold: Float[np.ndarray, "latent family square"]
    any_threshold: Float[np.ndarray, "latent"]
    tells: Bool[np.ndarray, "latent family square"]

    @classmethod
    def of(
        cls, world: Othello, n_latents: int, labels: Mapping[int, Sequence[LatentLabel]]
    ) -> "SiteLabels":
        """Labels by latent.

        Args:
            world: On whose squares they are.
            n_latents: Of the dictionary.
            labels: By latent.

        Raises:
            ArtifactError: A label is none of this world, or there is no such latent.
        """
        shape = n_latents, len(FAMILIES), world.n_squares
        threshold, lowest = np.full(shape, np.inf), np.full(n_latents, np.inf)
        tells = np.zeros(shape, dtype=np.bool_)
        for latent, one in ((latent, one) for latent, own in labels.items() for one in own):
            words = one.label.split()
            if not words or words[0] not in FAMILIES or not 0 <= latent < n_latents:
                raise ArtifactError(
                    f"Latent {latent} of {n_latents} cannot be labelled '{one.label}': labels of this world begin with "
                    f"{', '.join(FAMILIES)}. Make them anew with `lmscope othello label`."
                )
            lowest[latent] = min(lowest[latent], one.threshold)
            if words[0] in ("black", "position"):
                continue
            place = latent, FAMILIES.index(words[0]), world.square_of(words[1])
            threshold[place] = min(threshold[place], one.threshold)
            tells[place] |= one.tells
        return cls(threshold, lowest, tells)


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
        said: Whether a node says something of a family about a square there, families as numbered in `FAMILIES`.
        speaks: Whether it says anything.
    """

    def __init__(self, frozen: Frozen, labels: Mapping[Site, SiteLabels]) -> None:
        self.sites = tuple(frozen.replacement.dictionaries)
        self._features = {site: features_of(frozen, site) for site in self.sites}
        self._labels = labels
        self._sizes = [len(one) for one in self._features.values()]
        n_squares = max((one.threshold.shape[2] for one in labels.values()), default=1)
        self.said = np.zeros((sum(self._sizes), len(FAMILIES), n_squares), dtype=np.bool_)
        self.speaks = np.zeros(len(self.said), dtype=np.bool_)
        self.position = np.zeros(len(self.said), dtype=np.int64)
        ends = np.cumsum(self._sizes)
        for site, size, end in zip(self.sites, self._sizes, ends.tolist(), strict=True):
            mine, features = slice(end - size, end), self._features[site]
            self.position[mine] = features.position.cpu().numpy()
            if (own := labels.get(site)) is not None:
                latent, value = features.latent.cpu().numpy(), features.value.cpu().numpy()
                self.said[mine] = value[:, None, None] > own.threshold[latent]
                self.speaks[mine] = value > own.any_threshold[latent]
        self._site = np.repeat(np.arange(len(self.sites)), self._sizes)
        self._group = self._site * frozen.n_positions + self.position

    def __len__(self) -> int:
        return len(self.position)

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
        return np.any(self._told(family)[:, squares[: self.said.shape[2]]], axis=1)

    def squares(self, node: int, family: str) -> Bool[np.ndarray, "square"]:
        """The squares of which a node says something of a family."""
        return self._told(family)[node]

    def _told(self, family: str) -> Bool[np.ndarray, "node square"]:
        return self.said[:, FAMILIES.index(family)]

    def level(self, site: Site, latent: int, family: str, square: int) -> float:
        """Above what pre-activation a latent says something at the last place: it fires, and above the label's threshold.

        Of dictionaries that keep the largest few, what fires is as large as the smallest that does.
        """
        features, labels = self._features[site], self._labels[site]
        dictionary, fires = features.dictionary, 0.0
        if dictionary.threshold is not None:
            fires = float(dictionary.threshold.expand(len(labels.threshold))[latent])
        elif isinstance(sparsity := dictionary.config.sparsity, TopK):
            here = features.position == int(self.position.max(initial=0))
            norms = dictionary.W_dec.float().norm(dim=1)
            weight = norms if sparsity.weight_by_decoder_norm else torch.ones_like(norms)
            scores = features.value[here] * weight[features.latent[here]]
            fires = float(scores.min() / weight[latent]) * (1 - 1e-6) if len(scores) else 0.0
        return max(fires, float(labels.threshold[latent, FAMILIES.index(family), square]))

    def silent(
        self, family: str, squares: Bool[np.ndarray, "square"], place: int
    ) -> list[tuple[Site, int, int]]:
        """Latents that tell something of a family about one of some squares, and do not say it at a place.

        Returns:
            Site, latent and square of each.
        """
        kind = FAMILIES.index(family)
        found: list[tuple[Site, int, int]] = []
        for i, site in enumerate(self.sites):
            if (labels := self._labels.get(site)) is None:
                continue
            asked = labels.tells[:, kind] & squares[: labels.tells.shape[2]]
            here = np.flatnonzero((self._site == i) & (self.position == place))
            for node in here.tolist():
                asked[self.name(node)[1]] &= ~self.said[node, kind]
            latent, square = np.nonzero(asked)
            found += [
                (site, one, at) for one, at in zip(latent.tolist(), square.tolist(), strict=True)
            ]
        return found

    def of_squares(self, squares: Bool[np.ndarray, "square"]) -> NodeMask:
        """Nodes that speak of a disc on one of some squares."""
        return np.any([self.says(family, squares) for family in LINE_FAMILIES], axis=0)

    def told_squares(self, chosen: NodeMask) -> Bool[np.ndarray, "square"]:
        """Squares whose discs some of the chosen nodes speak of."""
        kinds = [FAMILIES.index(family) for family in LINE_FAMILIES]
        return np.any(self.said[chosen][:, kinds], axis=(0, 1))

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
