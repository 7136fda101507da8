"""A new model of a chosen shape, its weights drawn from a seed, to be trained."""

from typing import Annotated, Any, Final, Literal

import torch
from pydantic import Field, model_validator
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from lmscope.core.config import Config
from lmscope.core.rng import stream_seed
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import hash_weights

Count = Annotated[int, Field(ge=1)]
_ROPE_THETA: Final = 10_000.0


class ModelShape(Config):
    """The shape of a language model."""

    family: Literal["llama", "qwen3", "gpt2"] = "llama"
    """llama: RMS norms, rotary positions, a gated feed-forward layer without biases; qwen3 also normalises queries and keys;
    gpt2: layer norms, learned positions, a GELU feed-forward layer, biases."""
    n_layers: Count = 4
    d_model: Count = 128
    n_heads: Count = 4
    n_kv_heads: Count | None = None
    """Heads of keys and values; absent: as many as heads. gpt2 has no fewer."""
    d_hidden: Count = 384
    """Neurons of a feed-forward layer."""
    max_positions: Count = 512
    rope_theta: Annotated[float, Field(gt=0)] = _ROPE_THETA
    """Base of the rotary positions; gpt2 has none."""
    tied: bool = False
    """Whether the unembedding is the embedding."""

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> "ModelShape":
        if self.family != "gpt2":
            return self
        if self.n_kv_heads is not None:
            raise ValueError("gpt2 has as many heads of keys as heads: leave n_kv_heads out")
        if self.rope_theta != _ROPE_THETA:
            raise ValueError("gpt2 learns its positions: leave rope_theta out")
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelShape":
        if self.d_model % self.n_heads:
            raise ValueError(
                f"{self.n_heads} heads do not divide a width of {self.d_model}: change n_heads or d_model"
            )
        if self.n_heads % (self.n_kv_heads or self.n_heads):
            raise ValueError(
                f"{self.n_kv_heads} heads of keys do not divide {self.n_heads} heads: change n_kv_heads or n_heads"
            )
        return self


def fresh_model(
    shape: ModelShape, tokenizer: PreTrainedTokenizerBase, *, name: str, seed: int
) -> LanguageModel:
    """A model with random weights (normal, standard deviation 0.02), in float32 on the CPU.

    Of gpt2 the projections that write into the stream are drawn smaller by the root of twice the
    number of layers (radford2019gpt2). Nothing is dropped out in training.

    Args:
        shape: How large.
        tokenizer: Whose vocabulary it has; it need not have a token that begins a text.
        name: What results call it.
        seed: Names the weights.
    """
    config = AutoConfig.for_model(
        shape.family,
        vocab_size=len(tokenizer),
        tie_word_embeddings=shape.tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        **(_learned_positions(shape) if shape.family == "gpt2" else _rotary_positions(shape)),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "model"))
        hf: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return LanguageModel(hf, tokenizer, name=name, weights_hash=hash_weights(hf))


def _rotary_positions(shape: ModelShape) -> dict[str, Any]:
    return {
        "hidden_size": shape.d_model,
        "intermediate_size": shape.d_hidden,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads or shape.n_heads,
        "head_dim": shape.d_model // shape.n_heads,
        "max_position_embeddings": shape.max_positions,
        "rope_theta": shape.rope_theta,
    }


def _learned_positions(shape: ModelShape) -> dict[str, Any]:
    return {
        "n_embd": shape.d_model,
        "n_inner": shape.d_hidden,
        "n_layer": shape.n_layers,
        "n_head": shape.n_heads,
        "n_positions": shape.max_positions,
        "activation_function": "gelu",  # the exact one, as he2024othello; GPT-2 approximates it
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }
