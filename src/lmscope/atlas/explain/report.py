"""ExplainReport: how far the labels of one explain run can be trusted, as figures over latents."""

import math
from collections.abc import Sequence
from typing import Final

from lmscope.atlas.explain.protocols import Score
from lmscope.atlas.explain.scorers import wilson
from lmscope.core.config import Config
from lmscope.display.tables import Table

REPORT_FILE: Final = "report.json"
_Z: Final = 1.959964


class Share(Config):
    """A share of latents with its 95 % interval (wilson1927interval)."""

    value: float
    low: float
    high: float
    n: int
    """Latents of which it is the share."""

    @classmethod
    def of(cls, n_found: int, n: int) -> "Share":
        """The share of n latents, which must be one at least."""
        low, high = wilson(float(n_found), n)
        return cls(value=n_found / n, low=low, high=high, n=n)


class MeanScore(Config):
    """The mean of a score over latents, with the 95 % interval that its spread gives."""

    value: float
    low: float
    high: float
    n: int
    """Latents that have the score."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "MeanScore":
        """The mean of one value at least."""
        n = len(values)
        mean = math.fsum(values) / n
        variance = math.fsum((v - mean) ** 2 for v in values) / max(n - 1, 1)
        half = _Z * math.sqrt(variance / n)
        return cls(value=mean, low=mean - half, high=mean + half, n=n)


class Control(Config):
    """What labels score that are known to be wrong, beside the true ones of the same latents."""

    true: MeanScore
    """Detection of the latents' own labels."""
    wrong: MeanScore
    """Detection of the wrong ones."""
    accepted: Share
    """Wrong labels that would be shown: those that pass the threshold."""


class ExplainReport(Config):
    """Figures over all latents of one explain run."""

    explainer: str
    judge: str
    threshold: float
    """The least lower end of the detection score with which a label is shown."""
    n_latents: int
    """That were asked."""
    n_dead: int
    """Of these, latents that never fired: nothing can be said of them."""
    n_said: int
    """Latents of which the explainer said something."""
    not_known: Share | None = None
    """Share of the latents that fire whose label is not shown."""
    scores: dict[str, MeanScore] = {}  # noqa: RUF012 (a frozen value)
    """By scorer, over the latents of which something was said."""
    scores_shown: dict[str, MeanScore] = {}  # noqa: RUF012 (a frozen value)
    """The same over the labels that are shown. They were chosen by their detection score, so that one,
    and less so the others, is too good by what chance had in it."""
    controls: dict[str, Control] = {}  # noqa: RUF012 (a frozen value)
    """`shuffled`: the label of a latent drawn at random; `neighbour`: that of the latent whose decoder
    row is nearest, if it says something else."""

    def headline(self) -> dict[str, float | int]:
        """The few figures that runs are compared by."""
        figures: dict[str, float | int] = {"n_latents": self.n_latents, "n_said": self.n_said}
        if self.not_known is not None:
            figures["not_known"] = self.not_known.value
        figures |= {name: score.value for name, score in self.scores.items()}
        controls = self.controls.items()
        return figures | {f"detection_{kind}": control.wrong.value for kind, control in controls}

    def table(self, name: str) -> Table:
        """The scores and the controls as rows.

        Args:
            name: Of the atlas, for the caption.
        """
        rows = [(scorer, *_cells(score)) for scorer, score in sorted(self.scores.items())]
        for control, found in sorted(self.controls.items()):
            rows.append((f"detection, {control} labels", *_cells(found.wrong)))
            rows.append((f"  shown all the same ({control})", *_cells(found.accepted)))
        if self.not_known is not None:
            rows.append(("not known", *_cells(self.not_known)))
        return Table(
            ("score", "mean or share", "low", "high", "n latents"),
            tuple(rows),
            caption=f"{name}: labels of '{self.explainer}', judged by '{self.judge}', shown from {self.threshold} on",
        )


def mean_scores(found: Sequence[Sequence[Score]]) -> dict[str, MeanScore]:
    """The means over latents, by scorer."""
    values: dict[str, list[float]] = {}
    for scores in found:
        for score in scores:
            values.setdefault(score.scorer, []).append(score.value)
    return {scorer: MeanScore.of(several) for scorer, several in values.items()}


def _cells(figure: Share | MeanScore) -> tuple[str, str, str, int]:
    return f"{figure.value:.3f}", f"{figure.low:.3f}", f"{figure.high:.3f}", figure.n
