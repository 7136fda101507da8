"""Miniatures: tiny seeded models of every family, for tests and dry runs."""

import hashlib
import string
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from lmscope.core.errors import ModelError, did_you_mean
from lmscope.core.rng import generator
from lmscope.models.language_model import LanguageModel
from lmscope.models.registry import known_families

_CAUSAL_SPECIALS = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
_ENCODER_SPECIALS = {
    "pad_token": "<pad>",
    "cls_token": "<cls>",
    "sep_token": "<sep>",
    "mask_token": "<mask>",
}


def miniature(family_name: str, seed: int = 0, **sizes: Any) -> LanguageModel:
    """A tiny model of a family, its weights drawn from a seed.

    Three layers of width 32, a vocabulary of single characters, and every gain and bias away
    from its neutral value, so that nothing that forgets one of them goes unnoticed.

    Args:
        family_name: One of the known families.
        seed: Names the weights.
        sizes: Fields of the family's configuration to set otherwise (`num_hidden_layers=2`).

    Raises:
        ModelError: There is no such family.
    """
    if family_name not in known_families():
        raise ModelError(
            f"No family is called '{family_name}'.{did_you_mean(family_name, known_families())}"
        )
    family = known_families()[family_name]
    tokenizer = character_tokenizer(encoder=not family.causal)
    ids = {
        name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")
    }
    options = {"vocab_size": len(tokenizer), **ids, **family.tiny, **sizes}
    config = AutoConfig.for_model(family.model_types[0], **options)
    maker = AutoModelForCausalLM if family.causal else AutoModelForMaskedLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf: PreTrainedModel = maker.from_config(config)
    _draw_weights(hf, seed)
    return LanguageModel(
        hf, tokenizer, name=f"miniature-{family_name}", weights_hash=hash_weights(hf)
    )


def character_tokenizer(*, encoder: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer with one token a printable ASCII character.

    A causal one adds no BOS of its own (as SmolLM2's does not); an encoder's writes
    `<cls> text <sep>`.
    """
    specials = _ENCODER_SPECIALS if encoder else _CAUSAL_SPECIALS
    words = [*specials.values(), "<unk>", "\n", *string.printable[:95]]
    ids = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    if encoder:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<cls> $A <sep>",
            pair="<cls> $A <sep> $B <sep>",
            special_tokens=[("<cls>", ids["<cls>"]), ("<sep>", ids["<sep>"])],
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **specials)


def hash_weights(hf: nn.Module) -> str:
    """SHA-256 of a model's named weights, as 64 hex digits."""
    digest = hashlib.sha256()
    for name, value in sorted(hf.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


@torch.no_grad()
def _draw_weights(hf: PreTrainedModel, seed: int) -> None:
    """Matrices large enough to matter; gains and biases spread around what they start from."""
    draws = generator(seed, "miniature", hf.config.model_type)
    for name, weight in hf.named_parameters():
        if weight.dim() == 1:
            weight.add_(torch.randn(weight.shape, generator=draws), alpha=0.2)
        elif "conv1d" not in name and "A_log" not in name:
            spread = 1.0 if weight.shape[0] == hf.config.vocab_size else weight.shape[-1] ** -0.5
            weight.copy_(torch.randn(weight.shape, generator=draws) * spread)
