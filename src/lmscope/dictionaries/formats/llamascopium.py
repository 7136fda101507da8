"""Llamascopium v2: `config.json` with a `sae_type`, and `sae_weights.safetensors`.

With `x` scaled to norm sqrt(d_model) on average: `h = x W_E + b_E`, `f = act(h n) / n` where n is the
norm of the latent's decoder row, `y = f W_D + b_D`, back in raw units by the written site's scale.
"""

import math
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from lmscope.core.errors import ArtifactError, did_you_mean
from lmscope.dictionaries.config import (
    BatchTopK,
    DictionaryConfig,
    JumpReLU,
    ReLU,
    Sparsity,
    TopK,
)
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

CONFIG_FILE: Final = "config.json"
WEIGHTS_FILES: Final = (
    "sae_weights.safetensors",
    "checkpoints/pruned.safetensors",
    "checkpoints/final.safetensors",
)
"""Where weights may lie, in the order in which the library itself looks."""

KEYS: Final = frozenset(
    (
        *("sae_type", "device", "dtype", "d_model", "expansion_factor", "use_decoder_bias"),
        *("act_fn", "norm_activation", "sparsity_include_decoder_norm", "top_k"),
        *("use_triton_kernel", "sparsity_threshold_for_triton_spmm_kernel"),
        *("jumprelu_threshold_window", "hook_point_in", "hook_point_out"),
        *("use_glu_encoder",),
    )
)

_REFUSED: Final = {
    "crosscoder": "reads several sites at once",
    "clt": "writes several sites at once",
    "molt": "is a mixture of linear transforms",
    "lorsa": "is an attention layer, not a dictionary over single tokens",
}
_THRESHOLD: Final = "activation_function.log_jumprelu_threshold"
_NORM: Final = "dataset_average_activation_norm."

_CONVENTION: Final = (
    "Inputs are scaled to norm sqrt(d_model) on average unless the weights were folded "
    "(norm_activation = inference); gates see pre-activations times the norm of the decoder row; "
    "thresholds are stored as logarithms. The reader folds all of it."
)


class _Llamascopium:
    """Reads Llamascopium v2 folders of `sae_type` sae: SAEs and transcoders."""

    name = "llamascopium"
    convention = _CONVENTION

    def recognises(self, folder: Path) -> bool:
        """Whether `config.json` names a `sae_type`."""
        return "sae_type" in peek_json(folder / CONFIG_FILE)

    def read(self, folder: Path, given: Given) -> Imported:
        """Read one dictionary, in float32.

        Raises:
            ArtifactError: A file is missing or damaged, or holds an unknown field or value.
            RecipeError: A hook point has no site here, and none was given.
        """
        path = folder / CONFIG_FILE
        values = _checked(read_json(path), path)
        weights = _weights_file(folder)
        tensors = read_safetensors(weights)
        norms = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_NORM)}
        d_model, n_latents = values["d_model"], int(values["d_model"] * values["expansion_factor"])
        if not values.get("use_decoder_bias", True):
            tensors["b_D"] = torch.zeros(d_model)
        is_jumprelu = values["act_fn"] == "jumprelu"
        check_shapes(tensors, _shapes(d_model, n_latents, is_jumprelu), weights)
        hooks = values["hook_point_in"], values["hook_point_out"]
        scales = tuple(_scale(values, norms, hook, weights) for hook in hooks)
        reads, writes = choose_sites(given, *hooks, path)
        config = DictionaryConfig(
            reads=(reads,),
            writes=(writes,),
            d_read=d_model,
            d_write=d_model,
            n_latents=n_latents,
            sparsity=_sparsity(values),
            model=given.model,
        )
        made = _weights(in_float32(tensors), values.get("sparsity_include_decoder_norm", True))
        made |= {"scale_in": torch.tensor(scales[0]), "scale_out": torch.tensor(scales[1])}
        if isinstance(config.sparsity, BatchTopK):
            made["threshold"] = torch.tensor(torch.nan)
            # Folding would make the missing threshold one that no latent ever passes.
            return Imported(frozen(config, made, weights), _notes(values), values)
        return Imported(frozen(config, made, weights).fold(), _notes(values), values)


FORMAT: Final = _Llamascopium()


def _checked(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """The fields, once it is certain that each means what it is taken to mean."""
    kind = values.get("sae_type")
    if kind in _REFUSED:
        raise ArtifactError(f"'{path}' is a {kind}, which {_REFUSED[kind]}: it cannot be imported.")
    if kind != "sae":
        raise ArtifactError(
            f"'{path}' has the unknown sae_type {kind!r}.{did_you_mean(str(kind), ['sae', *_REFUSED])}"
        )
    check_keys(values, KEYS, path)
    needed = ("d_model", "expansion_factor", "act_fn", "hook_point_in", "hook_point_out")
    for field in (*needed, "norm_activation"):
        if field not in values:
            raise ArtifactError(
                f"'{path}' lacks '{field}', without which its weights mean nothing."
            )
    only(values["act_fn"], ("relu", "jumprelu", "topk", "batchtopk"), "act_fn", path)
    only(values["norm_activation"], ("dataset-wise", "inference"), "norm_activation", path)
    only(values.get("use_glu_encoder", False), (False,), "use_glu_encoder", path)
    if values["act_fn"] == "batchtopk":
        weighted = values.get("sparsity_include_decoder_norm", True)
        only(weighted, (True,), "sparsity_include_decoder_norm", path)
    for field in ("d_model", "expansion_factor"):
        if not isinstance(values[field], int | float) or values[field] <= 0:
            raise ArtifactError(f"'{path}' has {field} = {values[field]!r}, no number above 0.")
    return values


def _weights_file(folder: Path) -> Path:
    for name in WEIGHTS_FILES:
        if (folder / name).is_file():
            return folder / name
    for name in WEIGHTS_FILES:
        for suffix in (".pt", ".dcp"):
            if (folder / name).with_suffix(suffix).exists():
                raise ArtifactError(
                    f"'{(folder / name).with_suffix(suffix)}' is no safetensors file: save the dictionary "
                    "again as sae_weights.safetensors with the library that wrote it."
                )
    return folder / WEIGHTS_FILES[0]


def _shapes(d_model: int, n_latents: int, is_jumprelu: bool) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "W_E": (d_model, n_latents),
        "b_E": (n_latents,),
        "W_D": (n_latents, d_model),
        "b_D": (d_model,),
    }
    return shapes | {_THRESHOLD: (n_latents,)} if is_jumprelu else shapes


def _scale(values: dict[str, Any], norms: dict[str, Tensor], hook: str, path: Path) -> float:
    if values["norm_activation"] == "inference":
        return 1.0
    norm = norms.get(_NORM + hook)
    if norm is None or not 0 < float(norm) < math.inf:
        raise ArtifactError(
            f"'{path}' needs the mean norm of its activations as '{_NORM}{hook}', above 0."
        )
    return math.sqrt(values["d_model"]) / float(norm)


def _sparsity(values: dict[str, Any]) -> Sparsity:
    k = values.get("top_k", 50)
    match values["act_fn"]:
        case "topk":
            weighted = values.get("sparsity_include_decoder_norm", True)
            return TopK(k=k, weight_by_decoder_norm=weighted)
        case "batchtopk":
            return BatchTopK(k=k)
        case "jumprelu":
            return JumpReLU()
        case _:
            return ReLU()


def _weights(tensors: dict[str, Tensor], gates_see_norms: bool) -> dict[str, Tensor]:
    made = {
        "W_enc": tensors["W_E"].T.contiguous(),
        "b_enc": tensors["b_E"],
        "W_dec": tensors["W_D"],
        "b_dec": tensors["b_D"],
    }
    if _THRESHOLD in tensors:
        threshold = tensors[_THRESHOLD].exp()
        if gates_see_norms:
            # act(h n) with threshold t is a gate on h at t / n; a row of zeros never adds anything.
            norms = decoder_norms(made["W_dec"])
            threshold = torch.where(norms > 0, threshold / norms, torch.zeros_like(norms))
        made["threshold"] = threshold
    return made


def _notes(values: dict[str, Any]) -> tuple[str, ...]:
    folded = values["norm_activation"] == "inference"
    notes = [
        "The weights already read raw activations (norm_activation = inference)."
        if folded
        else "The mean norms of the activations were folded into the weights: raw activations in and out."
    ]
    if values["act_fn"] == "jumprelu":
        notes.append("Thresholds were stored as logarithms, one a latent.")
        if values.get("sparsity_include_decoder_norm", True):
            notes.append("They hold for pre-activations times the norm of the decoder row.")
    if values["act_fn"] == "batchtopk":
        notes.append(
            "No threshold is stored for inference: estimate one with `calibrate_threshold` before use."
        )
    return tuple(notes)
