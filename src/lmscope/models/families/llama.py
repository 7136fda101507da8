"""llama: RMS norms, rotary positions, grouped heads, a gated feed-forward layer (SmolLM2 too)."""

from lmscope.models.family import Family, attention_parts
from lmscope.models.layouts import AttentionLayout, MlpLayout, Separate
from lmscope.models.norms import RMS_NORM
from lmscope.models.taps import In, Normalised, Out, StreamAfter

FAMILY = Family(
    name="llama",
    model_types=("llama",),
    blocks="layers",
    arrangement="sequential",
    norm=RMS_NORM,
    parts={
        "embed": Out("embed_tokens"),
        "resid_pre": In(),
        "attn_norm": Normalised("input_layernorm"),
        "attn_in": In("self_attn"),
        "mixer_in": In("self_attn"),
        **attention_parts("self_attn"),
        "attn_out": Out("self_attn"),
        "mixer_out": Out("self_attn"),
        "resid_mid": StreamAfter("post_attention_layernorm"),
        "mlp_norm": Normalised("post_attention_layernorm"),
        "mlp_in": In("mlp"),
        "mlp_gate": Out("mlp.gate_proj"),
        "mlp_hidden": In("mlp.down_proj"),
        "mlp_out": Out("mlp"),
        "resid_post": Out(),
        "final": Out("norm"),
    },
    norms={
        "attn_norm": "input_layernorm",
        "mlp_norm": "post_attention_layernorm",
        "final": "norm",
    },
    absent={"pos_embed": "it rotates queries and keys instead of adding positions"},
    attention=AttentionLayout("self_attn", Separate(), "self_attn.o_proj"),
    mlp=MlpLayout("mlp.up_proj", "mlp.down_proj", gate="mlp.gate_proj"),
    tiny={
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
    },
)
