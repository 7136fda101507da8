"""Atlas: what every latent of a dictionary means, with the evidence."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Float16, Float32, Float64

from lmscope.atlas import packed
from lmscope.atlas.columns import Figures, LatentColumns
from lmscope.atlas.config import AtlasMeta
from lmscope.atlas.counterexamples import CounterExamples, counter_examples
from lmscope.atlas.database import reported
from lmscope.atlas.exchange.texts import TokenTexts, as_byte_token
from lmscope.atlas.feature import Feature
from lmscope.atlas.finding import Place, find_corpus, find_labels, locate
from lmscope.atlas.labels import LabelReader
from lmscope.atlas.listing import FeatureList, Summary
from lmscope.atlas.notes import Notes
from lmscope.atlas.record import LatentRecord
from lmscope.atlas.sources import LabelSources, Said
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
from lmscope.atlas.vectors import DecoderRows
from lmscope.core.errors import ArtifactError, RecipeError, did_you_mean
from lmscope.core.feature import FeatureId
from lmscope.runs.artifact import read_manifest

_LINE: Final = (
    "id, n_fired, density, mean, max, n_documents, document_share, peak_token, dead, dense"
)


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
        return self._required_vectors()[self.check_latent(latent)].astype(np.float32)

    def check_latent(self, latent: int) -> int:
        """The latent itself; raises ArtifactError where there is none of this number."""
        if not 0 <= latent < len(self):
            raise ArtifactError(
                f"There is no latent {latent}: the atlas has {len(self)}, from 0 to {len(self) - 1}."
            )
        return latent

    def nearest(self, vector: int | Float[np.ndarray, "write"], n: int = 10) -> FeatureList:
        """The latents whose decoder rows have the largest cosine with a vector.

        Args:
            vector: The vector, or a latent, which is then left out itself.
            n: How many.

        Raises:
            RecipeError: The vector has another width or is zero.
            ArtifactError: The atlas has no vectors.
        """
        values = self.cosines(vector)
        own = isinstance(vector, int)
        best = np.argsort(-values, kind="stable")[: min(n, len(values) - own)]
        return self.listed(best.tolist(), "cosine", values[best].tolist())

    def cosines(self, vector: int | Float[np.ndarray, "write"]) -> Float32[np.ndarray, "latent"]:
        """The cosine of every latent's decoder row with a vector, or with the row of a latent.

        A latent's cosine with itself is -inf, so that it stands last among its neighbours.

        Raises:
            RecipeError: The vector has another width or is zero.
            ArtifactError: The atlas has no vectors, or no such latent.
        """
        if isinstance(vector, int):
            return self._rows.cosines_with(self.check_latent(vector))
        return self._rows.cosines(vector)

    @cached_property
    def _rows(self) -> DecoderRows:
        return DecoderRows(self._required_vectors())

    def search(self, text: str, limit: int = 20) -> FeatureList:
        """Latents whose labels, as far as they are known, hold all words of a text.

        Raises:
            RecipeError: The text is empty, or no latent has a label.
        """
        return self.listed(self.find_labels(text)[:limit])

    def find_labels(self, text: str) -> list[int]:
        """The latents of `search`, however many there are; errors as of `search`."""
        if not self.labels:
            raise RecipeError(
                f"'{self.path}' has no labels to search: make some with `lmscope explain`."
            )
        return [one.latent for one in self._sources.search(text, len(self))]

    def on_token(self, token: str | int, limit: int = 20) -> FeatureList:
        """Latents that have a token among those on which they fire most, most firings first.

        Args:
            token: Its id, or its text; a text without a space in front also means the token with one.
            limit: At most so many.

        Raises:
            RecipeError: No token of the atlas has this text.
        """
        best = self.firings_on([token] if isinstance(token, int) else self._required_tokens(token))
        latents = list(best)[:limit]
        return self.listed(latents, "fires on it", [best[latent] for latent in latents])

    def find_tokens(self, text: str) -> list[int]:
        """The tokens with a text, as far as a latent fires most on them; one may have a space in front."""
        wanted = {text.encode(), text.encode() if text[:1].isspace() else f" {text}".encode()}
        return [token for token, data in self._token_bytes.items() if data in wanted]

    def firings_on(self, tokens: Sequence[int]) -> dict[int, int]:
        """How often latents fire on tokens, of those that have one among their commonest; most first."""
        counts: dict[int, int] = {}
        for token in tokens:
            for latent, n_fired in self.census.on_token(token, len(self)):
                counts[latent] = counts.get(latent, 0) + n_fired
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def filter(
        self,
        *,
        min_density: float | None = None,
        max_density: float | None = None,
        known: bool | None = None,
        dead: bool | None = None,
        dense: bool | None = None,
        order: str = "latent",
        offset: int = 0,
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
            offset: So many at the beginning are left out.
            limit: At most so many.

        Raises:
            RecipeError: The order is not known.
        """
        figures = Figures(min_density, max_density, known, dead, dense)
        latents = self.columns.ordered(order)
        fitting = latents[self.columns.fitting(figures)[latents]]
        return self.listed(fitting[offset : offset + limit].tolist())

    def listed(
        self,
        latents: Sequence[int],
        value_name: str | None = None,
        values: Sequence[float | int] = (),
    ) -> FeatureList:
        """Given latents in a line each, with a number for each where there is one."""
        query = f"SELECT {_LINE} FROM latent WHERE id = ?"
        execute = self.census.connection.execute
        with reported(self.census.place):
            rows = [execute(query, (latent,)).fetchone() for latent in latents]
        return FeatureList(tuple(map(self._summary, rows)), value_name, tuple(values))

    @cached_property
    def columns(self) -> LatentColumns:
        """The figures of all latents at once, those of labels among them."""
        found = self._sources
        return LatentColumns.read(
            self.census.connection, self.census.place, found.known, found.detections
        )

    @cached_property
    def densities(self) -> Float64[np.ndarray, "latent"]:
        """The densities of all latents, ascending."""
        with reported(self.census.place):
            query = "SELECT density FROM latent ORDER BY density"
            rows = self.census.connection.execute(query).fetchall()
        return np.fromiter((row[0] for row in rows), np.float64, len(rows))

    def said(self, latent: int) -> Iterator[tuple[LabelReader, Said]]:
        """What each source of labels that names a latent says of it, the newest first."""
        return self._sources.all_said(latent)

    def counter_examples(self, latent: int) -> CounterExamples | None:
        """Examples on which a latent fires although its label's rule says that it does not.

        Returns:
            None where it has no label with a rule.

        Raises:
            ArtifactError: As of `record`, or the rule is damaged.
        """
        label = self._sources.said(latent).label
        return counter_examples(label, self.record(latent), self.corpus)

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
            "token": self.texts.one,
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
    def texts(self) -> TokenTexts:
        """The texts of single tokens."""
        return TokenTexts(self.corpus, as_byte_token)

    @cached_property
    def _functions(self) -> dict[str, Callable[[Any], Any]]:
        return {
            "is_known": lambda latent: int(latent in self._sources.known),
            "detection": self._sources.detections.get,
        }

    def _required_tokens(self, text: str) -> list[int]:
        found = self.find_tokens(text)
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
            peak=None if peak is None else self.texts.one(peak),
            dead=bool(dead),
            dense=bool(dense),
        )
