"""A new model of a chosen shape, its weights drawn from a seed, to be trained."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from lmscope.core.config import Config
from lmscope.core.rng import stream_seed
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import hash_weights

Count = Annotated[int, Field(ge=1)]


class ModelShape(Config):
    """The shape of a language model."""

    family: Literal["llama", "qwen3"] = "llama"
    """RMS norms, rotary positions, a gated feed-forward layer; qwen3 also normalises queries and keys."""
    n_layers: Count = 4
    d_model: Count = 128
    n_heads: Count = 4
    n_kv_heads: Count | None = None
    """Heads of keys and values; absent: as many as heads."""
    d_hidden: Count = 384
    """Neurons of a feed-forward layer."""
    max_positions: Count = 512
    rope_theta: Annotated[float, Field(gt=0)] = 10_000.0
    tied: bool = False
    """Whether the unembedding is the embedding."""


def fresh_model(
    shape: ModelShape, tokenizer: PreTrainedTokenizerBase, *, name: str, seed: int
) -> LanguageModel:
    """A model with random weights (normal, standard deviation 0.02), in float32 on the CPU.

    Args:
        shape: How large.
        tokenizer: Whose vocabulary it has.
        name: What results call it.
        seed: Names the weights.
    """
    config = AutoConfig.for_model(
        shape.family,
        vocab_size=len(tokenizer),
        hidden_size=shape.d_model,
        intermediate_size=shape.d_hidden,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_kv_heads or shape.n_heads,
        head_dim=shape.d_model // shape.n_heads,
        max_position_embeddings=shape.max_positions,
        rope_theta=shape.rope_theta,
        tie_word_embeddings=shape.tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "model"))
        hf: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return LanguageModel(hf, tokenizer, name=name, weights_hash=hash_weights(hf))
