"""Words that a vocabulary of whole words does not hold."""

import pytest

from lmscope.circuits.target_text import token_of
from lmscope.core.errors import DataError
from lmscope.core.known_words import known_words
from lmscope.models.generate import prompt_batch
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature
from lmscope.text.corpus import Corpus
from lmscope.text.tasks.lexicon import Lexicon
from lmscope.text.worlds.notation import othello_tokenizer


@pytest.fixture
def player(tmp_path):
    """A model of squares of a board of six."""
    tokenizer = othello_tokenizer(6)
    miniature(
        "gpt2", vocab_size=len(tokenizer), bos_token_id=None, eos_token_id=None
    ).hf.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return LanguageModel.load(str(tmp_path))


SAID = "'paris' is no word that this model knows; it has 33 tokens such as a1, a2, a3, a4: write"


def test_the_first_unknown_word_is_named_wherever_text_is_cut(player):
    asks = [
        lambda: player.batch("e4 paris london"),
        lambda: prompt_batch(player, "e4 paris"),
        lambda: token_of(player, "paris"),
        lambda: Lexicon(player.tokenizer).ids("paris"),
        lambda: Corpus.from_texts(["e4 f4", "e4 paris"])
        .contexts(player.tokenizer, 2, bos_id=None)
        .rows([0]),
    ]  # fmt: skip
    for ask in asks:
        with pytest.raises(DataError, match=SAID):
            ask()


def test_what_is_known_passes_and_other_failures_are_not_touched(player):
    assert player.batch("e4 f4").tokens.tolist() == [player.tokenizer("e4 f4")["input_ids"]]
    with pytest.raises(ZeroDivisionError), known_words(player.tokenizer, ["e4"]):
        raise ZeroDivisionError
