"""What is exported of an atlas: what it says of itself, its corpus, and its latents in order."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from lmscope.atlas.config import AtlasMeta
from lmscope.atlas.explain.protocols import NOT_KNOWN, Label, Score
from lmscope.atlas.labels import LabelReader, LabelsMeta
from lmscope.atlas.record import LatentRecord
from lmscope.atlas.sources import LabelSources
from lmscope.atlas.text import CorpusText
from lmscope.core.errors import ArtifactError, RecipeError
from lmscope.core.site import Site


@dataclass(frozen=True, eq=False)
class Entry:
    """One latent with what somebody says of it.

    Attributes:
        record: What the census knows.
        label: What an explainer says; None where none was asked.
        known: Whether the label's score reaches the threshold of its atlas.
        scores: How far the label can be trusted.
    """

    record: LatentRecord
    label: Label | None = None
    known: bool = True
    scores: tuple[Score, ...] = ()

    @property
    def shown(self) -> str:
        """The label as a reader may see it: `not known` below the threshold, empty without one."""
        if self.label is None:
            return ""
        return self.label.text if self.known and self.label.text else NOT_KNOWN

    @property
    def is_known(self) -> bool:
        """Whether there is a label that may be shown."""
        return self.shown not in ("", NOT_KNOWN)


@dataclass(frozen=True, eq=False)
class AtlasContent:
    """An atlas as exporters take it, and as importers give it back.

    Attributes:
        meta: What the atlas says of itself.
        corpus: The text that positions refer to.
        entries: Gives the chosen latents by rising number; it may be called again.
        n_entries: How many there are.
        vectors: Decoder rows of all latents; None where the atlas has none.
        labels: How the newest labels were made; None without labels.
    """

    meta: AtlasMeta
    corpus: CorpusText
    entries: Callable[[], Iterable[Entry]]
    n_entries: int
    vectors: Float[np.ndarray, "latent write"] | None = field(default=None, repr=False)
    labels: LabelsMeta | None = None

    @property
    def read_site(self) -> Site:
        """The site that the dictionary reads."""
        return self._site("reads")

    @property
    def write_site(self) -> Site:
        """The site that the dictionary writes."""
        return self._site("writes")

    def _site(self, key: str) -> Site:
        return Site.parse(self.meta.dictionary_config[key][0])

    def checked(self) -> Iterator[Entry]:
        """The entries, with their order and number proven.

        Raises:
            ArtifactError: They do not rise, or there are none or others than were promised.
        """
        last, n = -1, 0
        for entry in self.entries():
            latent = entry.record.latent
            if not last < latent < self.meta.n_latents:
                raise ArtifactError(
                    f"The atlas gives latent {latent} after {last} of {self.meta.n_latents}: it is damaged; "
                    "build it again."
                )
            last, n = latent, n + 1
            yield entry
        if n != self.n_entries or n == 0:
            raise ArtifactError(
                f"The atlas gave {n} latents where {self.n_entries} were chosen: choose latents that it "
                "has, or build it again."
            )


@runtime_checkable
class Exportable(Protocol):
    """What exporters ask of an atlas; `atlas.atlas.Atlas` has it."""

    meta: AtlasMeta
    corpus: CorpusText
    labels: tuple[LabelReader, ...]

    @property
    def vectors(self) -> Float[np.ndarray, "latent write"] | None:
        """Decoder rows of all latents."""
        ...

    def records(self, latents: Sequence[int] | None = None) -> Iterator[LatentRecord]:
        """Records in the order asked for; by default all, by number."""
        ...


def content_of(
    atlas: Exportable, latents: Sequence[int] | None = None, *, known_only: bool = False
) -> AtlasContent:
    """An atlas, or some of its latents, for an exporter.

    Args:
        atlas: It stays open as long as the content is used.
        latents: Which ones; by default all.
        known_only: Whether to take only those with a label that may be shown.

    Raises:
        RecipeError: A latent is not there, or nothing is left.
    """
    n = atlas.meta.n_latents
    chosen = list(range(n)) if latents is None else sorted(set(latents))
    if chosen and not 0 <= chosen[0] <= chosen[-1] < n:
        wrong = chosen[0] if chosen[0] < 0 else chosen[-1]
        raise RecipeError(f"There is no latent {wrong}: the atlas has {n}, from 0 to {n - 1}.")
    sources = LabelSources(atlas.labels)
    if known_only:
        chosen = [latent for latent in chosen if latent in sources.known]
    if not chosen:
        reason = "none of them has a label that may be shown" if known_only else "none was named"
        raise RecipeError(f"No latent is chosen: {reason}. Choose others, or all.")

    def entries() -> Iterator[Entry]:
        for record in atlas.records(None if len(chosen) == n else chosen):
            label, scores, known = sources.said(record.latent)
            yield Entry(record, label, known, scores)

    labels = atlas.labels[0].meta if atlas.labels else None
    return AtlasContent(atlas.meta, atlas.corpus, entries, len(chosen), atlas.vectors, labels)
