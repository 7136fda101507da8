"""The tokenizer of games as people write them: `f5 d6 c3`."""

from typing import Final

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lmscope.text.worlds.othello import Othello

PAD: Final = "<pad>"


def othello_tokenizer(size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of squares: `f5 d6` is two tokens, of which the first is for the first playable square.

    Padding is token 0. There is no BOS, and nothing is added. A word that is no playable square cannot be a token;
    `game_text.parse_game` says so in a sentence.
    """
    world = Othello(size)
    vocabulary = {PAD: 0} | {
        world.square_name(square): token for token, square in enumerate(world.squares, start=1)
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, model_max_length=world.n_moves
    )
