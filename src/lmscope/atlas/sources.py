"""LabelSources: the labels of several explain runs as one; a latent has that of the newest which names it."""

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from lmscope.atlas.explain.protocols import NOT_KNOWN, Label, Score
from lmscope.atlas.labels import DECIDING_SCORER, Found, LabelReader

_CACHED: Final = 8


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
        # Who looks through a long list of results asks for the same ones again and again.
        self._searched = lru_cache(maxsize=_CACHED)(self._search)

    def said(self, latent: int) -> Said:
        """What the newest source that names a latent says of it."""
        return next((said for _, said in self.all_said(latent)), Said(None, (), False))

    def all_said(self, latent: int) -> Iterator[tuple[LabelReader, Said]]:
        """What every source that names a latent says of it, the newest first."""
        for reader in self.readers:
            label = reader.label(latent)
            if label is not None:
                known = reader.shown(latent) != NOT_KNOWN
                yield reader, Said(label, reader.scores(latent), known)

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
        return list(self._searched(text, limit))

    def _search(self, text: str, limit: int) -> tuple[Found, ...]:
        found: list[Found] = []
        seen: set[int] = set()
        for reader, latents in zip(self.readers, self._named, strict=False):
            found += [one for one in reader.search(text, limit) if one.latent not in seen]
            seen |= latents
        return tuple(found[:limit])

    @cached_property
    def _named(self) -> list[frozenset[int]]:
        """The latents that each source names; those of the last one hide nobody's and are left out."""
        return [*(reader.latents() for reader in self.readers[:-1]), frozenset()]

    def close(self) -> None:
        """Close all."""
        for reader in self.readers:
            reader.close()
