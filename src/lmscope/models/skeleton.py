"""Skeletons: models without weights, from their configuration alone, for plans.

Sites, widths and parameters come through the same Family code as those of a loaded model; the
tensors lie on torch's `meta` device and take no memory.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedTokenizerBase

from lmscope.core.errors import ModelError
from lmscope.core.site import Site
from lmscope.models import store
from lmscope.models.catalog import CATALOG, HubSource
from lmscope.models.language_model import LanguageModel
from lmscope.models.loading import auto_class, find_dtype, load_tokenizer, read_config
from lmscope.models.miniature import character_tokenizer
from lmscope.models.published import PUBLISHED
from lmscope.models.quiet import quiet_transformers
from lmscope.models.run_models import model_of


def skeleton(name: str, *, dtype: str | None = None) -> LanguageModel:
    """A model of the right shape and without weights; nothing is fetched.

    Args:
        name: As of `LanguageModel.load`.
        dtype: Number format of the weights; None: as they are stored.

    Returns:
        The model on the `meta` device. Its tokenizer is its own where that lies on this machine
        (see `at_hand`), else a stand-in; its weights hash is empty.

    Raises:
        ModelError: Its configuration is not on this machine and does not come with lmscope.
    """
    folder = at_hand(name)
    values = PUBLISHED.get(name) if folder is None else read_config(folder)
    if values is None:
        raise ModelError(
            f"The shape of '{name}' is not known here, and a plan fetches nothing: give a folder with "
            f"its config.json, fetch it once (`lmscope models get`), or take one of "
            f"{', '.join(sorted(PUBLISHED))}."
        )
    hf = _without_weights(values, name, dtype)
    tokenizer: PreTrainedTokenizerBase = (
        character_tokenizer() if folder is None else load_tokenizer(folder)
    )
    return LanguageModel(hf, tokenizer, name=name, weights_hash="")


def at_hand(name: str) -> Path | None:
    """The folder of a model that lies on this machine; None when it would have to be fetched.

    Raises:
        ModelError: The name is a path at which there is nothing.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return model_of(path)
    if path.suffix == ".gguf" and path.is_file():
        return store.stored_gguf(path, None, None)
    source = CATALOG[name].source if name in CATALOG else None
    if isinstance(source, HubSource):
        return _cached(source.repository)
    if source is not None:
        return store.model_folder(name, None) if store.is_stored(name, None) else None
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelError(
            f"There is no model folder '{name}'. Check the path, or give a catalog name "
            "(`lmscope models list`) or a Hugging Face id."
        )
    return _cached(name)


def block_weights(model: LanguageModel, n_layers: int | None = None) -> list[Tensor]:
    """The matrices of a model's first layers, all of them when `n_layers` is absent."""
    blocks = model.hf.base_model.get_submodule(model.family.blocks)
    assert isinstance(blocks, nn.ModuleList)
    chosen = blocks if n_layers is None else list(blocks)[:n_layers]
    return [weight for block in chosen for weight in block.parameters() if weight.dim() > 1]


def weight_bytes(model: LanguageModel) -> int:
    """Bytes of a model's weights, shared ones once."""
    return sum(weight.numel() * weight.dtype.itemsize for weight in model.hf.parameters())


def forward_flops(model: LanguageModel, deepest: Site, context_length: int) -> int:
    """Floating-point operations of one token in a forward pass that stops after a site.

    Two for each matrix entry of every layer up to the site's, the whole layer counted; attention over
    half of the context on average; the unembedding for `logits` only.
    """
    n_layers = _n_layers_below(model, deepest)
    matrices = 2 * sum(weight.numel() for weight in block_weights(model, n_layers))
    seen = context_length / 2 if model.is_causal else context_length
    attention = int(n_layers * 4 * seen * model.n_heads * model.d_head)
    head = 2 * model.d_model * model.d_vocab if deepest.part == "logits" else 0
    return matrices + attention + head


def _n_layers_below(model: LanguageModel, deepest: Site) -> int:
    if deepest.layer is not None:
        return deepest.layer + 1
    return 0 if deepest.part in ("embed", "pos_embed") else model.n_layers


def _without_weights(values: Mapping[str, Any], name: str, dtype: str | None) -> Any:
    import transformers

    stored = values.get("dtype") or values.get("torch_dtype") or "float32"
    with quiet_transformers():
        try:
            config: PretrainedConfig = AutoConfig.for_model(
                values["model_type"], **{k: v for k, v in values.items() if k != "model_type"}
            )
            auto = getattr(transformers, auto_class(values.get("architectures"), name))
            with torch.device("meta"):
                return auto.from_config(config, dtype=find_dtype(dtype or stored))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"The config.json of '{name}' makes no model: {error}.") from None


def _cached(repository: str) -> Path | None:
    """The folder of a hub model in Hugging Face's cache, if its weights are there too."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = repository.partition("@")
    try:
        found = [
            try_to_load_from_cache(repository, file, revision=revision or None)
            for file in ("config.json", "model.safetensors", "model.safetensors.index.json")
        ]
    except ValueError as error:
        raise ModelError(
            f"'{repository}' is no local folder, no catalog name and no hub id (owner/model)."
        ) from error
    config, *weights = found
    if not isinstance(config, str) or not any(isinstance(path, str) for path in weights):
        return None
    return Path(config).parent
