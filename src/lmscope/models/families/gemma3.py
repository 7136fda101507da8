"""gemma3: gemma2 with norms over each head's queries and keys in place of softcaps (text only)."""

from dataclasses import replace

from lmscope.models.families import gemma2
from lmscope.models.layouts import AttentionLayout, Separate

FAMILY = replace(
    gemma2.FAMILY,
    name="gemma3",
    model_types=("gemma3_text",),
    attention=AttentionLayout(
        "self_attn", Separate(), "self_attn.o_proj", head_norms=("q_norm", "k_norm")
    ),
    tiny={
        **gemma2.FAMILY.tiny,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
)
