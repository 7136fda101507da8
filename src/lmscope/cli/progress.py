"""ProgressListener: what people see of a run while it works."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn

from lmscope.cli.numbers import format_count, format_seconds
from lmscope.display.visible import visible

PATIENCE_S: Final = 2.0
"""A phase that takes less is not shown."""
_FIRST_LINE_S: Final = 30.0
_MOST_S: Final = 300.0
"""Where there is no bar, lines come after half a minute, then each after as long as the phase has lasted, but at least
so often."""
_TITLES: Final = {
    "load": "Load the model",
    "text": "Read the text",
    "calibrate": "Measure activations",
    "baselines": "Fit baselines",
    "similar": "Compare latents",
    "logits": "Work out logit effects",
    "records": "Make records",
}
"""Phases whose name does not say enough to people."""


class ProgressListener:
    """Shows a run: bars on a terminal, otherwise lines: where a long phase begins and ends, and now and then between.

    A `core.protocols.Listener`. Phases begin with an event `phase` (field `phase`) or with their
    first progress. Use it as a context manager: bars come to rest at its end, also after a failure.

    Args:
        console: Where to write.
        clock: Seconds that only grow.
        patience_s: A phase is shown once it has lasted so long.
    """

    def __init__(
        self,
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._console = console
        self._clock = clock
        self._patience_s = patience_s
        self._phase: _Phase | None = None
        self._bars = _Bars(console, clock, patience_s) if console.is_terminal else None

    def __enter__(self) -> "ProgressListener":
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._end_phase(finished=failure[0] is None)
        if self._bars is not None:
            self._bars.stop()

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Begin a phase (`phase`), say where the run lies (`folder`) or what it tells (`message`)."""
        if event == "phase" and "phase" in fields:
            self._begin_phase(str(fields["phase"]))
        if folder := fields.get("folder"):
            self._write(f"Run folder: {folder}")
        if message := fields.get("message"):
            self._write(visible(str(message)))

    def on_metrics(self, step: int, metrics: Mapping[str, int | float]) -> None:
        """Do nothing: the figures of a bar come with its progress."""

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, int | float]
    ) -> None:
        """Move the bar of a phase; another name ends the phase before."""
        if self._phase is None or self._phase.name != phase:
            self._begin_phase(phase)
        current = self._phase
        assert current is not None
        current.advance(self._clock(), done, total, fields)
        self._show(current)

    def _begin_phase(self, name: str) -> None:
        self._end_phase(finished=True)
        self._phase = _Phase(name, began=self._clock())
        if self._bars is not None:
            self._phase.task = self._bars.add_task(
                self._phase.title, total=None, amount="", figures="", left=""
            )

    def _show(self, phase: "_Phase") -> None:
        if self._bars is not None and phase.task is not None:
            self._bars.update(
                phase.task,
                completed=phase.done,
                total=phase.total,
                amount=phase.amount(),
                figures=phase.figures(),
                left=phase.time_left(),
            )
            return
        if phase.next_line_s is None:
            phase.next_line_s = self._patience_s
        elapsed = phase.elapsed_s
        if elapsed < phase.next_line_s:
            return
        of = "" if phase.total is None else f" of {format_count(phase.total)}"
        so_far = f"{phase.title}: {format_count(phase.done)}{of}"
        if elapsed < _FIRST_LINE_S:
            self._write(f"{so_far}, at work ...")
        else:
            self._write(", ".join(filter(None, (so_far, phase.figures(), phase.time_left()))))
        phase.next_line_s = max(_FIRST_LINE_S, elapsed + min(elapsed, _MOST_S))

    def _end_phase(self, *, finished: bool) -> None:
        phase, self._phase = self._phase, None
        if phase is None:
            return
        phase.now = self._clock()
        elapsed = format_seconds(phase.elapsed_s)
        if self._bars is not None and phase.task is not None:
            left = f"in {elapsed}" if finished else f"stopped after {elapsed}"
            self._bars.rest(phase.task, left, finished=finished)
        elif phase.elapsed_s >= self._patience_s:
            word, figures = "done" if finished else "stopped", phase.figures()
            self._write(f"{phase.title}: {word} after {elapsed}{figures and f' ({figures})'}")

    def _write(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)


@dataclass
class _Phase:
    """One stretch of work under one name."""

    name: str
    began: float
    now: float = 0.0
    done: int = 0
    total: int | None = None
    fields: Mapping[str, int | float] = field(default_factory=dict)
    task: TaskID | None = None
    first_told: tuple[float, int] | None = None
    """When progress was first told of, and what was done by then: all of it, where a run goes on after a stop."""
    next_line_s: float | None = None

    @property
    def title(self) -> str:
        return _TITLES.get(self.name, self.name.replace("_", " ").capitalize())

    @property
    def elapsed_s(self) -> float:
        return self.now - self.began

    def advance(
        self, now: float, done: int, total: int | None, fields: Mapping[str, int | float]
    ) -> None:
        self.now, self.done, self.total = now, done, total
        if self.first_told is None:
            self.first_told = (now, done)
        self.fields = fields or self.fields

    def figures(self) -> str:
        """Rate, loss and L0, as far as they are known, and how many dictionaries are done."""
        words = []
        if (n_done := self.fields.get("dictionaries_done")) is not None:
            words.append(f"{n_done}/{self.fields['n_dictionaries']} dictionaries")
        if (tokens := self.fields.get("tokens_per_s")) is not None:
            words.append(f"{format_count(tokens)} tokens/s")
        elif (rate := self._rate()) is not None:
            words.append(f"{format_count(rate)}/s")
        for key, label in (("loss", "loss"), ("l0", "L0")):
            if key in self.fields:
                words.append(f"{label} {self.fields[key]:.4g}")
        return "  ".join(words)

    def time_left(self) -> str:
        rate = self._rate()
        if self.total is None or rate is None or self.done >= self.total:
            return ""
        return f"{format_seconds((self.total - self.done) / rate)} left"

    def amount(self) -> str:
        total = "" if self.total is None else f"/{format_count(self.total)}"
        return f"{format_count(self.done)}{total}"

    def _rate(self) -> float | None:
        """Units a second since progress was first told of; a run that goes on does not start at 0."""
        if self.first_told is None:
            return None
        since, first = self.first_told
        seconds, done = self.now - since, self.done - first
        return done / seconds if seconds > 0 and done > 0 else None


class _Bars(Progress):
    """Bars of which only those of long phases are drawn."""

    def __init__(self, console: Console, clock: Callable[[], float], patience_s: float) -> None:
        self._patience_s = patience_s
        super().__init__(
            *(TextColumn("{task.description}", markup=False), BarColumn(bar_width=24)),
            *(TextColumn(f"{{task.fields[{key}]}}", markup=False) for key in _COLUMNS),
            console=console,
            get_time=clock,
            redirect_stdout=False,
            refresh_per_second=4,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """The tasks that lasted long enough."""
        yield self.make_tasks_table([task for task in self.tasks if self._is_long(task)])

    def rest(self, task_id: TaskID, left: str, *, finished: bool) -> None:
        """Leave a bar as it is, filled when its phase ended well; drop that of a short phase."""
        task = self._tasks[task_id]
        if not self._is_long(task):
            self.remove_task(task_id)
            return
        total = task.total or max(task.completed, 1)
        self.update(
            task_id,
            total=total,
            completed=total if finished else task.completed,
            left=left,
        )
        self.stop_task(task_id)

    def _is_long(self, task: Task) -> bool:
        return (task.elapsed or 0.0) >= self._patience_s


_COLUMNS: Final = ("amount", "figures", "left")
