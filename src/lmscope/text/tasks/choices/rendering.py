"""Examples as token rows: what stands ahead of the prompt's tokens and behind them (sun2022bbt)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from lmscope.core.errors import DataError, RecipeError
from lmscope.core.protocols import Tokenizer
from lmscope.text.tasks.choices.example import ChoiceExample
from lmscope.text.tasks.choices.task import Form
from lmscope.text.tasks.choices.template import (
    MASK,
    OPTIONS,
    PROMPT,
    Piece,
    pieces_of,
    split_at,
)
from lmscope.text.tasks.choices.words import Encode, encode, encoder, word_ids

TooLong = Literal["drop", "cut"]
"""What becomes of an example that is too long: it is left out, or the end of its `text` is."""
PAPER_FIRST: Final = 1000
"""The first of the vocabulary ids on which the paper's soft prompts stand (sun2022bbt)."""
CUT: Final = "text"
"""The field that is cut where an example is too long."""
Row = TypeVar("Row")


@dataclass(frozen=True)
class PromptRow:
    """One example as tokens.

    Attributes:
        before: Token ids ahead of the prompt's (BOS or `[CLS]` first where the model has one).
        after: Token ids behind them (`[SEP]` last in encoders).
        answer_at: Index in before + prompt + after of the position whose prediction is read.
        label: Class index.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    answer_at: int
    label: int


@dataclass(frozen=True)
class PromptRows:
    """Examples as tokens, all with the same prompt and words.

    Attributes:
        prompt: Ids of the prompt's tokens.
        words: One token id a class.
        rows: The examples that fit, in their order.
        n_too_long: Examples left out because they do not fit.
    """

    prompt: tuple[int, ...]
    words: tuple[int, ...]
    rows: tuple[PromptRow, ...]
    n_too_long: int


@dataclass(frozen=True)
class Special:
    """Ids that a model puts around a text.

    Attributes:
        bos_id: Begins a context (`[CLS]` in encoders); None where nothing does.
        end_id: Ends it (`[SEP]` in encoders); None in causal models.
        mask_id: Where an encoder predicts; None in causal models.
    """

    bos_id: int | None = None
    end_id: int | None = None
    mask_id: int | None = None

    @classmethod
    def of(cls, tokenizer: Any, *, is_causal: bool) -> "Special":
        """Those of a tokenizer, as `LanguageModel.batch` puts them."""
        ids = [getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "cls")]
        begins = next((found for found in ids if found is not None), None)
        if is_causal:
            return cls(begins)
        return cls(
            begins,
            getattr(tokenizer, "sep_token_id", None),
            getattr(tokenizer, "mask_token_id", None),
        )


def prompt_tokens(
    form: Form, tokenizer: Tokenizer, n: int | None = None, *, first: int = PAPER_FIRST
) -> tuple[int, ...]:
    """The real tokens on which a soft prompt stands.

    Args:
        form: Whose instruction.
        tokenizer: Whose tokens.
        n: None takes the tokens of the form's instruction, as many as they are, so that no soft prompt is a manual
            prompt in words. A number takes the vocabulary ids `first` to `first + n - 1`, as the paper does with 50
            (sun2022bbt).
        first: The first of these.

    Raises:
        DataError: The form has no instruction, or the vocabulary not these ids, or one of them is special.
    """
    if n is None:
        found = encode(tokenizer, form.instruction)
        if not found:
            raise DataError(
                "The form has no instruction for a prompt to stand on: write one, or give the number of prompt tokens."
            )
        return found
    if n < 1 or first < 0:
        raise RecipeError(
            f"{n} prompt tokens from id {first} were asked for: give at least 1, and an id of 0 or more."
        )
    if first + n > len(tokenizer):
        raise DataError(
            f"The prompt should stand on ids {first} to {first + n - 1}, and this model's vocabulary has "
            f"{len(tokenizer)}: leave the number of prompt tokens out, which takes the form's instruction."
        )
    ids = tuple(range(first, first + n))
    if special := sorted(set(ids) & set(tokenizer.all_special_ids)):
        raise DataError(
            f"The prompt should stand on ids {first} to {ids[-1]}, and {special[0]} is a special token of this model: "
            "leave the number of prompt tokens out, which takes the form's instruction."
        )
    return ids


def render(
    form: Form,
    examples: Sequence[ChoiceExample],
    tokenizer: Tokenizer,
    special: Special,
    *,
    prompt: tuple[int, ...],
    max_length: int | None = None,
    too_long: TooLong = "drop",
) -> PromptRows:
    """Examples in a form whose answer is a word (sun2022bbt).

    The text ahead of the prompt, the one behind it and the two sides of a mask are cut into tokens each by itself,
    so no token runs across these places. White space right ahead of a mask is dropped: encoders have it in the
    mask or nowhere. Marks of special tokens within a text become these tokens, as in `LanguageModel.batch`.

    Args:
        form: A causal, postfix or masked one.
        examples: To render.
        tokenizer: Whose tokens.
        special: What stands at the ends and at the mask.
        prompt: The prompt's tokens (`prompt_tokens`).
        max_length: At most so many tokens in all; None for no limit.
        too_long: What becomes of longer examples: the paper leaves them out, of tests too.

    Raises:
        DataError: A word is not one token, the model has no mask, or no example fits.
    """
    words = word_ids(form, tokenizer)
    if form.kind == "masked" and special.mask_id is None:
        raise DataError(
            "A masked form needs a model with a mask token, and this one has none: choose the form 'causal' or "
            "'postfix', or another model."
        )
    pieces, cut = split_at(pieces_of(form.template), PROMPT), encoder(tokenizer)

    def attempt(example: ChoiceExample) -> PromptRow:
        return _row(form, pieces, example, cut, special, len(prompt))

    def length(row: PromptRow) -> int:
        return len(row.before) + len(prompt) + len(row.after)

    rows = fitting(examples, attempt, length, max_length, too_long)
    return PromptRows(prompt, words, tuple(rows), len(examples) - len(rows))


def fitting(
    examples: Sequence[ChoiceExample],
    attempt: Callable[[ChoiceExample], Row],
    length: Callable[[Row], int],
    max_length: int | None,
    too_long: TooLong,
) -> list[Row]:
    """The examples that fit, as rows; longer ones are left out or their `text` is cut from its end.

    Raises:
        DataError: There is no example, or none fits.
    """
    if not examples:
        raise DataError("There is no example to render: give at least one.")
    rows = []
    for example in examples:
        row = attempt(example)
        if max_length is None or length(row) <= max_length:
            rows.append(row)
        elif too_long == "cut":
            rows += _cut_to_fit(example, attempt, lambda row: length(row) <= max_length)
    if not rows:
        raise DataError(
            f"None of {len(examples)} examples fits into {max_length} tokens: give a greater length, "
            f"{'cut what is too long, ' if too_long == 'drop' else ''}or take a shorter prompt."
        )
    return rows


def _cut_to_fit(
    example: ChoiceExample,
    attempt: Callable[[ChoiceExample], Row],
    fits: Callable[[Row], bool],
) -> list[Row]:
    """The example with as many characters of its text as fit; none where not even the empty text does."""

    def with_text(n_chars: int) -> Row:
        cut = {**example.fields, CUT: example.fields[CUT][:n_chars]}
        return attempt(ChoiceExample(cut, example.label, example.options))

    best, low, high = None, 0, len(example.fields[CUT]) - 1
    while low <= high:
        middle = (low + high) // 2
        row = with_text(middle)
        if fits(row):
            best, low = row, middle + 1
        else:
            high = middle - 1
    return [] if best is None else [best]


def fill(pieces: Sequence[Piece], example: ChoiceExample, form: Form) -> str:
    """Pieces with the example's texts in their places."""
    options = OPTIONS in (piece.place for piece in pieces)
    texts = {**example.fields, OPTIONS: _option_list(form, example) if options else ""}
    return "".join(texts[piece.place] if piece.place else piece.text for piece in pieces)


def option_texts(form: Form, example: ChoiceExample) -> tuple[str, ...]:
    """The options of an example: its own, or else the form's words."""
    return example.options or form.words


def option_pieces(form: Form, label: int, option: str) -> tuple[str, str, str]:
    """An option as it is written: what stands ahead of its text, the text, and what stands behind it."""
    word = form.words[label].strip() if label < len(form.words) else ""
    before, after = split_at(pieces_of(form.option), "option")
    ahead, behind = ("".join(piece.text or word for piece in side) for side in (before, after))
    return ahead, option, behind


def _option_list(form: Form, example: ChoiceExample) -> str:
    written = (
        "".join(option_pieces(form, label, option))
        for label, option in enumerate(option_texts(form, example))
    )
    return form.separator.join(written)


def _row(
    form: Form,
    sides: tuple[Sequence[Piece], Sequence[Piece]],
    example: ChoiceExample,
    cut: Encode,
    special: Special,
    n_prompt: int,
) -> PromptRow:
    (before, mask_before), (after, mask_after) = (
        _tokens(form, side, example, cut, special) for side in sides
    )
    begin = () if special.bos_id is None else (special.bos_id,)
    end = () if special.end_id is None else (special.end_id,)
    before, after = (*begin, *before), (*after, *end)
    if mask_before is not None:
        at = len(begin) + mask_before
    elif mask_after is not None:
        at = len(before) + n_prompt + mask_after
    else:
        at = len(before) + n_prompt + len(after) - 1
    return PromptRow(before, after, at, example.label)


def _tokens(
    form: Form,
    side: Sequence[Piece],
    example: ChoiceExample,
    cut: Encode,
    special: Special,
) -> tuple[tuple[int, ...], int | None]:
    """Tokens of one side of the prompt, and the place of the mask among them where it has one."""
    if special.mask_id is None or MASK not in (piece.place for piece in side):
        return cut(fill(side, example, form)), None
    ahead, behind = split_at(side, MASK)
    first = cut(fill(ahead, example, form).rstrip())
    second = cut(fill(behind, example, form))
    return (*first, special.mask_id, *second), len(first)
