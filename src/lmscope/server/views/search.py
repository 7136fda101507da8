"""Search over the atlases of all dictionaries: by label, by token, by number, and by decoder row."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.listing import FeatureList
from lmscope.core.errors import LmscopeError
from lmscope.server.failures import NotFound, WrongInput
from lmscope.server.library.entries import DictionaryEntry
from lmscope.server.library.library import Library
from lmscope.server.schemas.common import Problem
from lmscope.server.schemas.search import Hits, SearchAnswer
from lmscope.server.views.features import check_latent, feature_lines
from lmscope.server.views.lines import dictionary_line

Kind = Literal["label", "token", "near"]
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_NAMED: Final = 3
"""Dictionaries that a problem of several names."""
_NO_ATLAS: Final = "No atlas: make one with `lmscope atlas build`."
_NO_LABELS: Final = "No labels: make some with `lmscope explain`."
_NO_VECTORS: Final = "The atlas came without decoder rows."
_ANOTHER_STREAM: Final = (
    "Rows of another model, or of another width, have no cosine with those of this feature."
)


class _Result:
    """What a search found in one dictionary.

    Attributes:
        found: The features.
        total: How many there are in all; None where that is all of them.
    """

    def __init__(self, found: FeatureList, total: int | None = None) -> None:
        self.found, self.total = found, total


class _Skipped(LmscopeError):  # noqa: N818 - it is no error of anybody's
    """A dictionary cannot be asked, for a reason that it shares with others."""


Ask = Callable[[Atlas], _Result]


@dataclass
class _Answers:
    """Hits and problems while dictionaries are asked one after another."""

    library: Library
    hits: list[Hits] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def ask(self, entries: Iterable[DictionaryEntry], ask: Ask) -> None:
        """Ask each dictionary; one that cannot answer does not hide the others."""
        for entry in entries:
            try:
                if not entry.atlases:
                    raise _Skipped(_NO_ATLAS)
                with self.library.atlas(entry.id) as atlas:
                    result = ask(atlas)
                    rows = feature_lines(atlas, result.found)
            except LmscopeError as error:
                self.skipped.setdefault(str(error), []).append(entry.name)
                continue
            if rows:
                hits = Hits(
                    dictionary=dictionary_line(entry),
                    value_name=result.found.value_name,
                    rows=rows,
                    total=result.total,
                )
                self.hits.append(hits)

    def problems(self) -> list[Problem]:
        """What could not be asked, dictionaries with one reason together."""
        return [Problem(where=_names(names), message=why) for why, names in self.skipped.items()]


def search(
    library: Library, query: str, kind: Kind, dictionaries: Sequence[str], limit: int
) -> SearchAnswer:
    """What all dictionaries, or those that are named, have.

    A query that is the number of a latent, or `DICTIONARY/LATENT`, is answered by that feature first.

    Args:
        library: Where the dictionaries are.
        query: Words of a label, a token, or for `near` a feature `DICTIONARY/LATENT`.
        kind: What is searched.
        dictionaries: Ids; all where none is named.
        limit: At most so many features of each dictionary.

    Raises:
        NotFound: There is no dictionary of an id, or for `near` no such feature.
        WrongInput: The query is empty, or for `near` no feature.
    """
    query = query.replace("\0", " ")
    if not query.strip():
        raise WrongInput("A search needs at least one word. Write one.")
    entries = _entries(library, dictionaries)
    answers = _Answers(library)
    if kind == "near":
        _ask_near(answers, entries, query, limit)
        answers.hits.sort(key=lambda one: -(one.rows[0].value or 0.0))
    else:
        _ask_number(answers, entries, query)
        asks = {"label": _by_label, "token": _by_token}
        answers.ask(entries, asks[kind](query, limit))
    return SearchAnswer(kind=kind, query=query, hits=answers.hits, problems=answers.problems())


def _entries(library: Library, ids: Sequence[str]) -> list[DictionaryEntry]:
    if not ids:
        return list(library.dictionaries())
    return [library.dictionary(one) for one in dict.fromkeys(ids)]


def _by_label(query: str, limit: int) -> Ask:
    def ask(atlas: Atlas) -> _Result:
        if not atlas.labels:
            raise _Skipped(_NO_LABELS)
        latents = atlas.find_labels(query)
        return _Result(atlas.listed(latents[:limit]), len(latents))

    return ask


def _by_token(query: str, limit: int) -> Ask:
    def ask(atlas: Atlas) -> _Result:
        counts = atlas.firings_on(atlas.find_tokens(query))
        latents = list(counts)[:limit]
        values = [counts[latent] for latent in latents]
        return _Result(atlas.listed(latents, "fires on it", values), len(counts))

    return ask


def _ask_number(answers: _Answers, entries: Sequence[DictionaryEntry], query: str) -> None:
    """The features of a number: of the dictionary that the query names, else of each one."""
    named, _, number = query.strip().rpartition("/")
    if not _NUMBER.fullmatch(number):
        return
    latent = int(number)
    chosen = [one for one in entries if not named or named in (one.id, one.name)]

    def ask(atlas: Atlas) -> _Result:
        return _Result(atlas.listed([latent] if latent < len(atlas) else [], "number", [latent]))

    answers.ask((one for one in chosen if one.atlases and latent < one.n_latents), ask)


def _ask_near(
    answers: _Answers, entries: Sequence[DictionaryEntry], query: str, limit: int
) -> None:
    own, latent = _feature(answers.library, query)
    with answers.library.atlas(own.id) as atlas:
        check_latent(atlas, latent)
        if atlas.vectors is None:
            raise WrongInput(f"'{own.name}' has no decoder rows to compare with. Build its atlas.")
        vector = atlas.vector(latent)
        weights = atlas.meta.weights_hash
    if not np.any(vector):
        raise WrongInput(f"The decoder row of latent {latent} is zero, so nothing is near to it.")
    answers.ask(entries, _by_vector(vector, weights, own.digest, latent, limit))


def _by_vector(
    vector: Float32[np.ndarray, "write"], weights: str, digest: str, latent: int, limit: int
) -> Ask:
    def ask(atlas: Atlas) -> _Result:
        if atlas.vectors is None:
            raise _Skipped(_NO_VECTORS)
        if atlas.meta.weights_hash != weights or atlas.vectors.shape[1:] != vector.shape:
            raise _Skipped(_ANOTHER_STREAM)
        own = atlas.meta.dictionary_digest == digest
        return _Result(atlas.nearest(latent if own else vector, limit))

    return ask


def _feature(library: Library, query: str) -> tuple[DictionaryEntry, int]:
    named, _, number = query.strip().rpartition("/")
    if not named or not _NUMBER.fullmatch(number):
        raise WrongInput(
            f"'{query[:80]}' is not a feature. Write DICTIONARY/LATENT, e.g. the end of a feature's address."
        )
    by_name = [one for one in library.dictionaries() if one.name == named]
    try:
        return library.dictionary(named), int(number)
    except NotFound:
        if len(by_name) != 1:
            raise
        return by_name[0], int(number)


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    more = len(names) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown
