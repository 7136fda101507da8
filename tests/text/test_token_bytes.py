"""Joined bytes of tokens are the text, however a tokenizer spells its vocabulary."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lmscope.core.errors import DataError
from lmscope.text.token_bytes import vocabulary_bytes

TEXT = "Zoë said: “你好” 👩‍🚀\n\tif x  <= 3: пока"


def fast(tokenizer: Tokenizer, **specials: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **specials)


def joined(tokenizer: PreTrainedTokenizerFast, text: str) -> bytes:
    found = vocabulary_bytes(tokenizer)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > 1
    return b"".join(found[i] for i in ids)


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False
    )
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    return tokenizer


def sentencepiece(decoder: decoders.Decoder, prepend: str = "never") -> Tokenizer:
    """As Llama 2 and Gemma: pieces with U+2581 for a space, and a token for each byte."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁x", "said", "Zo", "▁is"]
    pieces += sorted(set("saidZoifx<=3:") - set(pieces))
    merges = [("▁", "x")]
    tokenizer = Tokenizer(
        models.BPE(
            {piece: i for i, piece in enumerate(pieces)},
            merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoder
    return tokenizer


def test_byte_level_tokens_join_to_the_text_even_where_they_cut_characters():
    tokenizer = fast(byte_level())
    assert joined(tokenizer, TEXT).decode() == TEXT
    found = vocabulary_bytes(tokenizer)
    assert {bytes([byte]) for byte in range(256)} <= set(found)


def test_added_tokens_of_byte_level_tokenizers_are_taken_as_written():
    tokenizer = fast(byte_level())
    tokenizer.add_tokens(["Ġé<>"])
    found = vocabulary_bytes(tokenizer)
    assert found[0] == b"<|end|>"
    assert found[tokenizer.convert_tokens_to_ids("Ġé<>")].decode() == "Ġé<>"


@pytest.mark.parametrize(
    "decoder",
    [
        decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        ),
        decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
    ],
    ids=["llama", "gemma"],
)
def test_sentencepiece_tokens_join_to_the_text_with_byte_fallback(decoder):
    assert joined(fast(sentencepiece(decoder)), TEXT).decode() == TEXT


def test_metaspace_tokens_keep_their_space():
    words = {"<unk>": 0, "▁the": 1, "▁": 2, "cat": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.decoder = decoders.Metaspace()
    assert vocabulary_bytes(fast(tokenizer)) == [b"<unk>", b" the", b" ", b"cat"]


def test_wordpieces_join_to_the_tokenizers_own_reading():
    words = ["[UNK]", "play", "##ing", "the", ".", "!"]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece("##")
    found = vocabulary_bytes(fast(tokenizer))
    assert found == [b" [UNK]", b" play", b"ing", b" the", b".", b"!"]
    assert joined(fast(tokenizer), "the playing.") == b" the playing."


def test_end_of_word_marks_are_spaces():
    words = {"low": 0, "er</w>": 1}
    tokenizer = Tokenizer(models.BPE(words, []))
    tokenizer.decoder = decoders.BPEDecoder("</w>")
    assert vocabulary_bytes(fast(tokenizer)) == [b"low", b"er "]


def test_without_a_decoder_tokens_are_words():
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    assert vocabulary_bytes(fast(tokenizer)) == [b" a", b" b"]


def test_ids_without_a_token_are_named():
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "c": 2}, unk_token="a"))
    tokenizer.decoder = decoders.Fuse()
    assert vocabulary_bytes(fast(tokenizer), 5) == [
        b"a",
        b"<unused 1>",
        b"c",
        b"<unused 3>",
        b"<unused 4>",
    ]


def test_slow_tokenizers_are_refused():
    class Slow:
        def __len__(self):
            return 3

    with pytest.raises(DataError, match="Slow is slow"):
        vocabulary_bytes(Slow())
