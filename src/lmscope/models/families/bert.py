"""bert: an encoder that normalises the stream after each sum.

`resid_mid` is norm(resid_pre + attn_out) and `resid_post` norm(resid_mid + mlp_out). `attn_in`
and `mlp_in` hold what resid_pre and resid_mid hold, but an edit there leaves the stream alone.
`final` is the last `resid_post`: there is no further norm.
"""

from lmscope.models.family import Family, attention_parts
from lmscope.models.layouts import AttentionLayout, MlpLayout, Separate
from lmscope.models.norms import LAYER_NORM
from lmscope.models.taps import In, Out

_NORM_AFTER = "it normalises the stream after each sum, not the input of a sublayer"

FAMILY = Family(
    name="bert",
    model_types=("bert",),
    blocks="encoder.layer",
    arrangement="post_norm",
    norm=LAYER_NORM,
    parts={
        "embed": Out("embeddings.word_embeddings"),
        "pos_embed": Out("embeddings.position_embeddings"),
        "resid_pre": In(),
        "attn_in": In("attention.self"),
        "mixer_in": In("attention.self"),
        **attention_parts("attention.self"),
        "attn_out": Out("attention.output.dropout"),
        "mixer_out": Out("attention.output.dropout"),
        "resid_mid": Out("attention.output"),
        "mlp_in": In("intermediate"),
        "mlp_hidden": In("output.dense"),
        "mlp_out": Out("output.dropout"),
        "resid_post": Out(),
        "final": Out("encoder"),
    },
    norms={
        "embed": "embeddings.LayerNorm",
        "resid_mid": "attention.output.LayerNorm",
        "resid_post": "output.LayerNorm",
    },
    absent={
        "attn_norm": _NORM_AFTER,
        "mlp_norm": _NORM_AFTER,
        "mlp_gate": "its feed-forward layer has no gate",
    },
    attention=AttentionLayout(
        "attention.self", Separate("query", "key", "value"), "attention.output.dense"
    ),
    mlp=MlpLayout("intermediate.dense", "output.dense"),
    causal=False,
    head="cls",
    tiny={
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
    },
)
