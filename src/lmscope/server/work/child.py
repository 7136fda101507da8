"""The process of one job: reads its order from stdin, does it as a run, says on stdout how far it is.

SIGTERM stops it after a checkpoint. So does the end of stdin: without a server no job goes on unseen.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from lmscope.core.errors import LmscopeError
from lmscope.jobs.atlas import AtlasRecipe, build_atlas
from lmscope.jobs.evaluate import EvaluateRecipe, evaluate
from lmscope.jobs.explain import ExplainRecipe, explain
from lmscope.jobs.geometry import GeometryRecipe, geometry
from lmscope.jobs.train import TrainRecipe, train
from lmscope.runs.recipe import Recipe
from lmscope.runs.run import Run

JOBS: Final = dict[str, tuple[type[Recipe], Callable[..., Any]]](
    train=(TrainRecipe, train),
    evaluate=(EvaluateRecipe, evaluate),
    atlas=(AtlasRecipe, build_atlas),
    explain=(ExplainRecipe, explain),
    geometry=(GeometryRecipe, geometry),
)
"""By verb: what its recipe is, and what does it."""
EVERY_S: Final = 0.25
"""Progress is told so often."""
_log = logging.getLogger("lmscope.server.work")
Say = Callable[[Mapping[str, Any]], None]


class Teller:
    """A listener that says how far a job is.

    Args:
        say: Writes an object as a line.
        clock: Seconds that only grow.
    """

    def __init__(self, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._phase: str | None = None
        self._began = self._told = 0.0
        self._first = 0

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Say where the run lies, and which phase begins."""
        if folder := fields.get("folder"):
            self._say({"run": str(folder)})
        if event == "phase" and "phase" in fields:
            self._begin(str(fields["phase"]), 0)

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Do nothing: the page of the run shows them."""

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float]
    ) -> None:
        """Say how far a phase is, how fast it goes and how long it still takes."""
        if phase != self._phase:
            self._begin(phase, done)
        now = self._clock()
        if now - self._told < EVERY_S and done != total:
            return
        self._told = now
        elapsed, new = now - self._began, done - self._first
        rate = new / elapsed if elapsed > 0 and new > 0 else None
        left = None if rate is None or total is None else (total - done) / rate
        self._say({"phase": phase, "done": done, "total": total, "rate": rate, "left_s": left})

    def _begin(self, phase: str, first: int) -> None:
        self._phase, self._first, self._began = phase, first, self._clock()
        self._told = float("-inf")
        self._say({"phase": phase, "done": None, "total": None, "rate": None, "left_s": None})


def do(order: Mapping[str, Any], say: Say) -> None:
    """Do what was ordered.

    Raises:
        LmscopeError: It cannot be done, in one sentence.
        KeyboardInterrupt: It was stopped; what was done is saved.
    """
    kind, job = JOBS[order["verb"]]
    resume = None if order["resume"] is None else Path(order["resume"])
    values = order["values"] if resume is None else Run.open(resume).recipe_values
    recipe = kind.from_mapping(values, "the recipe")
    result = job(recipe, root=Path(order["root"]), listeners=(Teller(say),), resume=resume)
    run = result if isinstance(result, Run) else result.run
    if run.status == "interrupted":
        raise KeyboardInterrupt


def main() -> int:
    """Do the order that stands on stdin."""
    say = _own_stdout()
    source = sys.stdin.buffer
    order = orjson.loads(source.readline())
    threading.Thread(target=_watch, args=(source,), daemon=True).start()
    try:
        do(order, say)
    except KeyboardInterrupt:
        say({"end": "cancelled"})
        return 130
    except LmscopeError as error:
        say({"end": "failed", "message": str(error)})
        return 1
    except Exception as error:  # noqa: BLE001 - told to the server, which shows it
        _log.exception("A job failed")
        say({"end": "failed", "message": f"It met a defect, {type(error).__name__}: {error}"})
        return 1
    say({"end": "done"})
    return 0


def _watch(source: BinaryIO) -> None:
    while source.read(4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _own_stdout() -> Say:
    """Writes lines; whatever a library prints goes to stderr from now on."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def say(values: Mapping[str, Any]) -> None:
        try:
            answers.write(orjson.dumps(values) + b"\n")
        except BrokenPipeError:
            _log.info("Nobody hears how far the job is")

    return say


if __name__ == "__main__":
    sys.exit(main())
