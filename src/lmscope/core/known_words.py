"""Vocabularies of whole words, such as squares of a board: other words are refused in a sentence."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from lmscope.core.errors import DataError

_SIGN: Final = "Missing [UNK] token"
"""In what the tokenizers library raises, whose exception has no class of its own."""


@contextmanager
def known_words(tokenizer: Any, texts: Sequence[str]) -> Iterator[None]:
    """Within this, a word that a tokenizer has no token for is named.

    Tokenizers of bytes or pieces of words have a token for any text; those of whole words without one for unknown
    ones have not, and stop.

    Args:
        tokenizer: A Hugging Face tokenizer.
        texts: What it is asked to cut.

    Raises:
        DataError: A text holds a word that is no token.
    """
    try:
        yield
    except Exception as error:
        if _SIGN not in str(error):
            raise
        known = tokenizer.get_vocab()
        some = ", ".join(sorted(known.keys() - set(tokenizer.all_special_tokens))[:4])
        raise DataError(
            f"'{_first_unknown(tokenizer, texts, known)}' is no word that this model knows; it has {len(known)} tokens "
            f"such as {some}: write the text in these, or take another model."
        ) from None


def _first_unknown(tokenizer: Any, texts: Sequence[str], known: dict[str, int]) -> str:
    cut = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    return next((word for text in texts for word, _ in cut(text) if word not in known), texts[0])
