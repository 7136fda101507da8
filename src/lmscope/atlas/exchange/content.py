"""What is exported of an atlas: what it says of itself, its corpus, and its latents in order."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from lmscope.atlas.config import AtlasMeta
from lmscope.atlas.explain.protocols import NOT_KNOWN, Label, Score
from lmscope.atlas.record import LatentRecord
from lmscope.atlas.text import CorpusText
from lmscope.core.errors import ArtifactError
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
    """

    meta: AtlasMeta
    corpus: CorpusText
    entries: Callable[[], Iterable[Entry]]
    n_entries: int
    vectors: Float[np.ndarray, "latent write"] | None = field(default=None, repr=False)

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
