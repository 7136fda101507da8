"""Jobs: long work that the server starts as runs in processes of their own."""

from typing import Any, Literal

from lmscope.server.schemas.common import Answer


class JobRequest(Answer):
    """What to do."""

    verb: Literal["train", "evaluate", "atlas", "explain", "geometry"]
    recipe: str | None = None
    """Name of a shipped recipe; for `train` only."""
    run: str | None = None
    """Id of the run that is worked on, for all others."""
    only: list[str] = []
    """Of the run's dictionaries, those of these names."""
    options: dict[str, Any] = {}
    """Recipe keys in dots with their values, as `--set` takes them."""
    resume: str | None = None
    """Id of a run to go on with instead."""


class JobLine(Answer):
    """A job."""

    id: str
    verb: str
    title: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    run: str | None
    """Id of its run, as soon as there is one."""
    phase: str | None
    done: int | None
    total: int | None
    rate: float | None
    left_s: float | None
    message: str | None
    """Why it failed."""
    created: str
    command: str
    """The same as a command."""


class Jobs(Answer):
    """All jobs since the server started, newest first."""

    jobs: list[JobLine]
    free: bool
    """Whether another one would start at once."""
    read_only: bool
    recipes: list[str]
    """Shipped recipes that `train` takes."""
