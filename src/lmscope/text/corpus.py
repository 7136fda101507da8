"""Corpus: documents of one source, the same ones in the same order every time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from lmscope.core.errors import DataError
from lmscope.core.rng import stream_seed
from lmscope.text.contexts import Contexts, Style
from lmscope.text.document import Document, DocumentSource
from lmscope.text.hub import HubAddress, HubSource
from lmscope.text.rows import RowReader, TextColumn
from lmscope.text.sources import (
    FileSource,
    MemorySource,
    digest,
    documents_from_texts,
    find_files,
)
from lmscope.text.tokens import TextTokenizer
from lmscope.text.worlds.source import PREFIX as GAMES
from lmscope.text.worlds.source import GameSource

SAMPLE: Final = Path(__file__).parent / "sample" / "documents.jsonl.zst"
"""The bundled sample; LICENSE.md beside it names every work."""


class Corpus(DocumentSource):
    """Text to read: documents in a fixed order, streamed, never all in memory.

    A corpus is a value: reading it twice gives the same documents, and `fingerprint` names them.
    """

    def __init__(self, source: DocumentSource) -> None:
        self.name = source.name
        self._source = source
        self._fingerprint: str | None = None

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        column: str | None = None,
        separator: str | None = None,
        reader: RowReader | None = None,
        revision: str | None = None,
    ) -> "Corpus":
        """Open a corpus; documents are read when they are asked for.

        Args:
            source: `sample` (bundled: 12.6 MB of English books and an economics textbook); a
                `.txt`, `.jsonl` (both also `.gz` or `.zst`) or `.parquet` file, a folder or a glob
                of such files; `hf:name[@config][:split[:column]]`, streamed from the hub; or
                `othello:6[@20000]`, random games of Othello on a board of 6 or 8 squares a side.
            column: The column that holds the text; `text` by default.
            separator: The line that stands between two documents of a `.txt` file. Without it a
                file is one document, which is held in memory whole and cannot be split.
            reader: Makes documents of rows in another way, e.g. `ChatTemplate(tokenizer)`.
            revision: Commit, branch or tag of a hub dataset.

        Raises:
            DataError: Nothing readable is there.
        """
        source = str(source)
        if reader is not None and column is not None:
            raise DataError("Give a column or a reader, not both: the reader names its own column.")
        if source.startswith("hf:"):
            address = HubAddress.parse(source)
            if column is not None and address.column not in (None, column):
                raise DataError(f"'{source}' and column='{column}' name two columns: give one.")
            chosen = reader or TextColumn(address.column or column or "text")
            return cls(HubSource(source, address, chosen, revision))
        if revision is not None:
            raise DataError(f"'{source}' has no revisions: only hf: datasets do.")
        if source.startswith(GAMES):
            if (column, separator, reader) != (None, None, None):
                raise DataError(
                    f"'{source}' has no columns and no separators: it makes its games itself."
                )
            return cls(GameSource.parse(source))
        chosen = reader or TextColumn(column or "text")
        if source == "sample":
            return cls(FileSource("sample", (SAMPLE,), chosen, separator))
        return cls(FileSource(source, find_files(source), chosen, separator))

    @classmethod
    def from_texts(cls, texts: Sequence[str], name: str = "memory") -> "Corpus":
        """A corpus of texts that are already there, one document each."""
        return cls.from_documents(documents_from_texts(texts, name), name)

    @classmethod
    def from_documents(cls, documents: Sequence[Document], name: str = "memory") -> "Corpus":
        """A corpus of documents that are already there."""
        return cls(MemorySource(name, tuple(documents)))

    def __repr__(self) -> str:
        return f"Corpus({self.name!r})"

    @property
    def fingerprint(self) -> str:
        """Thirty-two hex digits that name the text: a hash of the content, or the hub's commit."""
        if self._fingerprint is None:
            self._fingerprint = self._source.fingerprint
        return self._fingerprint

    def documents(self) -> Iterator[Document]:
        """The documents, from the first, in the corpus's order; documents without text are left out.

        Raises:
            DataError: The corpus has no text, or its source cannot be read on.
        """
        empty = True
        for document in self._source.documents():
            empty = False
            yield document
        if empty:
            raise DataError(f"'{self.name}' holds no text: {_remedy(self._source)}.")

    def split(self, held_out_fraction: float, seed: int) -> tuple["Corpus", "Corpus"]:
        """Set whole documents aside for evaluation.

        A group (all parts of one book; equal texts) goes to one side as a whole, by a hash of its
        key and the seed alone: where a document goes never changes when others come or leave.
        So the held-out share is a fraction of the groups, in expectation.

        Args:
            held_out_fraction: Share of the groups to hold out, between 0 and 1, both excluded.
            seed: Which groups.

        Returns:
            The corpus to train on, and the one held out. Reading a side that got no document
            raises DataError.
        """
        if not 0 < held_out_fraction < 1:
            raise DataError(
                f"A fraction of {held_out_fraction} cannot be held out: give one between 0 and 1, "
                "e.g. 0.1."
            )
        train, held_out = (
            Corpus(
                SplitSource(
                    f"{self.name} ({side.replace('_', ' ')})", self, side, held_out_fraction, seed
                )
            )
            for side in ("train", "held_out")
        )
        return train, held_out

    def contexts(
        self,
        tokenizer: TextTokenizer,
        context_length: int,
        *,
        bos_id: int | None,
        max_tokens: int | None = None,
        style: Style | str = "packed",
        drop_tail: bool = False,
    ) -> Contexts:
        """The corpus as token sequences of one length; see `Contexts`."""
        return Contexts(
            self,
            tokenizer,
            context_length,
            bos_id=bos_id,
            max_tokens=max_tokens,
            style=style,
            drop_tail=drop_tail,
        )


@dataclass(frozen=True)
class SplitSource(DocumentSource):
    """One side of a split: the documents whose group's hash falls into it."""

    name: str
    whole: DocumentSource
    side: Literal["train", "held_out"]
    held_out_fraction: float
    seed: int

    @property
    def fingerprint(self) -> str:
        """Hash of the whole's fingerprint and the split."""
        return digest("split", self.whole.fingerprint, self.side, self.held_out_fraction, self.seed)

    def documents(self) -> Iterator[Document]:
        """The documents on this side, in the order of the whole."""
        for document in self.whole.documents():
            place = stream_seed(self.seed, "held out", document.group) / 2**63
            if (place < self.held_out_fraction) == (self.side == "held_out"):
                yield document


def _remedy(source: DocumentSource) -> str:
    if isinstance(source, SplitSource):
        return (
            f"no group of '{source.whole.name}' falls on this side of a split at "
            f"{source.held_out_fraction} with seed {source.seed}; change the fraction or give more "
            "documents (a separator cuts a .txt file into several)"
        )
    return "give a source with at least one document that is not empty"
