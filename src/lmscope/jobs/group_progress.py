"""GroupProgress: what the training of one group tells, as a part of the whole run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmscope.runs.run import Run


@dataclass(frozen=True)
class GroupProgress:
    """A listener that puts the steps of one group behind those of the groups before it.

    So the steps of a run's metrics rise over all of its groups, and progress is that of the whole.

    Attributes:
        run: Who is told.
        number: Of the group, from 1.
        n_groups: Of the run.
        first_step: Steps of the groups before.
        group_steps: Steps of this one.
        n_steps: Steps of all.
        n_done: Dictionaries of the groups before.
        n_dictionaries: Dictionaries of all.
    """

    run: Run
    number: int
    n_groups: int
    first_step: int
    group_steps: int
    n_steps: int
    n_done: int
    n_dictionaries: int

    def begin(self, step: int, n_in_group: int) -> None:
        """Say that the group's training starts, or goes on after a step."""
        fields: dict[str, Any] = {
            "n_dictionaries": n_in_group,
            "n_steps": self.n_steps,
            "done": self.first_step + step,
        }
        if self.n_groups > 1:
            fields["message"] = (
                f"Group {self.number} of {self.n_groups}: {n_in_group} dictionaries; "
                f"{self.n_done} of {self.n_dictionaries} came before."
            )
        self.run.event("phase", phase="train", **fields)

    def rewind(self, step: int) -> None:
        """Forget the metrics of the group after one of its steps."""
        self.run.rewind(self.first_step + step, until=self.first_step + self.group_steps)

    def on_event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Pass it on."""
        self.run.on_event(event, fields)

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Pass it on under the run's step."""
        self.run.on_metrics(self.first_step + step, metrics)

    def on_progress(
        self, phase: str, done: int, total: int | None, fields: Mapping[str, float]
    ) -> None:
        """Pass it on as progress of the run."""
        del total  # of the group alone
        counts = {"dictionaries_done": self.n_done, "n_dictionaries": self.n_dictionaries}
        more = counts if self.n_groups > 1 else {}
        self.run.on_progress(phase, self.first_step + done, self.n_steps, {**fields, **more})
