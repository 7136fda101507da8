"""gpt2: layer norms, learned positions, one fused matrix for queries, keys and values."""

from lmscope.models.family import Family, attention_parts
from lmscope.models.layouts import AttentionLayout, Fused, MlpLayout
from lmscope.models.norms import LAYER_NORM
from lmscope.models.taps import In, Normalised, Out, StreamAfter

FAMILY = Family(
    name="gpt2",
    model_types=("gpt2",),
    blocks="h",
    arrangement="sequential",
    norm=LAYER_NORM,
    parts={
        "embed": Out("wte"),
        "pos_embed": Out("wpe"),
        "resid_pre": In(),
        "attn_norm": Normalised("ln_1"),
        "attn_in": In("attn"),
        "mixer_in": In("attn"),
        **attention_parts("attn"),
        "attn_out": Out("attn"),
        "mixer_out": Out("attn"),
        "resid_mid": StreamAfter("ln_2"),
        "mlp_norm": Normalised("ln_2"),
        "mlp_in": In("mlp"),
        "mlp_hidden": In("mlp.c_proj"),
        "mlp_out": Out("mlp"),
        "resid_post": Out(),
        "final": Out("ln_f"),
    },
    norms={"attn_norm": "ln_1", "mlp_norm": "ln_2", "final": "ln_f"},
    absent={"mlp_gate": "its feed-forward layer has no gate"},
    attention=AttentionLayout("attn", Fused("c_attn", kind_first=True), "attn.c_proj"),
    mlp=MlpLayout("mlp.c_fc", "mlp.c_proj"),
    tiny={"n_embd": 32, "n_inner": 48, "n_layer": 3, "n_head": 4, "n_positions": 128},
)
