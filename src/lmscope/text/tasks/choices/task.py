"""ChoiceTask: a classification or choice task as data, read from TOML (sun2022bbt, table 1; sun2022bbtv2)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError, did_you_mean
from lmscope.text.tasks.choices.template import (
    MASK,
    OPTIONS,
    PROMPT,
    SPECIAL,
    pieces_of,
    places_of,
)

FormKind = Literal["causal", "postfix", "masked", "reading", "extraction"]
"""How an answer is read: after the text, at a mask, or as a span of the text."""
FORM_KINDS: Final = ("causal", "postfix", "masked", "reading", "extraction")
WORD_KINDS: Final = ("causal", "postfix", "masked")
"""Those whose answer is one token, the label's word."""
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Form(Config):
    """One way to put a task to a model: a template and a word for each class (sun2022bbt).

    The template's places: `{prompt}` once, for the tokens of the soft prompt; `{text}`, `{text_b}` and whatever
    fields the task has; `{mask}` once, in masked forms alone; `{options}` for a list of options.
    """

    kind: FormKind
    """`causal`: the prompt stands ahead of the text and the answer is the next token (the paper's form for GPT-2).
    `postfix`: likewise, with the prompt behind the text, whose keys and values then do not depend on it.
    `masked`: the answer stands at `{mask}` (the paper's form for RoBERTa). `reading`: the answer is the span of
    one of the options (sun2023mp2). `extraction`: the answer is a span of `{text}` (sun2023mp2).
    Left out, it is the form's own name."""
    template: str
    """The text with its places."""
    words: tuple[str, ...] = ()
    """A word for each class, in class order, with the space ahead of it where one belongs: `" negative"`. In
    reading forms the options as they are listed; none there where rows bring their own options."""
    instruction: str = ""
    """The text on whose tokens the soft prompt stands; without a soft prompt the form is a manual prompt."""
    option: str = "{option}"
    """How one option is written in `{options}`: `{option}` is its text and `{word}` the word of its class."""
    separator: str = ", "
    """What stands between two options."""
    no_answer: str = ""
    """In extraction: the stretch of the template that is the answer where the text has none."""

    @model_validator(mode="after")
    def _check(self) -> "Form":
        places = places_of(pieces_of(self.template))
        _check_special(self, places)
        if len(set(self.words)) != len(self.words) or "" in self.words:
            raise ValueError("two classes have the same word, or one has none: give each its own")
        if not set(places_of(pieces_of(self.option))) <= {"word", "option"}:
            raise ValueError("an option is written with {word} and {option} alone")
        if self.no_answer and self.no_answer not in self.template:
            raise ValueError(f"the template does not hold its no_answer '{self.no_answer}'")
        return self


def _check_special(form: Form, places: tuple[str, ...]) -> None:
    """Refuse a template whose prompt, mask or options do not fit its kind."""
    kind = form.kind
    if places.count(PROMPT) != 1:
        raise ValueError(
            f"the template has {{prompt}} {places.count(PROMPT)} times: write it once, where the prompt's tokens stand"
        )
    wanted = int(kind == "masked")
    if places.count(MASK) != wanted:
        raise ValueError(
            f"the template has {{mask}} {places.count(MASK)} times and a {kind} form has it "
            f"{'once' if wanted else 'never'}"
        )
    if kind == "reading" and places.count(OPTIONS) != 1:
        raise ValueError("a reading form lists its options once: write {options}")
    fields = [i for i, place in enumerate(places) if place not in (PROMPT, MASK)]
    if kind == "causal" and any(i < places.index(PROMPT) for i in fields):
        raise ValueError("a causal form has {prompt} ahead of all fields: name the form postfix")
    if kind == "postfix" and any(i > places.index(PROMPT) for i in fields):
        raise ValueError("a postfix form has {prompt} behind all fields: name the form causal")
    if kind in ("causal", "postfix") and form.template[-1:].isspace():
        raise ValueError("the template ends in white space: let the words begin with it instead")


class Columns(Config):
    """Where in a row the fields and the label of an example stand."""

    columns: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    """By field: its column, or several that are joined. A dot leads into a table of its own (`target.span1_text`);
    without a header columns are numbered from 1. A field that is not named is a column of its own name."""
    label: str = "label"
    """Column of the label; empty where the first option is the right one."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Class by label as rows write it; without, rows write the classes themselves."""
    unlabelled: tuple[str, ...] = ()
    """What rows write that have no label; they are left out and counted."""
    options: str | tuple[str, ...] = ""
    """Column of a list of options, or a column for each option; empty where rows bring none."""
    joiner: str = " "
    """What stands between joined columns, and between the entries of a list that is a field."""


class Layout(Columns):
    """How one kind of file holds examples."""

    format: Literal["label-first", "table", "json-lines"]
    """`label-first`: a line is the label, a space and the text (columns `label` and `text`). `table`: CSV or TSV.
    `json-lines`: a line is an object. Files may end in .gz or .zst besides."""
    files: tuple[str, ...] = ()
    """Patterns of names of such files, .gz left off: `*.csv`."""
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    separator: Literal[",", "\t"] = ","
    header: bool = True
    """Whether a table's first line names its columns."""
    quoted: bool = True
    """Whether quotation marks around a cell of a table are no part of it."""


class HubData(Columns):
    """Where a task lies on the Hugging Face hub."""

    train: str
    """Address of the rows to draw examples from: `hf:NAME@CONFIG:SPLIT`."""
    test: str
    """Address of the rows to test on."""


class ChoiceTask(Config):
    """A task whose answer is one of few: what is asked, in which words, and how its files are read."""

    name: str
    title: str
    language: Literal["en", "zh"]
    labels: tuple[str, ...]
    """Names of the classes, in class order; none where all forms are extraction."""
    metric: Literal["accuracy", "f1"] = "accuracy"
    """What is reported; `f1` is that of the second class."""
    fields: tuple[str, ...] = ("text",)
    """Texts of an example by name; `text` is the one that is cut where an example is too long."""
    row_options: bool = False
    """Whether each example brings its own options; the classes are then their letters."""
    forms: dict[str, Form]
    layouts: dict[str, Layout] = Field(default_factory=dict)
    """How the files of public releases are read."""
    hub: HubData | None = None
    references: tuple[str, ...] = ()
    """Who made the data: keys of docs/papers.bib."""

    @model_validator(mode="before")
    @classmethod
    def _name_kinds(cls, values: Any) -> Any:
        forms = values.get("forms") if isinstance(values, Mapping) else None
        if not isinstance(forms, Mapping):
            return values
        named = {
            name: {"kind": name, **form}
            if name in FORM_KINDS and isinstance(form, Mapping)
            else form
            for name, form in forms.items()
        }
        return {**values, "forms": named}

    @model_validator(mode="after")
    def _check(self) -> "ChoiceTask":
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"the name '{self.name}' is not of small letters, digits and hyphens")
        if not self.forms:
            raise ValueError("it has no form: write at least one, e.g. [forms.postfix]")
        _check_names("label", self.labels)
        _check_names("field", self.fields)
        if "text" not in self.fields or set(self.fields) & set(SPECIAL):
            raise ValueError(
                f"its fields are {', '.join(self.fields)}: name the text that may be cut 'text', and none "
                f"{', '.join(SPECIAL)}"
            )
        for name, form in self.forms.items():
            _check_form(self, name, form)
        for name, columns in (*self.layouts.items(), ("hub", self.hub)):
            if columns is not None:
                _check_columns(self, name, columns)
        return self

    def form(self, name: str) -> Form:
        """A form by name.

        Raises:
            RecipeError: The task has none of that name.
        """
        if name not in self.forms:
            raise RecipeError(
                f"Task '{self.name}' has no form '{name}'.{did_you_mean(name, self.forms)}"
            )
        return self.forms[name]


def _check_names(what: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names) or "" in names:
        raise ValueError(f"it names a {what} twice, or one has no name: {', '.join(names)}")


def _check_form(task: ChoiceTask, name: str, form: Form) -> None:
    """Refuse a form whose places or words do not fit the task."""
    places = set(places_of(pieces_of(form.template))) - set(SPECIAL)
    if unknown := sorted(places - set(task.fields)):
        raise ValueError(
            f"form '{name}' has the place {{{unknown[0]}}}, which is no field of it; it has {', '.join(task.fields)}"
        )
    if not places:
        raise ValueError(f"form '{name}' shows no field of an example: write e.g. {{text}}")
    if form.kind == "extraction":
        return
    if len(task.labels) < 2:
        raise ValueError(f"it has {len(task.labels)} labels: a {form.kind} form needs two or more")
    if form.kind == "reading" and task.row_options and not form.words:
        return
    if len(form.words) != len(task.labels):
        raise ValueError(
            f"form '{name}' has {len(form.words)} words for {len(task.labels)} labels: give one for each"
        )


def _check_columns(task: ChoiceTask, name: str, columns: Columns) -> None:
    """Refuse a layout that speaks of fields or classes that the task has not got."""
    unknown = sorted(set(columns.columns) - set(task.fields))
    unknown += sorted(set(columns.labels.values()) - set(task.labels))
    if unknown:
        raise ValueError(
            f"layout '{name}' speaks of '{unknown[0]}', which is no field and no label of it"
        )
    if bool(columns.options) != task.row_options:
        raise ValueError(f"layout '{name}' and row_options do not agree on options of rows")
