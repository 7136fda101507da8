"""A tokenizer of single bytes, so that every expected token can be written by hand."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHAT = (
    "{% if messages[0].role != 'system' %}<|system|>Be kind.\n{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content.strip() }}\n{% endfor %}"
)


def byte_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """Ids 0 to 255 are the bytes in the order of the alphabet; special tokens come after."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special.values()))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=16, **special)


@pytest.fixture(scope="session")
def decoder_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, BOS 256, EOS 257, and a chat template that strips contents."""
    tokenizer = byte_tokenizer(bos_token="<bos>", eos_token="<eos>")
    tokenizer.chat_template = CHAT
    return tokenizer


@pytest.fixture(scope="session")
def encoder_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, [CLS] 256, [SEP] 257, [PAD] 258."""
    return byte_tokenizer(cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]")
