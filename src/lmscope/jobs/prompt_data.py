"""The examples of a prompting job: a task's data drawn into train, dev and test, and put into tokens."""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, cast

from pydantic import Field

from lmscope.core.config import Config
from lmscope.core.errors import DataError, RecipeError
from lmscope.core.protocols import Tokenizer
from lmscope.models.language_model import LanguageModel
from lmscope.text.tasks.choices.example import ChoiceExample
from lmscope.text.tasks.choices.finding import find_choice_task
from lmscope.text.tasks.choices.rendering import (
    PromptRows,
    Special,
    TooLong,
    prompt_tokens,
    render,
)
from lmscope.text.tasks.choices.sampling import few_shot, given_split, n_shared, take
from lmscope.text.tasks.choices.sources import read_examples
from lmscope.text.tasks.choices.task import ChoiceTask, Form

Count = Annotated[int, Field(ge=1)]


class TaskData(Config):
    """Which task, and where its examples are."""

    task: str
    """The name of a task that ships, or a .toml file of one."""
    form: str | None = None
    """Which of its forms; absent: `postfix` for causal models, `masked` for encoders."""
    train: str
    """A file, or `hf:NAME[@CONFIG]:SPLIT`, from which examples are drawn."""
    dev: str | None = None
    """Examples to choose by; absent: drawn from `train`, none of them twice."""
    test: str | None = None
    """Examples that nothing is chosen by; absent: nothing is measured."""
    n_each: Annotated[int, Field(ge=0)] = 16
    """Examples of each class for train, and as many for dev; 0 takes all of both files."""
    n_test: Count | None = None
    """At most so many test examples; absent: all."""
    seed: Annotated[int, Field(ge=0)] = 13
    """Names the draw; apart from the recipe's, so that searches of other seeds meet the same examples."""


class PromptPlace(Config):
    """On which tokens the soft prompt stands, and how long an example may be."""

    n_tokens: Count | None = None
    """Vocabulary ids 1000, 1001, ... as the papers take 50; absent: the tokens of the form's instruction."""
    max_length: Count | None = None
    """Tokens of an example with its prompt; absent: what the model has positions for."""
    too_long: TooLong = "drop"


class Split(NamedTuple):
    """The parts of a task's data as tokens.

    Attributes:
        train, dev, test: What is searched on, chosen by, and measured.
        test_examples: The test examples as texts, in the order of `test`.
    """

    task: ChoiceTask
    form_name: str
    train: PromptRows
    dev: PromptRows
    test: PromptRows | None
    train_examples: tuple[ChoiceExample, ...]
    test_examples: tuple[ChoiceExample, ...]

    @property
    def form(self) -> Form:
        """How examples are put."""
        return self.task.form(self.form_name)


Role = Literal["train", "dev", "test"]


def open_data(data: TaskData, place: PromptPlace, model: LanguageModel) -> Split:
    """Read, draw and render.

    Raises:
        RecipeError: There is no such task or form.
        DataError: A file cannot be read or has too few examples, a word is not one token, a test text is one
            that was trained or chosen on.
        ModelError: The model has no language-model head.
    """
    task = find_choice_task(data.task)
    form_name = data.form or ("postfix" if model.is_causal else "masked")
    form = task.form(form_name)
    if model.is_causal == (form.kind == "masked"):
        kind = "predicts the next token" if model.is_causal else "fills in masks"
        raise RecipeError(
            f"The form '{form_name}' is {form.kind} and {model.name} {kind}: choose "
            f"{'a causal or postfix' if model.is_causal else 'a masked'} form."
        )
    train, dev = _drawn(data, task)
    test = _test(data, task, train, dev)
    tokenizer = cast("Tokenizer", model.tokenizer)
    prompt = prompt_tokens(form, tokenizer, place.n_tokens)
    special = Special.of(model.tokenizer, is_causal=model.is_causal)
    length = place.max_length or model.max_positions

    def rows(examples: Sequence[ChoiceExample]) -> PromptRows:
        return render(
            form,
            examples,
            tokenizer,
            special,
            prompt=prompt,
            max_length=length,
            too_long=place.too_long,
        )

    return Split(
        task,
        form_name,
        rows(train),
        rows(dev),
        rows(test) if test else None,
        train,
        test,
    )


Examples = tuple[ChoiceExample, ...]


def _drawn(data: TaskData, task: ChoiceTask) -> tuple[Examples, Examples]:
    pool = read_examples(task, data.train).examples
    if data.dev is not None:
        given = read_examples(task, data.dev).examples
        drawn = given_split(pool, given)
        return drawn.train, drawn.dev
    if data.n_each == 0:
        raise RecipeError(
            "All examples of 'train' are taken and no 'dev' is given, so there is nothing to choose by: give a dev "
            "file, or n_each of 1 or more."
        )
    drawn = few_shot(pool, data.n_each, data.seed, len(task.labels))
    return drawn.train, drawn.dev


def _test(data: TaskData, task: ChoiceTask, train: Examples, dev: Examples) -> Examples:
    if data.test is None:
        return ()
    found = read_examples(task, data.test, every_label=False).examples
    if data.n_test is not None and data.n_test < len(found):
        found = take(found, data.n_test, data.seed)
    if shared := n_shared((*train, *dev), found):
        raise DataError(
            f"{shared} of {len(found)} test texts are also among those to train on or choose by, so the test would "
            "not be one: give another test file, or draw train and test from parts that share nothing."
        )
    return tuple(found)
