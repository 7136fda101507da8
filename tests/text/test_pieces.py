"""What each token shows as."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lmscope.models.miniature import character_tokenizer
from lmscope.text.pieces import token_pieces


def bytes_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, as the rarest characters of a byte-level BPE are cut."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize(
    "text", ["plain text", "né", "中文 mixed 🙂 end", "🙂" * 30, "a\ufffdb", "\n\t "]
)
def test_joined_pieces_are_the_text(text: str) -> None:
    tokenizer = bytes_tokenizer()
    ids = tokenizer(text)["input_ids"]
    pieces = token_pieces(tokenizer, ids)
    assert len(pieces) == len(ids) == len(text.encode())
    assert "".join(pieces) == text


def test_a_shared_character_stands_at_the_last_of_its_tokens() -> None:
    tokenizer = bytes_tokenizer()
    assert token_pieces(tokenizer, tokenizer("aé🙂")["input_ids"]) == (
        "a",
        "",
        "é",
        "",
        "",
        "",
        "🙂",
    )


def test_bytes_that_are_no_character_are_marked_and_delay_nothing() -> None:
    tokenizer = bytes_tokenizer()
    first_of_three = tokenizer("中")["input_ids"][0]
    pieces = token_pieces(tokenizer, [first_of_three] * 6 + tokenizer("ab")["input_ids"])
    assert pieces[-1] == "b"
    assert "".join(pieces).endswith("ab")
    assert "\ufffd" in "".join(pieces)


def test_special_tokens_show_their_names() -> None:
    tokenizer = character_tokenizer()
    assert token_pieces(tokenizer, [1, *tokenizer("hi")["input_ids"]]) == ("<bos>", "h", "i")


def test_no_token_has_no_piece() -> None:
    assert token_pieces(character_tokenizer(), []) == ()
