"""Documents of a Hugging Face dataset, streamed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from lmscope.core.errors import DataError
from lmscope.text.document import Document, DocumentSource
from lmscope.text.rows import RowReader
from lmscope.text.sources import digest

_ADDRESS = re.compile(
    r"hf:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<config>[\w.-]+))?"
    r"(?::(?P<split>[\w.-]+)(?::(?P<column>[\w.-]+))?)?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubAddress(NamedTuple):
    """What `hf:name[@config][:split[:column]]` says."""

    name: str
    config: str | None
    split: str
    column: str | None

    @classmethod
    def parse(cls, text: str) -> "HubAddress":
        """Read an address; the split is `train` when none is named.

        Raises:
            DataError: The text has another form.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise DataError(
                f"'{text}' is no dataset: write hf:NAME[@CONFIG][:SPLIT[:COLUMN]], "
                "e.g. 'hf:wikitext@wikitext-2-raw-v1:train:text'."
            )
        return cls(match["name"], match["config"], match["split"] or "train", match["column"])


@dataclass(frozen=True)
class HubSource(DocumentSource):
    """One split of a dataset, read over the network row by row; nothing is stored.

    Attributes:
        name: The address, as a person writes it.
        address: Name, configuration, split.
        reader: Makes documents of rows.
        revision: A commit, branch or tag; None is the newest, whose commit then is looked up.
    """

    name: str
    address: HubAddress
    reader: RowReader
    revision: str | None = None

    @cached_property
    def commit(self) -> str:
        """The exact commit that is read, so that a name means one text.

        Raises:
            DataError: The hub cannot be reached or knows no such dataset.
        """
        if self.revision and _COMMIT.fullmatch(self.revision):
            return self.revision
        from huggingface_hub import HfApi

        try:  # the client raises errors of four libraries, so every one is told as the hub's
            found = HfApi().dataset_info(self.address.name, revision=self.revision).sha
        except Exception as error:
            raise self._failure(error) from error
        if found is None:
            raise DataError(f"The hub names no commit for '{self.name}': give revision=...")
        return found

    @property
    def fingerprint(self) -> str:
        """Hash of name, commit, configuration, split and how rows are read."""
        address = self.address
        return digest(
            "hub",
            address.name,
            self.commit,
            address.config,
            address.split,
            self.reader.fingerprint,
        )

    def documents(self) -> Iterator[Document]:
        """Every document that has text.

        Raises:
            DataError: The hub cannot be reached, or the dataset lacks the split or the column.
        """
        rows = self._rows()
        number = 0
        while True:
            try:
                row: dict[str, Any] = next(rows)
            except StopIteration:
                return
            except DataError:
                raise
            except Exception as error:
                raise self._failure(error) from error
            number += 1
            document = self.reader.document(row, f"{self.name}:{number}", self.name)
            if document.text:
                yield document

    def _rows(self) -> Iterator[dict[str, Any]]:
        try:
            import datasets
        except ImportError:
            raise DataError(f"'{self.name}' needs datasets: run pip install datasets.") from None
        yield from datasets.load_dataset(
            self.address.name,
            self.address.config,
            split=self.address.split,
            revision=self.commit,
            streaming=True,
        )

    def _failure(self, error: Exception) -> DataError:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        return DataError(
            f"'{self.name}' cannot be read from the Hugging Face hub: {reason}. Check the name, the "
            "split and the network, or give a local file."
        )
