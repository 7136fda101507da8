"""Llama Scope v1: `hyperparams.json` and `checkpoints/final.safetensors`, raw training weights.

The 256 published dictionaries hold weights in training units and one threshold for all latents.
That threshold was fitted after the weights had been folded, so it belongs to pre-activations of raw
inputs, times the norm of the folded decoder row (he2024llamascope, the authors' order of operations).
"""

import math
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from lmscope.core.errors import ArtifactError
from lmscope.dictionaries.config import DictionaryConfig, JumpReLU, ReLU, Sparsity, TopK
from lmscope.dictionaries.folding import decoder_norms
from lmscope.dictionaries.formats.foreign import check_shapes, frozen
from lmscope.dictionaries.formats.format import Given, Imported
from lmscope.dictionaries.formats.reading import (
    check_keys,
    choose_sites,
    in_float32,
    only,
    peek_json,
    read_json,
    read_safetensors,
)

HYPERPARAMS_FILE: Final = "hyperparams.json"
WEIGHTS_FILE: Final = "checkpoints/final.safetensors"
MODEL_FILE: Final = "lm_config.json"

KEYS: Final = frozenset(
    (
        *("device", "seed", "dtype", "hook_point_in", "hook_point_out", "use_decoder_bias"),
        *("apply_decoder_bias_to_pre_encoder", "expansion_factor", "d_model", "d_sae"),
        *("bias_init_method", "act_fn", "jump_relu_threshold", "norm_activation"),
        *("dataset_average_activation_norm", "decoder_exactly_fixed_norm"),
        *("sparsity_include_decoder_norm", "use_glu_encoder", "init_decoder_norm"),
        *("init_encoder_norm", "init_encoder_with_decoder_transpose", "lp"),
        *("l1_coefficient", "l1_coefficient_warmup_steps", "top_k", "k_warmup_steps"),
        *("use_batch_norm_mse", "use_ghost_grads", "tp_size", "ddp_size"),
    )
)
"""The 30 fields of `hyperparams.json`."""

_EXACT: Final[dict[str, tuple[Any, ...]]] = {
    "act_fn": ("jumprelu", "topk", "relu"),
    "norm_activation": ("dataset-wise",),
    "apply_decoder_bias_to_pre_encoder": (False,),
    "sparsity_include_decoder_norm": (True,),
    "use_glu_encoder": (False,),
}
"""Values whose inference is known and can be represented."""

_REPOSITORY: Final = re.compile(r"Llama3_1-8B-Base-L\d*[XRAMTC]+", re.ASCII)

_CONVENTION: Final = (
    "Weights are in training units and decoder rows are not of norm 1; the reader folds them in the "
    "authors' order, so that the threshold holds for raw pre-activations times the norm of the "
    "decoder row. `top_k` is a left-over of training, not the gate."
)


class _LlamaScope:
    """Reads Llama Scope v1 folders: R, A, M and the transcoders TC."""

    name = "llama-scope"
    convention = _CONVENTION

    def recognises(self, folder: Path) -> bool:
        """Whether `hyperparams.json` stands there with Llama Scope's fields."""
        return "dataset_average_activation_norm" in peek_json(folder / HYPERPARAMS_FILE)

    def read(self, folder: Path, given: Given) -> Imported:
        """Read one dictionary, in float32.

        Raises:
            ArtifactError: A file is missing or damaged, or holds an unknown field or value.
            RecipeError: A hook point has no site here, and none was given.
        """
        path = folder / HYPERPARAMS_FILE
        values = read_json(path)
        check_keys(values, KEYS, path)
        for field, allowed in _EXACT.items():
            only(_field(values, field, path), allowed, field, path)
        weights = folder / WEIGHTS_FILE
        tensors = read_safetensors(weights)
        d_model, n_latents = _size(values, "d_model", path), _size(values, "d_sae", path)
        if not _field(values, "use_decoder_bias", path):
            tensors.setdefault("decoder.bias", torch.zeros(d_model))
        check_shapes(tensors, _shapes(d_model, n_latents), weights)
        hook_in = _field(values, "hook_point_in", path)
        reads, writes = choose_sites(given, hook_in, _field(values, "hook_point_out", path), path)
        folded = _fold(in_float32(tensors), *_scales(values, d_model, path))
        sparsity, threshold = _gate(values, n_latents, path)
        config = DictionaryConfig(
            reads=(reads,),
            writes=(writes,),
            d_read=d_model,
            d_write=d_model,
            n_latents=n_latents,
            sparsity=sparsity,
            normalisation="none",
            model=given.model or _model(folder),
        )
        made = folded._asdict()
        if threshold is not None:
            made["threshold"] = threshold
        return Imported(frozen(config, made, weights), _notes(values, reads), values)


FORMAT: Final = _LlamaScope()


class _Folded(NamedTuple):
    """Weights that read and write raw activations."""

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor


def _fold(tensors: dict[str, Tensor], scale_in: float, scale_out: float) -> _Folded:
    """Raw units, then decoder rows of norm 1, in the authors' order (he2024llamascope)."""
    W_enc = tensors["encoder.weight"]
    b_enc = tensors["encoder.bias"] / scale_in
    b_dec = tensors["decoder.bias"] / scale_out
    W_dec = tensors["decoder.weight"].T.contiguous() * (scale_in / scale_out)
    norms = decoder_norms(W_dec)
    # A row of zeros adds nothing: it stays as it is, and its latent never fires.
    W_dec = W_dec / torch.where(norms > 0, norms, torch.ones_like(norms))[:, None]
    return _Folded(W_enc * norms[:, None], b_enc * norms, W_dec, b_dec)


def _scales(values: dict[str, Any], d_model: int, path: Path) -> tuple[float, float]:
    norms = _field(values, "dataset_average_activation_norm", path)
    found = [norms.get(side) if isinstance(norms, dict) else None for side in ("in", "out")]
    scales = [math.sqrt(d_model) / n for n in found if isinstance(n, int | float) and n > 0]
    if len(scales) != 2:
        raise ArtifactError(
            f"'{path}' needs the mean norms of its activations as "
            f"dataset_average_activation_norm = {{in, out}}, above 0; it has {norms!r}."
        )
    return scales[0], scales[1]


def _gate(values: dict[str, Any], n_latents: int, path: Path) -> tuple[Sparsity, Tensor | None]:
    if values["act_fn"] == "relu":
        return ReLU(), None
    if values["act_fn"] == "topk":
        return TopK(k=_size(values, "top_k", path)), None
    threshold = _field(values, "jump_relu_threshold", path)
    if not isinstance(threshold, int | float) or not 0 <= threshold < math.inf:
        raise ArtifactError(
            f"'{path}' needs a jump_relu_threshold of at least 0, it has {threshold!r}."
        )
    return JumpReLU(), torch.full((n_latents,), float(threshold))


def _shapes(d_model: int, n_latents: int) -> dict[str, tuple[int, ...]]:
    return {
        "encoder.weight": (n_latents, d_model),
        "encoder.bias": (n_latents,),
        "decoder.weight": (d_model, n_latents),
        "decoder.bias": (d_model,),
    }


def _field(values: dict[str, Any], field: str, path: Path) -> Any:
    if field not in values:
        raise ArtifactError(f"'{path}' lacks '{field}', without which its weights mean nothing.")
    return values[field]


def _size(values: dict[str, Any], field: str, path: Path) -> int:
    size = _field(values, field, path)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ArtifactError(f"'{path}' has {field} = {size!r}, no whole number of at least 1.")
    return size


def _model(folder: Path) -> str | None:
    """From the file beside the weights, else from the name that the authors gave the folder."""
    name = peek_json(folder / MODEL_FILE).get("model_name")
    if isinstance(name, str):
        return name
    return "meta-llama/Llama-3.1-8B" if _REPOSITORY.search(str(folder.resolve())) else None


def _notes(values: dict[str, Any], reads: str) -> tuple[str, ...]:
    notes = [
        "The weights were folded in the authors' order: raw activations in and out, decoder rows of norm 1."
    ]
    if values["act_fn"] == "jumprelu":
        notes.append(
            f"A latent fires where its folded pre-activation exceeds {values['jump_relu_threshold']:g}; "
            f"top_k = {values.get('top_k')} of the file is not used."
        )
    if reads.startswith("mlp_norm@"):
        notes.append(
            f"It reads '{reads}', the normalised value before the norm's gain: 'mlp_in', after the "
            "gain, is another input."
        )
    notes.append("It was trained without the first position (BOS), where it means nothing.")
    return tuple(notes)
