"""qwen2: llama with biases on queries, keys and values."""

from dataclasses import replace

from lmscope.models.families import llama

FAMILY = replace(llama.FAMILY, name="qwen2", model_types=("qwen2",))
