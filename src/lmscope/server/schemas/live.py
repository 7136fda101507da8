"""What the model answers while a person waits: which latents fire, how text goes on when steered."""

from typing import Annotated, Literal

from pydantic import Field

from lmscope.server.schemas.common import Answer, Problem
from lmscope.server.schemas.home import DictionaryLine

MAX_TEXT = 32_768
"""Characters of a text or prompt; the model's own limit in tokens is checked beside it."""


class WorkerState(Answer):
    """Where the process with the model stands."""

    state: Literal["off", "starting", "loading", "ready", "busy", "failed"]
    model: str | None
    dictionaries: list[str]
    """Those that it holds in memory."""
    waiting: int
    """Requests in front of a new one."""
    memory_bytes: int | None
    message: str | None = None
    """Why it failed, or what it loads."""
    n_restarts: int = 0


class ProbeRequest(Answer):
    """A text to read."""

    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    dictionaries: Annotated[list[str], Field(min_length=1, max_length=32)]
    """Ids."""
    latents: Annotated[list[int], Field(max_length=64)] = []
    """Of the first dictionary: latents whose activation on each token is wanted in any case."""
    n: Annotated[int, Field(ge=1, le=200)] = 30
    """Strongest latents of each dictionary."""
    by: Literal["max", "sum", "tokens"] = "max"


class ProbedToken(Answer):
    """A token of the text that was read."""

    text: str
    id: int
    counts: bool
    """False at positions that are left out: special, the first one, outliers."""


class FiringLatent(Answer):
    """A latent that fires on the text."""

    latent: int
    label: str
    known: bool
    density: float | None
    max: float
    sum: float
    n_tokens: int
    peak: int
    record_max: float | None
    """Its largest activation in the atlas, for shading; null without one."""
    values: list[float]
    """One a token, 0 where it does not fire."""


class Probed(Answer):
    """One dictionary on the text."""

    dictionary: DictionaryLine
    tokens: list[ProbedToken]
    latents: list[FiringLatent]
    n_firing: int
    """Latents that fire at all."""
    elapsed_s: float


class ProbeAnswer(Answer):
    """What fires on a text."""

    probed: list[Probed]
    problems: list[Problem]


class SteerRequest(Answer):
    """A prompt to go on with while latents are changed."""

    dictionary: str
    """Its id."""
    latents: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=16)]
    kind: Literal["add", "clamp", "ablate"] = "clamp"
    amount: Annotated[str, Field(max_length=32)] = "1x"
    """A number in the dictionary's units, or with an x a multiple of each latent's largest activation."""
    prompt: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    chat: bool = False
    where: Literal["all", "prompt", "generated"] = "all"
    n_tokens: Annotated[int, Field(ge=1, le=256)] = 32
    temperature: Annotated[float, Field(ge=0, le=5)] = 0.0
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class Arm(Answer):
    """How the prompt went on in one way."""

    name: Literal["clean", "steered", "random"]
    text: str
    tokens: list[str]
    log_probs: list[float]


class TokenShift(Answer):
    """A next token whose probability changed."""

    id: int
    text: str
    clean: float
    """Probability without the change."""
    edited: float
    """Probability with it."""


class SteerAnswer(Answer):
    """How the prompt goes on: unedited, steered, and with a random direction of equal size."""

    changes: list[str]
    """What was done to each latent, in words."""
    arms: list[Arm]
    next_token_kl: float
    """Of the first new token, in nats."""
    raised: list[TokenShift]
    lowered: list[TokenShift]
    elapsed_s: float
    command: str
    """The same as a command; empty where no single one says it."""
