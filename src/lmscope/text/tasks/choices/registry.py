"""The Chinese tasks of modular prompts, all in reading form (sun2023mp2, table 1)."""

from functools import cache
from importlib.resources import as_file, files
from typing import Any, Final, Literal

from lmscope.core.config import Config, read_toml
from lmscope.core.errors import RecipeError, did_you_mean
from lmscope.text.tasks.choices.task import ChoiceTask
from lmscope.text.tasks.choices.template import pieces_of, places_of

FORM: Final = "reading"
"""Name of the one form of each of these tasks."""
_FILE: Final = files("lmscope") / "text" / "tasks" / "choices" / "mp2.toml"
_LETTERS: Final = tuple("ABCDEFGHIJ")
_CHOICES: Final = ("choice", "fixed-choice")
_COMMA: Final = "\uff0c"
"""The full-width one, which stands between options."""
_NO_ANSWER: Final = "可能没有答案"

ReadingKind = Literal[
    "pair",
    "single",
    "answer",
    "relation",
    "reference",
    "choice",
    "fixed-choice",
    "span",
    "fixed-span",
    "doubtful-span",
]


class ReadingEntry(Config):
    """One task of the registry."""

    name: str
    title: str
    stage: Literal["upstream", "downstream", "both"]
    """Whether modules are trained on it, used on it, or both."""
    kind: ReadingKind
    """Which template it has; `choice` and `fixed-choice` bring options with each row, the `span` kinds are answered
    by a stretch of the text."""
    query: str
    """The word that says what is to be done."""
    question: str = ""
    """What is asked; empty where each row brings its question."""
    options: tuple[str, ...] = ()
    """The labels as options, in class order; empty where rows bring their own, and where their list could not be
    had, so that it is to be given."""
    hub: str = ""
    """Where the data lie on the Hugging Face hub, without a split; empty where no public name was found. Columns
    there go by other names than here."""
    template: str
    """The template with query and question in it."""


@cache
def reading_entries() -> tuple[ReadingEntry, ...]:
    """All tasks of the registry, in the order of the paper's lists."""
    with as_file(_FILE) as path:
        values = read_toml(path)
    return tuple(
        _entry(name, table, values["templates"]) for name, table in values["tasks"].items()
    )


def upstream_entries() -> tuple[ReadingEntry, ...]:
    """Those that modules are trained on."""
    return tuple(entry for entry in reading_entries() if entry.stage != "downstream")


def downstream_entries() -> tuple[ReadingEntry, ...]:
    """Those that trained modules are used on."""
    return tuple(entry for entry in reading_entries() if entry.stage != "upstream")


def find_reading_entry(name: str) -> ReadingEntry:
    """A task of the registry by name.

    Raises:
        RecipeError: There is none.
    """
    found = {entry.name: entry for entry in reading_entries()}
    if name not in found:
        raise RecipeError(
            f"No task of modular prompts is called '{name}'.{did_you_mean(name, found)}"
        )
    return found[name]


def reading_task(name: str, options: tuple[str, ...] = ()) -> ChoiceTask:
    """A task of the registry as a choice task with the one form `reading`.

    Its rows are read as one's own files: columns as the template's places, and `label` with the text of the right
    option. Where rows bring their own options, `options` is a list of them and `label` the letter of the right one;
    in span tasks it is a list of right answers, empty for none, and there is no `label`.

    Args:
        name: In the registry.
        options: Options in place of the registry's.

    Raises:
        RecipeError: There is no such task, or neither it nor the caller says its options.
    """
    entry = find_reading_entry(name)
    is_span, is_choice = entry.kind.endswith("span"), entry.kind in _CHOICES
    words = options or entry.options
    if not words and not (is_span or is_choice):
        raise RecipeError(
            f"The options of '{name}' do not come with lmscope: give them, one for each label."
        )
    if words and (is_span or is_choice):
        raise RecipeError(f"Each row of '{name}' brings its own options: give none.")
    form: dict[str, Any] = {"template": entry.template, "words": words, "separator": _COMMA}
    if is_span:
        form |= {"kind": "extraction"}
    if _NO_ANSWER in entry.template:
        form |= {"no_answer": _NO_ANSWER}
    places = places_of(pieces_of(entry.template))
    return ChoiceTask.from_mapping(
        {
            "name": entry.name,
            "title": entry.title,
            "language": "zh",
            "labels": () if is_span else words or _LETTERS,
            "fields": tuple(place for place in places if place.startswith("text")),
            "row_options": is_span or is_choice,
            "forms": {FORM: form},
            "references": ("sun2023mp2",),
        },
        f"task '{name}'",
    )


def _entry(name: str, table: dict[str, Any], templates: dict[str, str]) -> ReadingEntry:
    template = templates[table["kind"]].replace("QUERY", table["query"])
    template = template.replace("QUESTION", table.get("question", ""))
    return ReadingEntry.from_mapping(
        {**table, "name": name, "template": template}, f"task '{name}' of the registry"
    )
