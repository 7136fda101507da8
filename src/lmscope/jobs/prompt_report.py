"""What a tuned prompt does on examples that nothing was chosen by, beside the manual prompt."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.core.config import Config
from lmscope.core.files import write_text
from lmscope.core.rng import numpy_generator
from lmscope.display.tables import Table
from lmscope.evaluation.statistics import BootstrapOptions, Estimate
from lmscope.jobs.prompt_data import Split
from lmscope.models.language_model import LanguageModel
from lmscope.prompting.losses import LOSSES, METRICS, MetricName
from lmscope.prompting.oracle import Oracle
from lmscope.prompting.prompts import Prompts
from lmscope.prompting.scorer import score_rows
from lmscope.prompting.tuned_prompt import SavedPrompt
from lmscope.text.tasks.choices.rendering import PromptRows


class Arm(Config):
    """One prompt on the test examples."""

    metric: Estimate
    """The task's."""
    loss: Estimate
    """Cross-entropy in nats over the classes' words."""
    confusion: tuple[tuple[int, ...], ...]
    """Examples by class (rows) and by what was told (columns)."""


class ExampleScores(Config):
    """The classes' scores of one test example, less their mean."""

    label: int
    manual: tuple[float, ...]
    tuned: tuple[float, ...]


class PromptReport(Config):
    """What a tuning gave and what it cost."""

    model: str
    task: str
    labels: tuple[str, ...]
    metric: MetricName
    n_train: int
    n_dev: int
    n_test: int
    n_numbers: int
    n_calls: int
    """Calls on training examples, of the whole search."""
    n_dev_calls: int
    chosen_at: int
    """Calls by the time at which the result was found."""
    flops_per_call: float
    """Of the layers; 0 where no call was made."""
    train_loss_manual: float
    train_loss: float
    dev_metric: float
    manual: Arm | None = None
    tuned: Arm | None = None
    difference: Estimate | None = None
    """Metric of the tuned prompt less the manual one's, on the same examples."""
    examples: tuple[ExampleScores, ...] = ()

    def figures(self) -> dict[str, Any]:
        """All but what is said of single examples."""
        return {key: value for key, value in self.to_mapping().items() if key != "examples"}

    def table(self) -> Table:
        """One row for each prompt."""
        arms = (("manual", self.manual), ("tuned", self.tuned))
        rows = tuple(
            (name, str(arm.metric), str(arm.loss)) for name, arm in arms if arm is not None
        )
        caption = f"{self.task}: {self.n_test} test examples"
        return Table(("prompt", self.metric, "loss"), rows, caption=caption)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_text(path, json.dumps(self.to_mapping(), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> "PromptReport":
        """Read it."""
        return cls.from_mapping(json.loads(path.read_text(encoding="utf-8")), f"'{path}'")


def report_of(
    model: LanguageModel,
    split: Split,
    saved: SavedPrompt,
    oracle: Oracle,
    *,
    bootstrap: BootstrapOptions = BootstrapOptions(),  # noqa: B008 (a frozen value)
    seed: int = 0,
) -> PromptReport:
    """Measure the manual and the tuned prompt on training and test examples.

    Args:
        model: Which.
        split: The examples.
        saved: The tuned prompt.
        oracle: Who was asked, for what it cost.
        bootstrap: How intervals are made, over test examples.
        seed: Of the bootstrap.
    """
    train, loss = oracle.train, LOSSES[oracle.loss]
    asked = getattr(train, "flops", 0.0) / max(1, oracle.n_asked)
    both = (Prompts({}), saved.prompts())
    train_losses = [float(loss(train.scores(one), train.labels)) for one in both]
    found: dict[str, Any] = {}
    if split.test is not None:
        found = _on_test(model, split.test, both, split.task.metric, bootstrap, seed)
    return PromptReport(
        model=model.name,
        task=split.task.name,
        labels=split.task.labels,
        metric=split.task.metric,
        n_train=len(split.train.rows),
        n_dev=len(split.dev.rows),
        n_test=0 if split.test is None else len(split.test.rows),
        n_numbers=saved.n_numbers,
        n_calls=oracle.n_asked,
        n_dev_calls=oracle.n_dev_asked,
        chosen_at=saved.record.n_calls,
        flops_per_call=asked,
        train_loss_manual=train_losses[0],
        train_loss=train_losses[1],
        dev_metric=saved.record.dev_metric,
        **found,
    )


def _on_test(
    model: LanguageModel,
    rows: PromptRows,
    prompts: tuple[Prompts, Prompts],
    metric: MetricName,
    bootstrap: BootstrapOptions,
    seed: int,
) -> dict[str, Any]:
    scores = list(score_rows(model, rows, prompts).cpu())
    labels = torch.tensor([row.label for row in rows.rows])
    rng = numpy_generator(seed, "prompt-report")
    draws = torch.from_numpy(rng.integers(0, len(labels), (bootstrap.n_resamples, len(labels))))
    arms, resampled = [], []
    for one in scores:
        arm, values = arm_of(one, labels, metric, draws, bootstrap)
        arms.append(arm)
        resampled.append(values)
    gap = arms[1].metric.value - arms[0].metric.value
    centred = [one - one.mean(-1, keepdim=True) for one in scores]
    rounded = [[[round(x, 4) for x in row] for row in one.tolist()] for one in centred]
    examples = tuple(
        ExampleScores(label=int(label), manual=tuple(m), tuned=tuple(t))
        for label, m, t in zip(labels.tolist(), *rounded, strict=True)
    )
    return {
        "manual": arms[0],
        "tuned": arms[1],
        "difference": estimate_of(gap, resampled[1] - resampled[0], len(labels), bootstrap),
        "examples": examples,
    }


def arm_of(
    scores: Float[Tensor, "example label"],
    labels: Int[Tensor, "example"],
    metric: MetricName,
    draws: Int[Tensor, "resample example"],
    bootstrap: BootstrapOptions,
) -> tuple[Arm, np.ndarray]:
    """A prompt's scores as figures with intervals, and the metric on each resample of the examples."""
    measure, n_labels = METRICS[metric], scores.shape[-1]
    values = np.array([float(measure(scores[d][None], labels[d])) for d in draws])
    nats = torch.nn.functional.cross_entropy(scores.double(), labels, reduction="none")
    confusion = torch.zeros(n_labels, n_labels, dtype=torch.long)
    confusion.index_put_(
        (labels, scores.argmax(-1)), torch.ones(len(labels), dtype=torch.long), accumulate=True
    )
    n = len(labels)
    arm = Arm(
        metric=estimate_of(float(measure(scores[None], labels)), values, n, bootstrap),
        loss=estimate_of(float(nats.mean()), nats[draws].mean(-1).numpy(), n, bootstrap),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )
    return arm, values


def estimate_of(value: float, values: np.ndarray, n: int, bootstrap: BootstrapOptions) -> Estimate:
    """A figure with the percentile interval of its resamples; without one where there is a single example."""
    if n < 2:
        return Estimate(value=value, n=n)
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return Estimate(value=value, low=float(low), high=float(high), n=n)
