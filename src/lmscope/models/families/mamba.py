"""mamba: blocks of one selective state-space mixer each, no attention and no positions."""

from lmscope.models.family import STATE_SPACE_PARTS, Family
from lmscope.models.norms import RMS_NORM
from lmscope.models.taps import In, Out

_NO_ATTENTION = "it has no attention; its blocks have mixer_in and mixer_out"
_ONE_SUBLAYER = "its blocks have one sublayer; see mixer_in and mixer_out"

FAMILY = Family(
    name="mamba",
    model_types=("mamba",),
    blocks="layers",
    arrangement="mixer",
    norm=RMS_NORM,
    parts={
        "embed": Out("embeddings"),
        "resid_pre": In(),
        "mixer_in": In("mixer"),
        "mixer_out": Out("mixer"),
        "resid_post": Out(),
        "final": Out("norm_f"),
    },
    norms={"mixer_in": "norm", "final": "norm_f"},
    absent={
        "pos_embed": "it takes no positions: its state carries the order",
        **dict.fromkeys(
            ("attn_norm", "attn_in", "attn_out", "q", "k", "v", "scores", "pattern", "z"),
            _NO_ATTENTION,
        ),
        **dict.fromkeys(
            ("resid_mid", "mlp_norm", "mlp_in", "mlp_gate", "mlp_hidden", "mlp_out"), _ONE_SUBLAYER
        ),
        **dict.fromkeys(STATE_SPACE_PARTS, "the inside of its mixer is not covered yet"),
    },
    positioned=False,
    cache_argument="cache_params",
    tiny={"hidden_size": 32, "num_hidden_layers": 3, "state_size": 4, "time_step_rank": 4},
)
