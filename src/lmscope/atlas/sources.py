"""LabelSources: the labels of several explain runs as one; a latent has that of the newest which names it."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from lmscope.atlas.explain.protocols import NOT_KNOWN, Label, Score
from lmscope.atlas.labels import DECIDING_SCORER, Found, LabelReader


class Said(NamedTuple):
    """What was said of a latent.

    Attributes:
        label: The label; None where nobody was asked.
        scores: How far it can be trusted.
        known: Whether that suffices for showing it.
    """

    label: Label | None
    scores: tuple[Score, ...]
    known: bool

    @property
    def shown(self) -> str:
        """The label as readers see it: `not known` where it is a guess, empty where nobody was asked."""
        if self.label is None:
            return ""
        return self.label.text if self.known else NOT_KNOWN

    @property
    def detection(self) -> float | None:
        """The detection score; None without one."""
        return next((one.value for one in self.scores if one.scorer == DECIDING_SCORER), None)


class LabelSources:
    """Labels of several sources.

    Args:
        readers: Newest first.
    """

    def __init__(self, readers: Sequence[LabelReader]) -> None:
        self.readers = tuple(readers)

    def said(self, latent: int) -> Said:
        """What the newest source that names a latent says of it."""
        for reader in self.readers:
            label = reader.label(latent)
            if label is not None:
                return Said(label, reader.scores(latent), reader.shown(latent) != NOT_KNOWN)
        return Said(None, (), False)

    @cached_property
    def known(self) -> frozenset[int]:
        """The latents whose labels are shown."""
        known: set[int] = set()
        seen: set[int] = set()
        for reader in self.readers:
            known |= reader.known() - seen
            seen |= reader.latents()
        return frozenset(known)

    @cached_property
    def detections(self) -> dict[int, float]:
        """The detection score of each latent that has one."""
        found: dict[int, float] = {}
        seen: set[int] = set()
        for reader in self.readers:
            scores = reader.score_values(DECIDING_SCORER)
            found |= {latent: value for latent, value in scores.items() if latent not in seen}
            seen |= reader.latents()
        return found

    def search(self, text: str, limit: int) -> list[Found]:
        """Labels that are shown and hold all words of a text, those of newer sources first."""
        found: list[Found] = []
        seen: set[int] = set()
        for reader in self.readers:
            found += [one for one in reader.search(text, limit) if one.latent not in seen]
            seen |= reader.latents()
        return found[:limit]

    def close(self) -> None:
        """Close all."""
        for reader in self.readers:
            reader.close()
