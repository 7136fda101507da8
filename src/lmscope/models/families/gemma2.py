"""gemma2: norms before and after each sublayer, 1 + w gains, softcaps, alternate local layers."""

from dataclasses import replace

from lmscope.models.families import llama
from lmscope.models.norms import RMS_NORM_FROM_ONE
from lmscope.models.taps import Normalised, Out, StreamAfter

FAMILY = replace(
    llama.FAMILY,
    name="gemma2",
    model_types=("gemma2",),
    norm=RMS_NORM_FROM_ONE,
    parts={
        **llama.FAMILY.parts,
        "attn_out": Out("post_attention_layernorm"),
        "mixer_out": Out("post_attention_layernorm"),
        "resid_mid": StreamAfter("pre_feedforward_layernorm"),
        "mlp_norm": Normalised("pre_feedforward_layernorm"),
        "mlp_out": Out("post_feedforward_layernorm"),
    },
    norms={
        "attn_norm": "input_layernorm",
        "attn_out": "post_attention_layernorm",
        "mlp_norm": "pre_feedforward_layernorm",
        "mlp_out": "post_feedforward_layernorm",
        "final": "norm",
    },
    tiny={
        **llama.FAMILY.tiny,
        "head_dim": 16,
        "query_pre_attn_scalar": 24,
        "sliding_window": 4,
        "attn_logit_softcapping": 3.0,
        "final_logit_softcapping": 8.0,
    },
)
