"""gpt_neox: layer norms, rotary positions, attention and feed-forward side by side (Pythia)."""

from dataclasses import replace

from transformers import PretrainedConfig

from lmscope.models.family import Family, attention_parts
from lmscope.models.layouts import AttentionLayout, Fused, MlpLayout
from lmscope.models.norms import LAYER_NORM
from lmscope.models.taps import In, Normalised, Out, StreamAfter


def _one_after_the_other(family: Family, config: PretrainedConfig) -> Family:
    """The few models whose feed-forward layer reads what attention has added."""
    if config.use_parallel_residual:
        return family
    parts = {**family.parts, "resid_mid": StreamAfter("post_attention_layernorm")}
    return replace(family, arrangement="sequential", parts=parts)


FAMILY = Family(
    name="gpt_neox",
    model_types=("gpt_neox",),
    blocks="layers",
    arrangement="parallel",
    norm=LAYER_NORM,
    parts={
        "embed": Out("embed_in"),
        "resid_pre": In(),
        "attn_norm": Normalised("input_layernorm"),
        "attn_in": In("attention"),
        "mixer_in": In("attention"),
        **attention_parts("attention"),
        "attn_out": Out("post_attention_dropout"),
        "mixer_out": Out("post_attention_dropout"),
        "mlp_norm": Normalised("post_attention_layernorm"),
        "mlp_in": In("mlp"),
        "mlp_hidden": In("mlp.dense_4h_to_h"),
        "mlp_out": Out("post_mlp_dropout"),
        "resid_post": Out(),
        "final": Out("final_layer_norm"),
    },
    norms={
        "attn_norm": "input_layernorm",
        "mlp_norm": "post_attention_layernorm",
        "final": "final_layer_norm",
    },
    absent={
        "pos_embed": "it rotates queries and keys instead of adding positions",
        "mlp_gate": "its feed-forward layer has no gate",
        "resid_mid": "attention and feed-forward read the same stream and are added together",
    },
    attention=AttentionLayout(
        "attention", Fused("query_key_value", kind_first=False), "attention.dense"
    ),
    mlp=MlpLayout("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
    tiny={
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
    },
    adapt=_one_after_the_other,
)
