"""A tokenizer of one's own: byte-level BPE learnt from a corpus."""

from collections.abc import Iterator
from typing import Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lmscope.core.errors import DataError
from lmscope.text.document import DocumentSource

BOS: Final = "<bos>"
PAD: Final = "<pad>"
SMALLEST: Final = 256 + 2
"""Bytes and the two special tokens."""


def learn_tokenizer(corpus: DocumentSource, size: int) -> PreTrainedTokenizerFast:
    """Learn byte-level BPE (sennrich2016bpe; radford2019gpt2); any text can be written with it.

    It adds no token by itself. Equal text gives an equal tokenizer.

    Args:
        corpus: What it is learnt from.
        size: Tokens, the 256 bytes, `<bos>` and `<pad>` included.

    Raises:
        DataError: The size does not hold the bytes, or the text is too short for it.
    """
    if size < SMALLEST:
        raise DataError(
            f"A vocabulary holds at least {SMALLEST} tokens (bytes, BOS, padding), not {size}."
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(corpus), trainer)
    found = tokenizer.get_vocab_size()
    if found < size:
        raise DataError(
            f"'{corpus.name}' is too short for {size} tokens, it gives {found}: ask for fewer, or give more text."
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, pad_token=PAD)


def _texts(corpus: DocumentSource) -> Iterator[str]:
    for document in corpus.documents():
        yield document.text
