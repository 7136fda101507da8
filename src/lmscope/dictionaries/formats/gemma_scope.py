"""Gemma Scope: `params.npz` (Gemma 2) and `params.safetensors` with `config.json` (Gemma 3).

JumpReLU dictionaries of raw activations, `f = ReLU(h) (h > threshold)`, `h = x W_enc + b_enc`
(rajamanoharan2024jumprelu). Gemma 2 files do not say what they read: the path does.
"""

import math
import re
import zipfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lmscope.core.errors import ArtifactError
from lmscope.dictionaries.config import DictionaryConfig, JumpReLU
from lmscope.dictionaries.formats.foreign import check_shapes, frozen
from lmscope.dictionaries.formats.format import Given, Imported
from lmscope.dictionaries.formats.reading import (
    check_keys,
    check_present,
    choose_sites,
    in_float32,
    only,
    read_json,
    read_safetensors,
)

FIRST_FILE: Final = "params.npz"
SECOND_FILE: Final = "params.safetensors"
CONFIG_FILE: Final = "config.json"
SKIP: Final = "affine_skip_connection"

KEYS: Final = frozenset(
    (
        *("hf_hook_point_in", "hf_hook_point_out", "width", "model_name", "architecture"),
        *("l0", "affine_connection", "type"),
    )
)

_FIRST: Final = re.compile(
    r"gemma-scope-(?P<size>\d+b)-(?P<stage>pt|it)-(?P<kind>res|mlp|att|transcoders)", re.ASCII
)
_LAYER: Final = re.compile(r"layer_(\d+)(?:$|[/_])", re.ASCII)
_SECOND: Final = re.compile(r"gemma-scope-2-(?P<size>\w+?)-(?P<stage>pt|it)", re.ASCII)
_FIRST_SITES: Final = {
    "res": ("resid_post", "resid_post"),
    "mlp": ("mlp_out", "mlp_out"),
    "att": ("z", "z"),
    "transcoders": ("mlp_norm", "mlp_out"),
}
_SECOND_SITES: Final = {
    "resid_post": ("resid_post", "resid_post"),
    "mlp_out": ("mlp_out", "mlp_out"),
    "attn_out": ("z", "z"),
    "transcoder": ("mlp_in", "mlp_out"),
}
_HOOK: Final = re.compile(r"(?:model\.)?(?:language_model\.)?layers\.(\d+)\.([\w.]+)", re.ASCII)
_HOOK_PART: Final = {
    "output": "resid_post",
    "self_attn.o_proj.input": "z",
    "post_attention_layernorm.output": "attn_out",
    "pre_feedforward_layernorm.output": "mlp_in",
    "post_feedforward_layernorm.output": "mlp_out",
}

_CONVENTION: Final = (
    "Raw activations, JumpReLU with one threshold a latent, b_dec not taken from the input, decoder "
    "rows nearly of norm 1. Transcoders of Gemma 2 read the normalised value before the norm's gain "
    "(mlp_norm), those of Gemma 3 after it (mlp_in); attention dictionaries read the heads side by "
    "side (z)."
)


class _Said(NamedTuple):
    """What path and configuration say."""

    reads: str | None
    writes: str | None
    model: str | None
    is_embedding: bool = False


class _GemmaScope:
    """Reads Gemma Scope and Gemma Scope 2 folders."""

    name = "gemma-scope"
    convention = _CONVENTION

    def recognises(self, folder: Path) -> bool:
        """Whether `params.npz` or `params.safetensors` stands there."""
        return _has(folder, FIRST_FILE) or _has(folder, SECOND_FILE)

    def read(self, folder: Path, given: Given) -> Imported:
        """Read one dictionary, in float32.

        Raises:
            ArtifactError: A file is missing or damaged, or holds an unknown field or value.
            RecipeError: Neither the path nor the files say the site, and none was given.
        """
        folder = folder.parent if folder.is_file() else folder
        if (folder / FIRST_FILE).exists():
            path, config = folder / FIRST_FILE, {}
            tensors, said = _read_npz(path), _said_by_path(folder)
        else:
            path = folder / SECOND_FILE
            config = _config(folder)
            tensors, said = _read_second(path), _said_by_config(config, folder)
        reads, writes = choose_sites(given, said.reads, said.writes, folder)
        made = _weights(tensors, path)
        d_read, d_write = made["W_enc"].shape[1], made["W_dec"].shape[1]
        scale = 1 / math.sqrt(d_read) if said.is_embedding else 1.0
        made |= {"scale_in": torch.tensor(scale), "scale_out": torch.tensor(scale)}
        about = DictionaryConfig(
            reads=(reads,),
            writes=(writes,),
            d_read=d_read,
            d_write=d_write,
            n_latents=len(made["b_enc"]),
            sparsity=JumpReLU(),
            skip="W_skip" in made,
            normalisation="none",
            model=given.model or said.model,
        )
        dictionary = frozen(about, made, path)
        if said.is_embedding:
            dictionary = dictionary.fold()
        return Imported(dictionary, _notes(reads, said), config)


FORMAT: Final = _GemmaScope()


def _has(folder: Path, name: str) -> bool:
    return (folder / name).is_file() or (folder.name == name and folder.is_file())


def _read_npz(path: Path) -> dict[str, Tensor]:
    """The arrays of an npz file; nothing in it is ever unpickled."""
    check_present(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"'{path}' is damaged or only half downloaded ({error}): fetch it again."
        ) from None


def _read_second(path: Path) -> dict[str, Tensor]:
    names = {"w_enc": "W_enc", "w_dec": "W_dec"}
    return {names.get(name, name): t for name, t in read_safetensors(path).items()}


def _weights(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Ours by name: encoder rows as latents, and the skip path the other way round."""
    for name in ("W_enc", "W_dec"):
        if name not in tensors or tensors[name].ndim != 2:
            raise ArtifactError(f"'{path}' lacks '{name}' as a matrix of one dictionary.")
    d_read, n_latents = tensors["W_enc"].shape
    d_write = tensors["W_dec"].shape[1]
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (d_read, n_latents),
        "W_dec": (n_latents, d_write),
        "b_enc": (n_latents,),
        "b_dec": (d_write,),
        "threshold": (n_latents,),
    }
    if SKIP in tensors:
        shapes[SKIP] = (d_read, d_write)
    check_shapes(tensors, shapes, path)
    made = in_float32(tensors)
    made["W_enc"] = made["W_enc"].T.contiguous()
    if SKIP in made:
        made["W_skip"] = made.pop(SKIP).T.contiguous()
    return made


def _said_by_path(folder: Path) -> _Said:
    """What the name of a Gemma 2 repository and of the layer's folder say; None where they do not."""
    path = folder.resolve().as_posix()
    match, layer = _FIRST.search(path), _LAYER.search(path)
    if match is None:
        return _Said(None, None, None)
    suffix = "" if match["stage"] == "pt" else "-it"
    model = f"google/gemma-2-{match['size']}{suffix}"
    if match["kind"] == "res" and layer is None and "/embedding/" in f"{path}/":
        return _Said("embed", "embed", model, is_embedding=True)
    if layer is None:
        return _Said(None, None, model)
    reads, writes = (f"{part}@{layer[1]}" for part in _FIRST_SITES[match["kind"]])
    return _Said(reads, writes, model)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.exists():  # some folders of the release have none
        return {}
    config = read_json(path)
    check_keys(config, KEYS, path)
    only(config.get("architecture", "jump_relu"), ("jump_relu",), "architecture", path)
    only(config.get("type", "sae"), ("sae", "transcoder"), "type", path)
    return config


def _said_by_config(config: dict[str, Any], folder: Path) -> _Said:
    """What a Gemma 3 configuration says, else what the folder's name says."""
    hook_in = config.get("hf_hook_point_in")
    if hook_in is not None:
        reads = _site_of_hook(hook_in)
        writes = _site_of_hook(config.get("hf_hook_point_out", hook_in))
    else:
        reads, writes = _sites_of_folder(folder)
    name = config.get("model_name")
    if not isinstance(name, str):
        match = _SECOND.search(folder.resolve().as_posix())
        return _Said(reads, writes, match and f"google/gemma-3-{match['size']}-{match['stage']}")
    return _Said(reads, writes, name if "/" in name else f"google/{name}")


def _sites_of_folder(folder: Path) -> tuple[str | None, str | None]:
    layer = _LAYER.search(folder.name)
    kind = folder.resolve().parent.name.removesuffix("_all")
    if layer is None or kind not in _SECOND_SITES:
        return None, None
    reads, writes = (f"{part}@{layer[1]}" for part in _SECOND_SITES[kind])
    return reads, writes


def _site_of_hook(hook: str) -> str:
    """Our name of a Hugging Face module's input or output; as it is where there is none."""
    match = _HOOK.fullmatch(hook)
    if match is None or match[2] not in _HOOK_PART:
        return hook
    return f"{_HOOK_PART[match[2]]}@{match[1]}"


def _notes(reads: str, said: _Said) -> tuple[str, ...]:
    notes = ["It reads raw activations; b_dec is not taken from the input."]
    if reads.startswith("mlp_norm@"):
        notes.append(
            f"It reads '{reads}', the normalised value before the norm's gain, which its authors folded "
            "into the MLP: 'mlp_in', after the gain, is another input."
        )
    if reads.startswith("mlp_in@"):
        notes.append(f"It reads '{reads}', the value after the norm's gain.")
    if reads.startswith("z@"):
        notes.append(f"It reads the heads of '{reads}' side by side, [heads x head width] long.")
    if said.is_embedding:
        notes.append(
            "It was trained on embeddings before Gemma multiplies them by sqrt(width); weights and b_dec were "
            "scaled to 'embed', which holds them after that."
        )
    return tuple(notes)
