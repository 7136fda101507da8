"""Reading form: a question about a passage, answered by a span of the input (sun2023mp2, section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from lmscope.core.errors import DataError
from lmscope.core.protocols import Tokenizer
from lmscope.text.tasks.choices.example import ChoiceExample
from lmscope.text.tasks.choices.rendering import (
    CUT,
    Special,
    TooLong,
    fill,
    fitting,
    option_pieces,
    option_texts,
)
from lmscope.text.tasks.choices.task import Form
from lmscope.text.tasks.choices.template import OPTIONS, PROMPT, Piece, pieces_of, split_at
from lmscope.text.tasks.choices.words import Encode, encoder

Span = tuple[int, int]
"""First and last token of a stretch, both within it."""


@dataclass(frozen=True)
class ReadingRow:
    """One question as tokens.

    Attributes:
        before: Token ids ahead of the prompt's (BOS or `[CLS]` first where the model has one).
        after: Token ids behind them (`[SEP]` last in encoders).
        spans: Where in before + prompt + after each option stands, in class order; in extraction the right answer
            alone.
        label: Which of them is right.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    spans: tuple[Span, ...]
    label: int


@dataclass(frozen=True)
class ReadingRows:
    """Questions as tokens, all with the same prompt.

    Attributes:
        prompt: Ids of the prompt's tokens.
        rows: The examples that fit, in their order.
        n_too_long: Examples left out because they, or their answers, do not fit.
    """

    prompt: tuple[int, ...]
    rows: tuple[ReadingRow, ...]
    n_too_long: int


def render_reading(
    form: Form,
    examples: Sequence[ChoiceExample],
    tokenizer: Tokenizer,
    special: Special,
    *,
    prompt: tuple[int, ...],
    max_length: int | None = None,
    too_long: TooLong = "cut",
) -> ReadingRows:
    """Examples in a form whose answer is a span (sun2023mp2).

    Each option is cut into tokens by itself, so that its span holds it and nothing else. In extraction the passage
    is cut whole, so that its tokens do not betray the answer: the span is that of all tokens with a character of it,
    and the answer is the first place in `text` that reads as the right option does.

    Args:
        form: A reading or extraction form.
        examples: To render.
        tokenizer: Whose tokens; extraction needs a fast one, which knows where its tokens stand.
        special: What stands at the ends.
        prompt: The prompt's tokens (`prompt_tokens`).
        max_length: At most so many tokens in all; None for no limit.
        too_long: What becomes of longer examples: the paper cuts the passage.

    Raises:
        DataError: The form's answer is a word, an example has no options, an answer stands nowhere in its text, or
            no example fits.
    """
    if form.kind not in ("reading", "extraction"):
        raise DataError(f"A {form.kind} form answers with a word: render it by render.")
    if form.kind == "extraction":
        for example in examples:
            _check_answer(form, example)
    pieces, cut = split_at(pieces_of(form.template), PROMPT), encoder(tokenizer)

    def attempt(example: ChoiceExample) -> ReadingRow:
        begin = [] if special.bos_id is None else [special.bos_id]
        sides = (_Side(begin, []), _Side([], []))
        for side, given in zip(sides, pieces, strict=True):
            if form.kind == "reading":
                _add_options(side, form, given, example, cut)
            else:
                _add_answer(side, form, given, example, (tokenizer, cut))
        before, after = sides
        if special.end_id is not None:
            after.ids.append(special.end_id)
        shift = len(before.ids) + len(prompt)
        spans = (*before.spans, *((first + shift, last + shift) for first, last in after.spans))
        label = example.label if form.kind == "reading" else 0
        return ReadingRow(tuple(before.ids), tuple(after.ids), spans, label)

    def length(row: ReadingRow) -> int:
        return len(row.before) + len(prompt) + len(row.after)

    rows = fitting(examples, attempt, length, max_length, too_long)
    whole = tuple(row for row in rows if row.spans)
    return ReadingRows(prompt, whole, len(examples) - len(whole))


@dataclass
class _Side:
    """Tokens and spans on one side of the prompt, as they are put together."""

    ids: list[int]
    spans: list[Span]

    def add(self, ids: Sequence[int], *, is_span: bool = False) -> None:
        if is_span and ids:
            self.spans.append((len(self.ids), len(self.ids) + len(ids) - 1))
        self.ids += ids


def _add_options(
    side: _Side, form: Form, given: Sequence[Piece], example: ChoiceExample, cut: Encode
) -> None:
    before, after = split_at(given, OPTIONS)
    side.add(cut(fill(before, example, form)))
    if len(before) == len(given):
        return
    options = option_texts(form, example)
    if not options:
        raise DataError(
            "An example has no options, and its form lists no words: give it options, or the form words."
        )
    for label, option in enumerate(options):
        ahead, text, behind = option_pieces(form, label, option)
        side.add(cut((form.separator if label else "") + ahead))
        ids = cut(text)
        if not ids:
            raise DataError(f"Option {label + 1} of an example is empty: give every option a text.")
        side.add(ids, is_span=True)
        side.add(cut(behind))
    side.add(cut(fill(after, example, form)))


def _check_answer(form: Form, example: ChoiceExample) -> None:
    answer = _answer(example)
    if answer and answer not in example.fields[CUT]:
        raise DataError(
            f"The answer '{answer[:40]}' stands nowhere in its text '{example.fields[CUT][:40]}...': mend or remove "
            "the row."
        )
    if not answer and not form.no_answer:
        raise DataError(
            f"A question about '{example.fields[CUT][:40]}...' has no answer, and the form does not say what stands "
            "for that: write no_answer, or remove the row."
        )


def _answer(example: ChoiceExample) -> str:
    return example.options[example.label] if example.options else ""


def _add_answer(
    side: _Side,
    form: Form,
    given: Sequence[Piece],
    example: ChoiceExample,
    tokenizers: tuple[Tokenizer, Encode],
) -> None:
    tokenizer, cut = tokenizers
    answer = _answer(example)
    for piece in given:
        if not answer and piece.text and form.no_answer in piece.text:
            ahead, _, behind = piece.text.partition(form.no_answer)
            side.add(cut(ahead))
            side.add(cut(form.no_answer), is_span=True)
            side.add(cut(behind))
        elif answer and piece.place == CUT:
            start = example.fields[CUT].find(answer)
            end = start + len(answer)
            span = None if start < 0 else _span(tokenizer, example.fields[CUT], start, end)
            if span is not None:
                side.spans.append((len(side.ids) + span[0], len(side.ids) + span[1]))
            side.add(cut(example.fields[CUT]))
        else:
            side.add(cut(fill([piece], example, form)))


def _span(tokenizer: Tokenizer, text: str, start: int, end: int) -> Span | None:
    """First and last token with a character between two places of a text; None where there is none."""
    hf = cast("Any", tokenizer)
    if not getattr(hf, "is_fast", False):
        raise DataError(
            "Extraction needs a fast tokenizer, which knows where in the text each token stands; this one is slow."
        )
    found = hf(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    within = [i for i, (first, last) in enumerate(found) if first < end and last > start]
    return (within[0], within[-1]) if within else None
