"""qwen3: llama with norms over each head's queries and keys, and a head width of its own."""

from dataclasses import replace

from lmscope.models.families import llama
from lmscope.models.layouts import AttentionLayout, Separate

FAMILY = replace(
    llama.FAMILY,
    name="qwen3",
    model_types=("qwen3",),
    attention=AttentionLayout(
        "self_attn", Separate(), "self_attn.o_proj", head_norms=("q_norm", "k_norm")
    ),
    tiny={**llama.FAMILY.tiny, "head_dim": 16},
)
