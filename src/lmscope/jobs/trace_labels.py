"""What features of circuits mean, from atlases, as plain values."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.finding import atlas_names
from lmscope.core.errors import ArtifactError
from lmscope.core.feature import FeatureId
from lmscope.jobs.trace_dictionaries import FoundDictionary
from lmscope.jobs.trace_label_file import Labels, features_of, read_labels, write_labels

__all__ = ["CircuitAtlases", "Labels", "features_of", "read_labels", "write_labels"]


class CircuitAtlases:
    """The atlases of a circuit's dictionaries, for reading; close it, or use it in a `with` block.

    Args:
        paths: Runs, folders of an atlas, or packed files.
        dictionaries: Of the circuit.

    Raises:
        ArtifactError: One cannot be read, or is of none of the dictionaries.
    """

    def __init__(self, paths: Sequence[str], dictionaries: Iterable[FoundDictionary]) -> None:
        digests = {one.content_digest: one.name for one in dictionaries if one.content_digest}
        self._atlases: dict[str, Atlas] = {}
        with ExitStack() as opened:
            for path in paths:
                found = [opened.enter_context(Atlas.open(path, name=n)) for n in _names(path)]
                own = {digests.get(one.meta.dictionary_digest): one for one in found}
                if not own.keys() - {None}:
                    raise ArtifactError(
                        f"'{path}' is the atlas of dictionary {found[0].meta.dictionary_digest[:12]}, which is not in "
                        "this circuit: give an atlas that was built from one of its dictionaries."
                    )
                self._atlases |= {name: one for name, one in own.items() if name is not None}
            self._opened = opened.pop_all()

    def __enter__(self) -> "CircuitAtlases":
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all."""
        self._opened.close()

    def labels(self, features: Iterable[FeatureId]) -> Labels:
        """What is known of features; those whose label does not reach its threshold are left out."""
        found: Labels = {}
        for feature in sorted(set(features)):
            atlas = self._atlases.get(feature.dictionary)
            said = None if atlas is None else next((s for _, s in atlas.said(feature.latent)), None)
            if said is not None and said.known:
                found[feature] = said.shown
        return found


def _names(path: str) -> list[str | None]:
    """Every atlas of a run; of anything else the one that it is."""
    return [*atlas_names(Path(path))] or [None]
