"""What several pages have in common."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """A part of an answer; numbers that are not finite become null."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="null"
    )


class Failure(Answer):
    """Why a request was refused, for people and programs."""

    code: str
    """Stable, e.g. `not_found`, `wrong_input`, `damaged`, `busy`, `forbidden`."""
    message: str
    """What was asked, and what was found."""
    hint: str | None = None
    """What to do."""


class FailureEnvelope(Answer):
    """The body of every refusal."""

    error: Failure


class Problem(Answer):
    """Something on disk that cannot be shown, and why; all else is."""

    where: str
    """Which file or folder, as seen from the served folder."""
    message: str


class Estimate(Answer):
    """A figure with its 95 % interval; without one `low` and `high` are null."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    """Contexts, cases or tokens that it rests on."""


class Histogram(Answer):
    """Counts between edges, one edge more than counts."""

    edges: list[float]
    counts: list[int]
    scale: Literal["linear", "log10"] = "linear"
    """`log10`: the edges are logarithms."""


class Snippet(Answer):
    """One way to get what a page shows without the page."""

    title: str
    language: Literal["shell", "python", "sql"]
    text: str


class Provenance(Answer):
    """Where the numbers of a page come from."""

    facts: list[tuple[str, str]]
    """Name and value: model, weights hash, tokenizer, text, dictionary digest, run, version, seed, ..."""
    snippets: list[Snippet]
    """Commands and Python that give the same numbers when pasted."""


class Line(Answer):
    """One curve: x and y of equal length."""

    name: str
    x: list[float]
    y: list[float | None]
