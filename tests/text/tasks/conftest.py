"""Tokenizers that cut words, digits and brackets as real ones do, learnt in a moment."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lmscope.text.tasks.words import EVENTS, NAMES, NOUNS, PLACES, PLAIN, THINGS

WORDS = (*NAMES, *PLACES, *THINGS, *EVENTS, *PLAIN, *(noun for pair in NOUNS for noun in pair))
SMALL_WORDS = " is are was were has have the a to and of in ( [ {"


def learnt(text: str, size: int = 10_000) -> PreTrainedTokenizerFast:
    """Byte-level BPE of a text, with as many entries as it gives."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, show_progress=False, special_tokens=["<bos>"]
    )
    tokenizer.train_from_iterator([text], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>")


@pytest.fixture(scope="session")
def words_tokenizer():
    """All words of the tasks are one token each, with a space before them; digits and closing brackets are bytes."""
    return learnt(f" {' '.join(WORDS)}{SMALL_WORDS}" * 3)


@pytest.fixture(scope="session")
def pairs_tokenizer():
    """Years are two tokens of two digits, the first with a space before it."""
    centuries = "".join(f" {a}" for a in range(11, 20)) * 50
    return learnt(centuries + "".join(f" .{b:02d}" for b in range(100)) * 5)


@pytest.fixture(scope="session")
def years_tokenizer():
    """A year is one token where a space stands before it."""
    return learnt("".join(f" {year}" for year in range(1100, 2000)) * 3)


@pytest.fixture(scope="session")
def bytes_tokenizer():
    """Nothing but bytes, and `<bos>`."""
    return learnt("a", size=257)
