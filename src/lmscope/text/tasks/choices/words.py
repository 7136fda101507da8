"""Label words: each class answers with one token, and it is checked (sun2022bbt, table 1)."""

from collections.abc import Callable
from functools import cache, partial
from typing import Final

from lmscope.core.errors import DataError
from lmscope.core.known_words import known_words
from lmscope.core.protocols import Tokenizer
from lmscope.text.tasks.choices.task import WORD_KINDS, Form
from lmscope.text.tasks.choices.template import MASK, pieces_of, split_at

Encode = Callable[[str], tuple[int, ...]]
"""Token ids of a text."""
_SHOWN: Final = 6


def encode(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Token ids of a text, without special tokens.

    Raises:
        DataError: The text has a word that the tokenizer has no token for.
    """
    if not text:
        return ()
    with known_words(tokenizer, [text]):
        return tuple(tokenizer.encode(text, add_special_tokens=False))


def encoder(tokenizer: Tokenizer) -> Encode:
    """`encode` of one tokenizer that remembers what it was asked: rows share most of their texts."""
    return cache(partial(encode, tokenizer))


def word_ids(form: Form, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The token of each class's word, in class order.

    A word is looked up as it stands in the template, behind the text right ahead of it. What a place would hold is
    left out: a token that ran across a place and the text behind it is not looked for.

    Differs: the paper's code takes the first token of a longer word and says nothing, so that of two Chinese
    characters the first becomes the label.

    Args:
        form: One whose answer is a word.
        tokenizer: Whose tokens.

    Raises:
        DataError: The form's answer is a span; a word is not one token; or two words are the same one.
    """
    if form.kind not in WORD_KINDS:
        raise DataError(
            f"A {form.kind} form answers with a span and has no words: render it by render_reading."
        )
    context = _context(form)
    before = encode(tokenizer, context)
    found: dict[int, str] = {}
    for word in form.words:
        token = _only_token(tokenizer, context, before, word)
        if token in found:
            raise DataError(
                f"The words '{found[token]}' and '{word}' of the template '{form.template}' are the same token "
                f"{token} for this model: choose other words, or another model."
            )
        found[token] = word
    return tuple(found)


def _context(form: Form) -> str:
    """The template's own text right ahead of the answer."""
    pieces = pieces_of(form.template)
    if form.kind == "masked":
        pieces, _ = split_at(pieces, MASK)
    text = pieces[-1].text if pieces and not pieces[-1].place else ""
    return text.rstrip() if form.kind == "masked" else text


def _only_token(tokenizer: Tokenizer, context: str, before: tuple[int, ...], word: str) -> int:
    after = encode(tokenizer, context + word)
    unknown = getattr(tokenizer, "unk_token_id", None)
    if len(after) == len(before) + 1 and after[:-1] == before and after[-1] != unknown:
        return after[-1]
    alone = encode(tokenizer, word)
    if unknown in alone:
        raise DataError(
            f"The word '{word}' has no token in this model's vocabulary of {len(tokenizer)}: choose another word, or a "
            "model that knows it."
        )
    pieces = [tokenizer.decode([token]) for token in alone[:_SHOWN]]
    shown = ", ".join(f"'{piece}'" for piece in pieces) + (", ..." if len(alone) > _SHOWN else "")
    where = f" behind '{context[-20:]}'" if len(alone) == 1 else ""
    raise DataError(
        f"The word '{word}' is not one token{where} for this model but {max(len(after) - len(before), len(alone))} "
        f"({shown}), and a label is read from one: choose a word that is one token, or another model."
    )
