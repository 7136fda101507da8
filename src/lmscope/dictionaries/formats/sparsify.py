"""sparsify folders (EleutherAI): `cfg.json` and `sae.safetensors`, read and written.

One folder a hookpoint, named by the module: `layers.10`, `layers.5.mlp`, `layers.5.mlp/seed3`. Facts
were checked against eai-sparsify 1.3.3.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.core.errors import ArtifactError, did_you_mean
from lmscope.core.tensor_files import write_tensors
from lmscope.dictionaries.config import DictionaryConfig, TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.formats.foreign import (
    KEPT,
    Fields,
    check_shapes,
    config_of,
    fields_of,
    frozen,
    in_raw_units,
    keep,
    new_folder,
    plain,
    restore,
    rows_are_unit,
    selecting_by_pre,
    sites,
)
from lmscope.dictionaries.formats.format import Given, Imported
from lmscope.dictionaries.formats.reading import read_safetensors

CONFIG_FILE: Final = "cfg.json"
WEIGHTS_FILE: Final = "sae.safetensors"
KEPT_FILE: Final = "lmscope.json"
"""Our own configuration, beside theirs: sparsify's loader prints every field that it does not know."""
KEPT_BIAS_FILE: Final = "lmscope.safetensors"
"""The encoder's bias of an SAE that takes nothing from its input, as it was before `shifted_bias`."""
RUN_FILE: Final = "config.json"
ACTIVATIONS: Final = ("topk", "groupmax")

_MODULE: Final = re.compile(
    r"(?:[a-z_]+\.)*(?:layers|h|layer)\.(?P<layer>\d+)(?:\.(?P<module>[\w.]+))?", re.ASCII
)
_ATTENTION: Final = ("self_attn", "attn", "attention", "mixer")
_MODULE_SITES: Final = {
    None: ("resid_pre", "resid_post"),
    "mlp": ("mlp_in", "mlp_out"),
    **dict.fromkeys(_ATTENTION[:3], ("attn_in", "attn_out")),
    "mixer": ("mixer_in", "mixer_out"),
}
"""What goes into a module and what comes out of it."""
_EMBEDDINGS: Final = ("embed_tokens", "embed_in", "wte", "embeddings")


class Sparsify:
    """sparsify's folders. Shapes on disk: both matrices `[latent, width]`, as here."""

    name: Final = "sparsify"
    convention: Final = (
        "Raw activations in and out. An SAE takes b_dec from its input, a transcoder does not. ReLU "
        "comes before the choice of the k largest, which go by pre-activation alone: decoder norms "
        "have no say. W_skip takes the raw input."
    )

    def recognises(self, folder: Path) -> bool:
        """Whether a folder holds `cfg.json` and `sae.safetensors`."""
        return (folder / CONFIG_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()

    def read(self, folder: Path, given: Given) -> Imported:
        """Read the dictionary of one hookpoint; its site is in the folder's name.

        Raises:
            ArtifactError: A file is missing or damaged, or the activation is not plain top-k.
            RecipeError: The folder's name is no hookpoint, and `given` says no site.
        """
        cfg = fields_of(folder / CONFIG_FILE)
        _check_activation(cfg)
        transcoder = cfg.take("transcode", bool, False)
        hookpoint = hookpoint_of(folder)
        inner, outer = sites_of(hookpoint)
        reads, writes = sites(
            given, inner if transcoder else outer, outer, transcoder=transcoder, source=folder
        )
        run = _run(folder)
        d = cfg.take("d_in", int)
        # 0 is how the number of latents says "as many as the expansion factor gives".
        n = cfg.take("num_latents", int, 0) or d * cfg.take("expansion_factor", int)
        skip = cfg.take("skip_connection", bool, False)
        kept = folder / KEPT_FILE
        found = config_of(
            {
                "reads": (reads,),
                "writes": (writes,),
                "d_read": d,
                "d_write": d,
                "n_latents": n,
                "sparsity": TopK(k=_k(cfg), weight_by_decoder_norm=False).to_mapping(),
                "apply_b_dec_to_input": not transcoder,
                "skip": skip,
                "normalisation": "none",
                "model": given.model or run.get("model"),
            },
            cfg.source,
        )
        cfg.ignore("expansion_factor", "normalize_decoder", "multi_topk")
        cfg.refuse_rest()
        tensors = _read_weights(folder / WEIGHTS_FILE, d, n, skip)
        if (bias := _own_bias(folder, tensors)) is not None:
            tensors["b_enc"] = bias
            found = found.model_copy(update={"apply_b_dec_to_input": False})
        config, note = restore(
            found,
            fields_of(kept).take(KEPT, dict) if kept.is_file() else None,
            given,
            norms_matter=not rows_are_unit(tensors["W_dec"]),
            source=f"'{kept}'",
        )
        notes = [*_notes(config, hookpoint, given), *note]
        metadata = {"hookpoint": hookpoint, **({"run": run} if run else {})}
        return Imported(frozen(config, tensors, folder / WEIGHTS_FILE), tuple(notes), metadata)

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """Write a dictionary so that sparsify loads it with `SparseCoder.load_from_disk`.

        Scales are folded away first; decoder norms too where they choose latents. An SAE that takes
        nothing from its input gets a bias that makes up for what sparsify will take; its own lies
        beside. A dictionary that has been folded comes back from `read` equal in every bit. Name the
        folder by `hookpoint_name` if sparsify's own tools are to find the module.

        Raises:
            ArtifactError: sparsify cannot say what the dictionary does, or something is at `folder`.
        """
        dictionary = _as_topk(dictionary)
        config = dictionary.config
        shifted = not (config.is_transcoder or config.apply_b_dec_to_input)
        own = plain(dictionary.b_enc)
        bias = shifted_bias(dictionary.W_enc, own, dictionary.b_dec) if shifted else own
        cfg = {
            "activation": "topk",
            "expansion_factor": max(1, config.n_latents // config.d_read),
            "normalize_decoder": rows_are_unit(dictionary.W_dec),
            "num_latents": config.n_latents,
            "k": _topk(config).k,
            "multi_topk": False,
            "skip_connection": config.skip,
            "transcode": config.is_transcoder,
            "d_in": config.d_read,
        }
        tensors = {
            "encoder.weight": plain(dictionary.W_enc),
            "encoder.bias": bias,
            "W_dec": plain(dictionary.W_dec),
            "b_dec": plain(dictionary.b_dec),
        }
        if dictionary.W_skip is not None:
            tensors["W_skip"] = plain(dictionary.W_skip)
        with new_folder(folder) as new:
            write_tensors(new / WEIGHTS_FILE, tensors)
            if shifted:
                write_tensors(new / KEPT_BIAS_FILE, {"b_enc": own})
            for name, values in ((CONFIG_FILE, cfg), (KEPT_FILE, {KEPT: keep(config)})):
                (new / name).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


FORMAT: Final = Sparsify()


def shifted_bias(
    W_enc: Float[Tensor, "latent width"],
    b_enc: Float[Tensor, "latent"],
    b_dec: Float[Tensor, "width"],
) -> Float[Tensor, "latent"]:
    """The bias with which an encoder that takes b_dec from its input gives the same: `b_enc + W_enc b_dec`."""
    shift = W_enc.double() @ b_dec.double()
    return (b_enc.double() + shift).to(b_enc.dtype).detach().cpu()


def hookpoint_of(folder: Path) -> str:
    """The hookpoint that a folder is named by; the folders of seeds lie in it."""
    folder = folder.resolve()
    return folder.parent.name if re.fullmatch(r"seed\d+", folder.name) else folder.name


def hookpoint_name(config: DictionaryConfig) -> str | None:
    """The module whose output is written, as sparsify names it; None if no module gives the site."""
    site = config.write_site
    for module, (inner, outer) in _MODULE_SITES.items():
        reads = inner if config.is_transcoder else outer
        if (reads, outer) == (config.read_site.part, site.part):
            return f"layers.{site.layer}" + ("" if module is None else f".{module}")
    return "embed_tokens" if site.part == "embed" and not config.is_transcoder else None


def sites_of(hookpoint: str) -> tuple[str | None, str | None]:
    """The sites at a module's input and output, None for modules that are no site.

    Args:
        hookpoint: A module path as Hugging Face models have it, with or without what stands before
            the layers: `layers.10`, `model.layers.5.mlp`, `transformer.h.3.attn`.
    """
    if hookpoint.rpartition(".")[2] in _EMBEDDINGS:
        return None, "embed"
    match = _MODULE.fullmatch(hookpoint)
    if match is None or match["module"] not in _MODULE_SITES:
        return None, None
    inner, outer = _MODULE_SITES[match["module"]]
    return f"{inner}@{int(match['layer'])}", f"{outer}@{int(match['layer'])}"


def _topk(config: DictionaryConfig) -> TopK:
    if isinstance(config.sparsity, TopK):
        return config.sparsity
    raise ArtifactError(
        f"sparsify keeps the k largest latents of each token, and this dictionary is a "
        f"{config.sparsity.kind} one: choose another format."
    )


def _as_topk(dictionary: Dictionary) -> Dictionary:
    """The same function in raw units, chosen by pre-activation alone."""
    config = dictionary.config
    _topk(config)
    if config.d_read != config.d_write:
        raise ArtifactError(
            "sparsify has one width for input and output; this dictionary reads "
            f"{config.d_read} and writes {config.d_write} coordinates: choose another format."
        )
    return selecting_by_pre(in_raw_units(dictionary, "sparsify"))


def _own_bias(folder: Path, tensors: dict[str, Tensor]) -> Tensor | None:
    """The bias that lies beside, if it and sparsify's still say the same."""
    path = folder / KEPT_BIAS_FILE
    if not path.is_file():
        return None
    kept = read_safetensors(path)
    bias = tensors["b_enc"]
    check_shapes(kept, {"b_enc": tuple(bias.shape)}, path)
    shifted = shifted_bias(tensors["W_enc"], kept["b_enc"], tensors["b_dec"])
    same = kept["b_enc"].dtype == bias.dtype and torch.allclose(shifted, bias)
    return kept["b_enc"] if same else None


def _check_activation(cfg: Fields) -> None:
    activation = cfg.take("activation", str, "topk")
    if activation == "groupmax":
        raise ArtifactError(
            f"{cfg.source} keeps the largest latent of each of k groups (groupmax), which cannot be "
            "taken over."
        )
    if activation != "topk":
        near = did_you_mean(activation, ACTIVATIONS)
        raise ArtifactError(f"{cfg.source} has an unknown activation '{activation}'.{near}")
    if cfg.take("signed", bool, False):
        raise ArtifactError(
            f"{cfg.source} keeps negative latents (signed), which cannot be taken over."
        )


def _k(cfg: Fields) -> int:
    k = cfg.take("k", int)
    if k < 1:
        raise ArtifactError(f"'k' of {cfg.source} must be at least 1; {k} was found.")
    return k


def _read_weights(path: Path, d: int, n: int, skip: bool) -> dict[str, Tensor]:
    tensors = read_safetensors(path)
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.weight": (n, d),
        "encoder.bias": (n,),
        "W_dec": (n, d),
        "b_dec": (d,),
    }
    if skip:
        shapes["W_skip"] = (d, d)
    check_shapes(tensors, shapes, path)
    tensors["W_enc"] = tensors.pop("encoder.weight")
    tensors["b_enc"] = tensors.pop("encoder.bias")
    return tensors


def _notes(config: DictionaryConfig, hookpoint: str, given: Given) -> list[str]:
    taken = "is" if config.apply_b_dec_to_input else "is not"
    notes = [
        "The k largest pre-activations are kept, whatever the norms of their decoder rows.",
        f"b_dec {taken} taken from the input.",
    ]
    if given.writes is None and hookpoint.endswith((".mlp", ".self_attn")):
        notes.append(
            f"'{hookpoint}' was taken as what the layer adds to the stream; in models with a norm "
            "behind it (Gemma 2 and 3) it is the value before that norm, which is no site here."
        )
    return notes


def _run(folder: Path) -> dict[str, Any]:
    """What the run's own configuration says, if it lies above the folder."""
    for parent in (folder.resolve().parent, folder.resolve().parent.parent):
        path = parent / RUN_FILE
        if path.is_file():
            run = fields_of(path)
            found = {name: run.take(name, str, None) for name in ("model", "dataset")}
            return {name: value for name, value in found.items() if value is not None}
    return {}
