"""One run: what was asked, where it stands, its curves."""

from typing import Any

from lmscope.server.schemas.common import Answer, Line, Problem, Provenance
from lmscope.server.schemas.home import DictionaryLine, RunStatus


class RunEvent(Answer):
    """Something that happened once."""

    time: str
    event: str
    fields: dict[str, Any]


class RunPage(Answer):
    """A run."""

    id: str
    job: str
    name: str
    status: RunStatus
    error: str | None
    created: str
    started: str | None
    ended: str | None
    elapsed_s: float
    n_resumed: int
    machine: dict[str, Any]
    weights: dict[str, str]
    recipe: dict[str, Any]
    results: dict[str, dict[str, Any]]
    events: list[RunEvent]
    """The last 200."""
    metric_names: list[str]
    """E.g. `resid_post-14-4608-topk-32/loss`, `lr`."""
    last_metrics: dict[str, float | None]
    n_steps: int | None
    """Steps that the whole run takes, where the recipe says so."""
    artifacts: list[str]
    """Paths below the run's `artifacts`, two levels deep."""
    dictionaries: list[DictionaryLine]
    player: str | None = None
    """Run of the player of Othello that it trained or studied; games can be looked at there."""
    problems: list[Problem]
    provenance: Provenance


class Curves(Answer):
    """Metrics by step, thinned to what a screen shows: of each stretch the least and the largest value."""

    run: str
    step: int
    """The last step there is."""
    lines: list[Line]


class LiveUpdate(Answer):
    """What a stream of a run says each time (server-sent event `update`); lines hold new points only."""

    status: RunStatus
    error: str | None
    step: int
    elapsed_s: float
    lines: list[Line]
    events: list[RunEvent]
    """New ones."""
    phase: str | None = None
    """What it is at, from its last `phase` event."""
    done: int | None = None
    """Of the phase; null where only the run's own process knows."""
    total: int | None = None
    rate: float | None = None
    """Of `done`, a second."""
    left_s: float | None = None
