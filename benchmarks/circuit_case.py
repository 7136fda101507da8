"""A case of circuit tracing that any library can be given: a small Llama with a transcoder at each layer, as files.

Transcoders are random, with rows of norm 1, so that each token has `k` active latents; what they leave over is the
error. That says nothing about circuits and is all that timing needs.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file

from lmscope.dictionaries.config import DictionaryConfig
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.models.language_model import LanguageModel
from lmscope.models.miniature import miniature


@dataclass(frozen=True)
class Sizes:
    """Of the model and its transcoders."""

    layers: int = 8
    width: int = 128
    heads: int = 4
    hidden: int = 512
    latents: int = 1024
    k: int = 32


SMALL = Sizes()
SMOLLM2 = Sizes(layers=30, width=576, heads=9, hidden=1536, latents=4608)


def model_of(sizes: Sizes) -> LanguageModel:
    """A Llama of these sizes with seeded weights."""
    return miniature(
        "llama",
        hidden_size=sizes.width,
        intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.heads,
        head_dim=sizes.width // sizes.heads,
        max_position_embeddings=512,
    )


def transcoders_of(model: LanguageModel, n_latents: int, k: int) -> list[Dictionary]:
    """A random transcoder of each feed-forward layer, from its input to its output."""
    found = []
    for layer in range(model.n_layers):
        draw = torch.Generator().manual_seed(layer)
        width = model.d_model
        config = DictionaryConfig.from_mapping(
            {
                "reads": [f"mlp_in@{layer}"],
                "writes": [f"mlp_out@{layer}"],
                "d_read": width,
                "d_write": width,
                "n_latents": n_latents,
                "sparsity": {"kind": "topk", "k": k, "weight_by_decoder_norm": False},
                "normalisation": "none",
            }
        )
        rows = [torch.randn(n_latents, width, generator=draw) for _ in range(2)]
        tensors = {
            "W_enc": rows[0] / rows[0].norm(dim=1, keepdim=True),
            "b_enc": torch.zeros(n_latents),
            "W_dec": rows[1] / rows[1].norm(dim=1, keepdim=True),
            "b_dec": torch.zeros(width),
            "scale_in": torch.tensor(1.0),
            "scale_out": torch.tensor(1.0),
        }
        found.append(Dictionary.from_tensors(config, tensors))
    return found


def prompt_of(model: LanguageModel, length: int) -> list[int]:
    """BOS and random tokens."""
    draw = torch.Generator().manual_seed(length)
    ids = torch.randint(8, 100, (length - 1,), generator=draw).tolist()
    return [cast("int", model.tokenizer.bos_token_id), *ids]


def write_case(folder: Path, sizes: Sizes) -> None:
    """The case as files that need nothing of lmscope to be read."""
    model = model_of(sizes)
    config = model.hf.config
    save_file(
        {k: v.contiguous() for k, v in model.hf.state_dict().items()}, folder / "model.safetensors"
    )
    rope = getattr(config, "rope_parameters", None) or {"rope_theta": config.rope_theta}
    values = {
        "hidden_size": sizes.width,
        "intermediate_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.heads,
        "head_dim": sizes.width // sizes.heads,
        "max_position_embeddings": 512,
        "vocab_size": config.vocab_size,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": rope["rope_theta"],
        "hidden_act": config.hidden_act,
        "tie_word_embeddings": config.tie_word_embeddings,
        "attention_bias": getattr(config, "attention_bias", False),
        "mlp_bias": getattr(config, "mlp_bias", False),
    }
    (folder / "config.json").write_text(json.dumps(values))
    for layer, one in enumerate(transcoders_of(model, sizes.latents, sizes.k)):
        tensors = {k: v.contiguous() for k, v in one.state_dict().items()}
        save_file(tensors, folder / f"transcoder-{layer}.safetensors")
    model.tokenizer.save_pretrained(folder / "tokenizer")  # pyright: ignore[reportAttributeAccessIssue]
