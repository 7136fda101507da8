"""Score tasks: what a model can do at all, before anyone asks how it does it."""

from collections.abc import Mapping
from typing import Annotated, Final, cast

from pydantic import Field

from lmscope.core.config import Config
from lmscope.core.errors import DataError
from lmscope.core.protocols import Listener, Tokenizer
from lmscope.display.tables import Table
from lmscope.evaluation.statistics import BootstrapOptions, Estimate
from lmscope.evaluation.tasks import TaskScore, score_examples
from lmscope.jobs.choices import Count, ModelChoice, load_model
from lmscope.text.tasks.catalog import TASKS, find_task, make_examples

_PHASE: Final = "tasks"


class TaskChoice(Config):
    """Which model does which tasks."""

    model: ModelChoice = ModelChoice(dtype="float32")
    tasks: tuple[str, ...] = ()
    """Names; none: all tasks."""
    n: Count = 100
    """Prompts of each."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Names the draw of the prompts, and the resamples of the intervals."""
    bootstrap: BootstrapOptions = BootstrapOptions()


class TaskScores(Config):
    """What came of it."""

    model: str
    weights_hash: str
    seed: int
    scores: Mapping[str, TaskScore]
    """By task."""
    left_out: Mapping[str, str] = {}
    """Tasks that the model's tokens do not allow, each with the reason."""

    def table(self) -> Table:
        """One row a task."""
        columns = ("task", "n", "right of the two", "right of all", "by chance", "top token right")
        rows = tuple(
            (
                name,
                one.n,
                _share(one.pair_accuracy),
                _share(one.choice_accuracy),
                f"{one.choice_by_chance:.0%}",
                _share(one.top1_accuracy),
                str(one.logit_difference),
                str(one.counterfactual_difference),
            )
            for name, one in self.scores.items()
        )
        return Table((*columns, "logit difference", "of the counterfactual"), rows)


def score_tasks(choice: TaskChoice, listener: Listener) -> TaskScores:
    """Measure a model on prompts of tasks.

    Args:
        choice: Which.
        listener: Follows it.

    Raises:
        RecipeError: There is no such task.
        DataError: The model's tokens allow not one of them.
        ModelError: The model cannot be loaded, or predicts no next token.
    """
    names = choice.tasks or tuple(TASKS)
    for name in names:
        find_task(name)
    model = load_model(choice.model, listener)
    tokenizer = cast("Tokenizer", model.tokenizer)
    scores: dict[str, TaskScore] = {}
    left_out: dict[str, str] = {}
    for done, name in enumerate(names):
        listener.on_progress(_PHASE, done, len(names), {})
        try:
            examples = make_examples(name, tokenizer, choice.n, choice.seed)
        except DataError as error:
            left_out[name] = str(error)
            continue
        scores[name] = score_examples(model, examples, bootstrap=choice.bootstrap, seed=choice.seed)
    listener.on_progress(_PHASE, len(names), len(names), {})
    if not scores:
        raise DataError(" ".join(dict.fromkeys(left_out.values())))
    return TaskScores(
        model=model.name,
        weights_hash=model.weights_hash,
        seed=choice.seed,
        scores=scores,
        left_out=left_out,
    )


def _share(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.0%}"
    return f"{estimate.value:.0%} [{estimate.low:.0%}, {estimate.high:.0%}]"
