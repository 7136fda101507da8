"""Atlas: what every latent of a dictionary means, with the evidence."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Float16, Float32

from lmscope.atlas import packed
from lmscope.atlas.config import AtlasMeta
from lmscope.atlas.database import reported
from lmscope.atlas.exchange.texts import TokenTexts, as_byte_token
from lmscope.atlas.feature import Feature
from lmscope.atlas.finding import Place, find_corpus, find_labels, locate
from lmscope.atlas.labels import LabelReader
from lmscope.atlas.listing import FeatureList, Summary
from lmscope.atlas.notes import Notes
from lmscope.atlas.record import LatentRecord
from lmscope.atlas.sources import LabelSources
from lmscope.atlas.sql import SqlResult, run_query
from lmscope.atlas.store import (
    ATLAS_FORMAT,
    ATLAS_KIND,
    CENSUS_FILE,
    VECTORS_FILE,
    CensusReader,
    read_vectors,
)
from lmscope.atlas.text import CorpusText
from lmscope.core.errors import ArtifactError, RecipeError, did_you_mean
from lmscope.core.feature import FeatureId
from lmscope.runs.artifact import read_manifest

ORDERS: Final = (
    "latent",
    "n_fired",
    "density",
    "mean",
    "max",
    "n_documents",
    "document_share",
    "detection",
)
"""What `filter` sorts by; `-` in front turns it round."""
_LINE: Final = (
    "id, n_fired, density, mean, max, n_documents, document_share, peak_token, dead, dense"
)
_ROWS_AT_ONCE: Final = 8192


class Atlas:
    """The atlas of one dictionary, for reading; open it with `Atlas.open`.

    Indexing gives features: `atlas[17]`. What has a label shows it only where its detection score reaches
    the threshold of its explain run, and reads `not known` elsewhere.

    Attributes:
        path: Its folder, or its packed file.
        digest: Its content digest.
        meta: Dictionary, model, corpus and options.
        census: The records.
        corpus: The text that records point to.
        labels: Sources of labels, newest first; a latent has the label of the first source that names it.
        notes: What people wrote down; None for an atlas that lies in no run.
        problems: A sentence for each thing beside the atlas that cannot be read.
    """

    def __init__(
        self,
        place: Place,
        digest: str,
        census: CensusReader,
        corpus: CorpusText,
        labels: Sequence[LabelReader] = (),
        problems: Sequence[str] = (),
    ) -> None:
        """Use `open`."""
        self.path, self.digest, self.census, self.corpus = place.path, digest, census, corpus
        self.meta: AtlasMeta = census.meta
        self.labels = tuple(labels)
        self._sources = LabelSources(self.labels)
        self.problems = tuple(problems)
        self.notes = None if place.notes is None else Notes(place.notes)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        name: str | None = None,
        labels: Sequence[Path | str] | None = None,
        corpus: Path | str | None = None,
    ) -> "Atlas":
        """Open an atlas.

        Args:
            path: A run, a folder `artifacts/atlas/NAME`, or a packed `.atlas` file.
            name: Which atlas, for a run with several.
            labels: Explain runs or folders of labels; by default all that name this atlas and lie in the
                same folder of runs.
            corpus: The folder of its frozen corpus, where it does not lie beside it.

        Raises:
            ArtifactError: It is missing, damaged, of a newer schema, or its corpus or labels are of another.
        """
        place = locate(path, name)
        if place.path.is_file():
            return cls._packed(place, labels, corpus)
        manifest = read_manifest(place.path, ATLAS_KIND, (ATLAS_FORMAT,))
        census = CensusReader(place.path / CENSUS_FILE)
        found = None
        try:
            text = find_corpus(place, census.meta.corpus_digest, corpus)
            if text.config.tokenizer_hash != census.meta.tokenizer_hash:
                raise ArtifactError(
                    f"The corpus of '{place.path}' is of tokenizer {text.config.tokenizer_hash[:12]}, the atlas of "
                    f"{census.meta.tokenizer_hash[:12]}: build the atlas anew."
                )
            found = find_labels(place, manifest.content_digest, labels)
            return cls(place, manifest.content_digest, census, text, *found)
        except BaseException:
            census.close()
            for reader in found.readers if found else ():
                reader.close()
            raise

    @classmethod
    def _packed(
        cls, place: Place, labels: Sequence[Path | str] | None, corpus: Path | str | None
    ) -> "Atlas":
        if corpus is not None:
            raise ArtifactError(
                f"'{place.path}' is packed with its corpus, so another has no effect: leave it out."
            )
        census = CensusReader(place.path)
        try:
            digest = packed.read_pack_meta(census.connection, place.path).atlas_digest
            text = packed.PackedText(place.path, census.meta)
            if labels is not None:
                readers = find_labels(place, digest, labels).readers
            else:
                own = packed.has_labels(census.connection, place.path)
                readers = (LabelReader(place.path),) if own else ()
            return cls(place, digest, census, text, readers)
        except BaseException:
            census.close()
            raise

    def __enter__(self) -> "Atlas":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its files."""
        self.census.close()
        self._sources.close()
        if self.notes is not None:
            self.notes.close()
        if isinstance(self.corpus, packed.PackedText):
            self.corpus.close()

    def __len__(self) -> int:
        return self.meta.n_latents

    def __getitem__(self, latent: int) -> Feature:
        return self.feature(latent)

    def check_fits(
        self, *, dictionary_digest: str | None = None, tokenizer_hash: str | None = None
    ) -> None:
        """Refuse a dictionary or a tokenizer that the atlas was not made from.

        Raises:
            ArtifactError: It is another one.
        """
        for what, found, own in (
            ("dictionary", dictionary_digest, self.meta.dictionary_digest),
            ("tokenizer", tokenizer_hash, self.meta.tokenizer_hash),
        ):
            if found is not None and found != own:
                raise ArtifactError(
                    f"The atlas '{self.path}' is of {what} {own[:12]}, not of {found[:12]}: use the one that it was "
                    "built from, or build an atlas for this one."
                )

    def record(self, latent: int) -> LatentRecord:
        """What the census knows of a latent.

        Raises:
            ArtifactError: There is no such latent, or its record is damaged.
        """
        return self.census.record(latent)

    def records(self, latents: Sequence[int] | None = None) -> Iterator[LatentRecord]:
        """Records in the order asked for; by default all, by number."""
        return self.census.records(latents)

    def feature(self, latent: int) -> Feature:
        """A latent with its label, its scores, its text and what people wrote down.

        Raises:
            ArtifactError: As of `record`.
        """
        record = self.record(latent)
        said = self._sources.said(latent)
        note = None
        if self.notes is not None:
            note = self.notes.note(self.meta.dictionary_digest, latent)
        return Feature(
            FeatureId(self.meta.dictionary, latent),
            record,
            self.corpus,
            said.label,
            said.known,
            said.scores,
            None if note is None or note.is_empty else note,
            record.density > self.meta.options.dense_above,
        )

    @cached_property
    def vectors(self) -> Float16[np.ndarray, "latent write"] | None:
        """Decoder rows of all latents; None where the atlas came without them.

        Raises:
            ArtifactError: They are damaged.
        """
        if self.path.is_file():
            width = packed.read_pack_meta(self.census.connection, self.path).d_write
            if width is None:
                return None
            return packed.read_packed_vectors(self.census.connection, self.path, width)
        file = self.path / VECTORS_FILE
        return read_vectors(file) if file.exists() else None

    @property
    def n_known(self) -> int:
        """Latents whose labels are shown."""
        return len(self._sources.known)

    def vector(self, latent: int) -> Float32[np.ndarray, "write"]:
        """The decoder row of a latent, as it was rounded to float16.

        Raises:
            ArtifactError: There is no such latent, or the atlas has no vectors.
        """
        if not 0 <= latent < len(self):
            raise ArtifactError(
                f"There is no latent {latent}: the atlas has {len(self)}, from 0 to {len(self) - 1}."
            )
        return self._required_vectors()[latent].astype(np.float32)

    def nearest(self, vector: int | Float[np.ndarray, "write"], n: int = 10) -> FeatureList:
        """The latents whose decoder rows have the largest cosine with a vector.

        Args:
            vector: The vector, or a latent, which is then left out itself.
            n: How many.

        Raises:
            RecipeError: The vector has another width or is zero.
            ArtifactError: The atlas has no vectors.
        """
        rows = self._required_vectors()
        own = vector if isinstance(vector, int) else None
        wanted = self.vector(vector) if isinstance(vector, int) else vector.astype(np.float32)
        norm = float(np.linalg.norm(wanted))
        if wanted.shape != rows.shape[1:] or not norm > 0:
            raise RecipeError(
                f"A vector of width {rows.shape[1]} that is not zero is needed; this one has width {len(wanted)} and "
                f"norm {norm:g}."
            )
        cosines = np.concatenate(
            [
                _cosines(rows[first : first + _ROWS_AT_ONCE].astype(np.float32), wanted / norm)
                for first in range(0, len(rows), _ROWS_AT_ONCE)
            ]
        )
        if own is not None:
            cosines[own] = -np.inf
        best = np.argsort(-cosines, kind="stable")[: min(n, len(rows) - (own is not None))]
        found = [(int(i), float(cosines[i])) for i in best]
        return self._listed(found, "cosine")

    def search(self, text: str, limit: int = 20) -> FeatureList:
        """Latents whose labels, as far as they are known, hold all words of a text.

        Raises:
            RecipeError: The text is empty, or no latent has a label.
        """
        if not self.labels:
            raise RecipeError(
                f"'{self.path}' has no labels to search: make some with `lmscope explain`."
            )
        found = self._sources.search(text, limit)
        return self._listed([(one.latent, one.detection) for one in found], None)

    def on_token(self, token: str | int, limit: int = 20) -> FeatureList:
        """Latents that have a token among those on which they fire most, most firings first.

        Args:
            token: Its id, or its text; a text without a space in front also means the token with one.
            limit: At most so many.

        Raises:
            RecipeError: No token of the atlas has this text.
        """
        ids = [token] if isinstance(token, int) else self._token_ids(token)
        counts: dict[int, int] = {}
        for one in ids:
            for latent, n_fired in self.census.on_token(one, limit):
                counts[latent] = counts.get(latent, 0) + n_fired
        best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
        return self._listed(best, "fires on it")

    def filter(
        self,
        *,
        min_density: float | None = None,
        max_density: float | None = None,
        known: bool | None = None,
        dead: bool | None = None,
        dense: bool | None = None,
        order: str = "latent",
        limit: int = 100,
    ) -> FeatureList:
        """Latents with given properties.

        Args:
            min_density: Least share of positions on which they fire.
            max_density: Largest share.
            known: Whether they have a label that is shown.
            dead: Whether they never fire.
            dense: Whether they are flagged as dense.
            order: One of `ORDERS`, with `-` in front from the largest down; ties by number.
            limit: At most so many.

        Raises:
            RecipeError: The order is not known.
        """
        column, falling = order.removeprefix("-"), order.startswith("-")
        if column not in ORDERS:
            raise RecipeError(f"Latents have no order '{column}'.{did_you_mean(column, ORDERS)}")
        conditions, values = _conditions(min_density, max_density, dead, dense)
        if known is not None:
            conditions.append("is_known(id) = ?")
            values.append(int(known))
        key = {"latent": "id", "detection": "detection(id)"}.get(column, column)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        direction = "DESC NULLS LAST" if falling else "ASC NULLS LAST"
        query = f"SELECT {_LINE} FROM latent {where} ORDER BY {key} {direction}, id LIMIT ?"
        with reported(self.census.place):
            for name, function in self._functions.items():
                self.census.connection.create_function(name, 1, function, deterministic=True)
            rows = self.census.connection.execute(query, (*values, limit)).fetchall()
        return FeatureList(tuple(map(self._summary, rows)))

    def sql(self, query: str, *, limit: int = 1000, timeout_s: float = 10.0) -> SqlResult:
        """Run one SELECT.

        Tables: `latent`, `token_latent`, `meta`; of the newest labels `labels.label` and `labels.score`
        (of older ones `labels2` and so on). Functions: `shown(latent)` gives the label as readers see it,
        `is_known(latent)`, `detection(latent)`, and `token(id)` the text of a token.

        Args:
            query: The SELECT.
            limit: At most so many rows are given back.
            timeout_s: Longest time.

        Raises:
            RecipeError: The query cannot be run, or does something else than read.
            BudgetError: It took longer.
        """
        files = {"main": self.census.place}
        for i, reader in enumerate(self.labels[:8]):
            files["labels" if i == 0 else f"labels{i + 1}"] = reader.path
        functions = {
            **self._functions,
            "shown": lambda latent: self._sources.said(latent).shown,
            "token": self._texts.one,
        }
        return run_query(files, query, functions=functions, limit=limit, timeout_s=timeout_s)

    def __repr__(self) -> str:
        labels = f", {len(self._sources.known)} labels known" if self.labels else ""
        return f"Atlas({self.meta.dictionary} of {self.meta.model}, {len(self)} latents{labels})"

    def _repr_html_(self) -> str:
        """The atlas in a line, and its latents with the best labels, or those that fire most."""
        order = "-detection" if self._sources.known else "-density"
        found = self.filter(
            order=order, dead=False, known=True if self._sources.known else None, limit=10
        )
        return f"<p>{escape(repr(self))}</p>{found._repr_html_()}"

    @cached_property
    def _texts(self) -> TokenTexts:
        return TokenTexts(self.corpus, as_byte_token)

    @cached_property
    def _functions(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "is_known": lambda latent: int(latent in self._sources.known),
            "detection": self._sources.detections.get,
        }

    def _token_ids(self, text: str) -> list[int]:
        wanted = {text.encode(), text.encode() if text[:1].isspace() else f" {text}".encode()}
        found = [token for token, data in self._token_bytes.items() if data in wanted]
        if not found:
            known = {data.decode(errors="replace").strip() for data in self._token_bytes.values()}
            raise RecipeError(
                f"No latent fires most on a token '{text}': tokens may be parts of words."
                f"{did_you_mean(text, known) if len(text) < 40 else ''}"
            )
        return found

    @cached_property
    def _token_bytes(self) -> dict[int, bytes]:
        with reported(self.census.place):
            rows = self.census.connection.execute("SELECT DISTINCT token FROM token_latent")
            return {token: self.corpus.token_bytes(token) for (token,) in rows}

    def _required_vectors(self) -> Float16[np.ndarray, "latent write"]:
        if self.vectors is None:
            raise ArtifactError(f"'{self.path}' has no vectors: build the atlas anew.")
        return self.vectors

    def _listed(
        self, found: Sequence[tuple[int, float | int]], value_name: str | None
    ) -> FeatureList:
        query = f"SELECT {_LINE} FROM latent WHERE id = ?"
        with reported(self.census.place):
            rows = [
                self.census.connection.execute(query, (latent,)).fetchone() for latent, _ in found
            ]
        summaries = tuple(map(self._summary, rows))
        if value_name is None:
            return FeatureList(summaries)
        return FeatureList(summaries, value_name, tuple(value for _, value in found))

    def _summary(self, row: Sequence[Any]) -> Summary:
        latent, n_fired, density, mean, largest, n_documents, share, peak, dead, dense = row
        said = self._sources.said(latent)
        return Summary(
            latent=latent,
            label=said.shown,
            detection=said.detection,
            n_fired=n_fired,
            density=density,
            mean=mean,
            max=largest,
            n_documents=n_documents,
            document_share=share,
            peak=None if peak is None else self._texts.one(peak),
            dead=bool(dead),
            dense=bool(dense),
        )


def _conditions(
    min_density: float | None, max_density: float | None, dead: bool | None, dense: bool | None
) -> tuple[list[str], list[float | int]]:
    wanted = {
        "density >= ?": min_density,
        "density <= ?": max_density,
        "dead = ?": None if dead is None else int(dead),
        "dense = ?": None if dense is None else int(dense),
    }
    given = {condition: value for condition, value in wanted.items() if value is not None}
    return list(given), list(given.values())


def _cosines(
    rows: Float32[np.ndarray, "latent write"], direction: Float32[np.ndarray, "write"]
) -> Float32[np.ndarray, "latent"]:
    norms = np.linalg.norm(rows, axis=1)
    return (rows @ direction) / np.where(norms > 0, norms, 1)
