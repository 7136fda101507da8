"""roberta: bert whose positions are counted from the padding id on."""

from dataclasses import replace

from transformers import PretrainedConfig

from lmscope.models.families import bert
from lmscope.models.family import Family


def _count_from_padding(family: Family, config: PretrainedConfig) -> Family:
    return replace(family, first_position=(config.pad_token_id or 0) + 1)


FAMILY = replace(
    bert.FAMILY,
    name="roberta",
    model_types=("roberta",),
    head="lm_head",
    adapt=_count_from_padding,
)
