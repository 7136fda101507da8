"""SAELens folders: `cfg.json` and `sae_weights.safetensors`, read and written.

Every kind of inference SAE and transcoder that a ReLU, a TopK or a threshold describes, gated ones
among them; files from before version 6 are read too. Facts were checked against SAELens 6.54.12.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from lmscope.core.errors import ArtifactError, did_you_mean
from lmscope.core.tensor_files import write_tensors
from lmscope.dictionaries.config import DictionaryConfig, JumpReLU, ReLU, TopK
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
    sites,
)
from lmscope.dictionaries.formats.format import Given, Imported
from lmscope.dictionaries.formats.reading import read_safetensors

CONFIG_FILE: Final = "cfg.json"
WEIGHTS_FILE: Final = "sae_weights.safetensors"
SCALER_FILE: Final = "activation_scaler.json"
LAYOUT_VERSION: Final = "6.54.12"
"""The SAELens version whose layout is written."""


class _Kind(NamedTuple):
    sparsity: str
    transcoder: bool = False
    skip: bool = False
    gated: bool = False


_KINDS: Final = {
    "standard": _Kind("relu"),
    "topk": _Kind("topk"),
    "jumprelu": _Kind("jumprelu"),
    "gated": _Kind("jumprelu", gated=True),
    "transcoder": _Kind("relu", transcoder=True),
    "skip_transcoder": _Kind("relu", transcoder=True, skip=True),
    "jumprelu_transcoder": _Kind("jumprelu", transcoder=True),
    "jumprelu_skip_transcoder": _Kind("jumprelu", transcoder=True, skip=True),
}
_ARCHITECTURES: Final = {kind: name for name, kind in _KINDS.items()}
_REFUSED: Final = {
    "abstopk": "keeps negative latents",
    "matching_pursuit": "chooses its latents one after another",
    "temporal": "predicts each token from those before it",
    "batchtopk": "is a training checkpoint: load it in SAELens and use save_inference_model",
    "matryoshka_batchtopk": "is a training checkpoint: load it in SAELens and use "
    "save_inference_model",
}
_REFUSED_NORMALISATION: Final = {
    "layer_norm": "standardises every token by its own mean and deviation",
    "constant_norm_rescale": "rescales every token by its own norm",
    "covariance_whitening": "whitens its input by a matrix that is not folded into the weights",
}
_TRAINING_FIELDS: Final = (
    *("device", "decoder_init_norm", "l1_coefficient", "lp_norm", "l1_warm_up_steps"),
    *("use_sparse_activations", "aux_loss_coefficient", "jumprelu_init_threshold"),
    *("jumprelu_bandwidth", "jumprelu_sparsity_loss_mode", "l0_coefficient", "l0_warm_up_steps"),
    *("pre_act_loss_coefficient", "jumprelu_tanh_scale", "jumprelu_ste_to_input", "target_l0"),
)
_RENAMED: Final = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
_FLAT_METADATA: Final = (
    *("model_name", "hook_name", "hook_name_out", "hook_head_index", "model_class_name"),
    *("model_from_pretrained_kwargs", "prepend_bos", "context_size", "seqpos_slice"),
    *("dataset_path", "neuronpedia_id", "sae_lens_version", "sae_lens_training_version"),
)
_DTYPES: Final = {
    "float32": torch.float32,
    "float64": torch.float64,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


class SAELens:
    """SAELens' own folders. Shapes on disk: `W_enc [read, latent]`, `W_dec [latent, write]`."""

    name: Final = "sae-lens"
    convention: Final = (
        "Raw activations in and out. b_dec is taken from the input where apply_b_dec_to_input says "
        "so. A topk SAE with rescale_acts_by_decoder_norm chooses by pre-activation times decoder "
        "norm, and its own latents are that product, where ours are the pre-activation; outputs are "
        "equal. Thresholds are of pre-activations, one a latent. W_skip takes the raw input."
    )

    def recognises(self, folder: Path) -> bool:
        """Whether a folder holds `cfg.json` and `sae_weights.safetensors`."""
        return (folder / CONFIG_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()

    def read(self, folder: Path, given: Given) -> Imported:
        """Read a dictionary that SAELens saved for inference.

        Weights take the dtype that the config names, as in SAELens.

        Raises:
            ArtifactError: A file is missing or damaged, an architecture, a field or a
                normalisation cannot be taken over exactly.
            RecipeError: The hook name is no site here, and `given` says none.
        """
        cfg, metadata, notes = _read_config(folder / CONFIG_FILE)
        architecture = cfg.take("architecture", str, "standard")
        kind = _kind(architecture, cfg.source)
        if isinstance(metadata.get("hook_head_index"), int):
            raise ArtifactError(
                f"{cfg.source} reads one attention head of '{metadata.get('hook_name')}' "
                "(hook_head_index), which is no site here."
            )
        tensors, scale = _read_weights(folder, cfg, kind, notes)
        reads, writes = sites(
            given,
            metadata.get("hook_name"),
            metadata.get("hook_name_out"),
            transcoder=kind.transcoder,
            source=folder / CONFIG_FILE,
        )
        found = config_of(
            {
                **_values(cfg, kind, notes),
                "reads": (reads,),
                "writes": (writes,),
                "skip": kind.skip,
                "normalisation": "none" if scale == 1 else "mean_norm",
                "model": given.model or metadata.get("model_name"),
            },
            cfg.source,
        )
        cfg.refuse_rest()
        config, note = restore(
            found,
            metadata.pop(KEPT, None),
            given,
            norms_matter=not rows_are_unit(tensors["W_dec"]),
            source=cfg.source,
        )
        for name in ("scale_in", "scale_out"):
            tensors[name] = torch.tensor(scale, dtype=tensors["W_enc"].dtype)
        dictionary = frozen(config, tensors, folder / WEIGHTS_FILE)
        return Imported(dictionary, (*notes, *note), metadata)

    def write(
        self, dictionary: Dictionary, folder: Path, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Write a dictionary so that SAELens loads it with `SAE.load_from_disk`.

        Scales are folded away first, and BatchTopK becomes a threshold at every latent. A dictionary
        that has been folded comes back from `read` equal in every bit.

        Args:
            dictionary: What to write.
            folder: A new folder.
            metadata: What else SAELens may know: prepend_bos, context_size, l0, dataset_path.

        Raises:
            ArtifactError: SAELens has no such architecture, or something is at `folder`.
        """
        dictionary = in_raw_units(dictionary, "SAELens")
        config = dictionary.config
        kind = _Kind(config.sparsity.kind, config.is_transcoder or config.skip, config.skip)
        if kind not in _ARCHITECTURES:
            raise ArtifactError(
                f"SAELens has no {config.sparsity.kind} transcoder: give the dictionary a threshold "
                "with calibrate_threshold first, or choose another format."
            )
        if kind.transcoder and config.apply_b_dec_to_input:
            dictionary = dictionary.fold()  # SAELens takes b_dec from the input of SAEs only
            config = dictionary.config
        cfg = {
            "architecture": _ARCHITECTURES[kind],
            "d_in": config.d_read,
            "d_sae": config.n_latents,
            "dtype": str(dictionary.W_enc.dtype).removeprefix("torch."),
            "device": "cpu",
            "apply_b_dec_to_input": config.apply_b_dec_to_input,
            "normalize_activations": "none",
            "reshape_activations": "hook_z" if config.read_site.part == "z" else "none",
            **({"d_out": config.d_write} if kind.transcoder else {}),
            **_topk_fields(dictionary),
            "metadata": {**(metadata or {}), **_metadata(config)},
        }
        with new_folder(folder) as new:
            write_tensors(new / WEIGHTS_FILE, _tensors(dictionary))
            text = json.dumps(cfg, indent=1) + "\n"
            (new / CONFIG_FILE).write_text(text, encoding="utf-8")


FORMAT: Final = SAELens()


def _read_config(path: Path) -> tuple[Fields, dict[str, Any], list[str]]:
    """The fields, the metadata, and notes; old flat files in the present form."""
    fields = fields_of(path)
    metadata = dict(fields.take("metadata", dict, {}))
    flat_version = fields.take("sae_lens_version", str, None)
    version = flat_version or metadata.get("sae_lens_version")
    if version is not None and int(re.match(r"\d*", str(version))[0] or 0) >= 6:  # pyright: ignore[reportOptionalSubscript]
        return fields, metadata, []
    values = {_RENAMED.get(name, name): value for name, value in fields.rest().items()}
    metadata |= {name: values.pop(name) for name in _FLAT_METADATA if name in values}
    fields = Fields(values, fields.source)
    _refuse_old(fields)
    if version is not None:
        metadata["sae_lens_version"] = version
    if "hook_z" in str(metadata.get("hook_name")):
        values.setdefault("reshape_activations", "hook_z")
    if fields.take("activation_fn", str, "relu") == "topk":
        options = fields.take("activation_fn_kwargs", dict, {})
        values |= {"architecture": "topk", "k": options.get("k")}
    if isinstance(values.get("normalize_activations"), bool):
        on = values["normalize_activations"]
        values["normalize_activations"] = "expected_average_only_in" if on else "none"
    inference = {
        *("architecture", "d_in", "d_sae", "dtype", "apply_b_dec_to_input", "k", "d_out"),
        *("normalize_activations", "reshape_activations", "rescale_acts_by_decoder_norm"),
    }
    # The rest of a flat file is the configuration of the training run, and is told as metadata.
    metadata |= {name: value for name, value in values.items() if name not in inference}
    kept = {name: value for name, value in values.items() if name in inference}
    notes = ["Written by a SAELens before 6.0: read as SAELens 6 reads it."]
    return Fields(kept, fields.source), metadata, notes


def _refuse_old(fields: Fields) -> None:
    activation = fields.take("activation_fn", str, "relu")
    if activation not in ("relu", "topk"):
        raise ArtifactError(
            f"{fields.source} has the activation '{activation}'; relu and topk are read."
        )
    if fields.take("finetuning_scaling_factor", bool, False):
        raise ArtifactError(
            f"{fields.source} has a finetuning_scaling_factor, which SAELens no longer applies "
            "either: fold it into W_dec and set it to false."
        )


def _kind(architecture: str, source: str) -> _Kind:
    if architecture in _REFUSED:
        raise ArtifactError(
            f"{source} is a SAELens '{architecture}' dictionary, which cannot be taken over: "
            f"it {_REFUSED[architecture]}."
        )
    if architecture not in _KINDS:
        near = did_you_mean(architecture, _KINDS)
        raise ArtifactError(f"{source} has an unknown architecture '{architecture}'.{near}")
    return _KINDS[architecture]


def _values(cfg: Fields, kind: _Kind, notes: list[str]) -> dict[str, Any]:
    """The values of our config that the fields decide."""
    d_read = cfg.take("d_in", int)
    reshape = cfg.take("reshape_activations", str, "none")
    if reshape not in ("none", "hook_z"):
        raise ArtifactError(f"{cfg.source} reshapes activations by '{reshape}', which is unknown.")
    if reshape == "hook_z":
        notes.append("The heads of z are one after another in its input and its output.")
    apply_b_dec = cfg.take("apply_b_dec_to_input", bool, not kind.transcoder)
    if apply_b_dec and kind.transcoder:
        raise ArtifactError(
            f"{cfg.source} takes b_dec from the input of a transcoder, which SAELens refuses too."
        )
    cfg.ignore(*_TRAINING_FIELDS)
    return {
        "d_read": d_read,
        "d_write": cfg.take("d_out", int) if kind.transcoder else d_read,
        "n_latents": cfg.take("d_sae", int),
        "apply_b_dec_to_input": apply_b_dec,
        "sparsity": _sparsity(cfg, kind, notes).to_mapping(),
    }


def _sparsity(cfg: Fields, kind: _Kind, notes: list[str]) -> ReLU | TopK | JumpReLU:
    if kind.sparsity == "relu":
        return ReLU()
    if kind.sparsity == "jumprelu":
        return JumpReLU()
    k = cfg.take("k", int)
    if k < 1:
        raise ArtifactError(f"'k' of {cfg.source} must be at least 1; {k} was found.")
    rescale = cfg.take("rescale_acts_by_decoder_norm", bool, False)
    if rescale:
        notes.append(
            "SAELens multiplies these latents by the norms of their decoder rows, here they stay as "
            "they are; the choice and the output are the same."
        )
    return TopK(k=k, weight_by_decoder_norm=rescale)


def _read_weights(
    folder: Path, cfg: Fields, kind: _Kind, notes: list[str]
) -> tuple[dict[str, Tensor], float]:
    """Our tensors, and the scale of their input and output."""
    path = folder / WEIGHTS_FILE
    tensors = read_safetensors(path)
    factor = tensors.pop("scaling_factor", None)
    if factor is not None and not bool((factor == 1).all()):
        raise ArtifactError(
            f"'{path}' holds a scaling_factor other than 1, which SAELens no longer applies: fold it "
            "into W_dec and remove it."
        )
    d_read, n = cfg.take("d_in", int), cfg.take("d_sae", int)
    d_write = cfg.take("d_out", int) if kind.transcoder else d_read
    check_shapes(tensors, _shapes(kind, d_read, n, d_write), path)
    dtype = _dtype(cfg)
    if any(tensor.dtype != dtype for tensor in tensors.values()):
        notes.append(f"Tensors were converted to {dtype}, which the configuration names.")
    tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    tensors["W_enc"] = tensors["W_enc"].T
    if kind.gated:
        _ungate(tensors, notes)
    return tensors, _scale(folder, cfg, kind, notes)


def _shapes(kind: _Kind, d_read: int, n: int, d_write: int) -> dict[str, tuple[int, ...]]:
    biases = ("b_gate", "b_mag", "r_mag") if kind.gated else ("b_enc",)
    if kind.sparsity == "jumprelu" and not kind.gated:
        biases = (*biases, "threshold")
    return {
        "W_enc": (d_read, n),
        "W_dec": (n, d_write),
        "b_dec": (d_write,),
        **dict.fromkeys(biases, (n,)),
        **({"W_skip": (d_write, d_read)} if kind.skip else {}),
    }


def _ungate(tensors: dict[str, Tensor], notes: list[str]) -> None:
    """A gate as a threshold (rajamanoharan2024gated, section 3.2).

    The gate `W x + b_gate > 0` and the value `exp(r_mag) W x + b_mag` share W, so that the gate is
    open where the value is above `b_mag - exp(r_mag) b_gate`.
    """
    gain, b_mag = tensors.pop("r_mag").exp(), tensors.pop("b_mag")
    tensors["threshold"] = b_mag - gain * tensors.pop("b_gate")
    tensors["W_enc"] = tensors["W_enc"] * gain[:, None]
    tensors["b_enc"] = b_mag
    notes.append("Its gates became thresholds on the values of the latents, which is the same.")


def _dtype(cfg: Fields) -> torch.dtype:
    name = cfg.take("dtype", str, "float32").removeprefix("torch.")
    if name not in _DTYPES:
        raise ArtifactError(
            f"{cfg.source} has an unknown dtype '{name}'.{did_you_mean(name, _DTYPES)}"
        )
    return _DTYPES[name]


def _scale(folder: Path, cfg: Fields, kind: _Kind, notes: list[str]) -> float:
    """What raw activations are multiplied with; 1 where the weights take them as they are."""
    how = cfg.take("normalize_activations", str, "none")
    if how == "none":
        return 1.0
    if how in _REFUSED_NORMALISATION:
        raise ArtifactError(
            f"{cfg.source} {_REFUSED_NORMALISATION[how]} ('{how}'), which no fixed weights can say."
            if how != "covariance_whitening"
            else f"{cfg.source} {_REFUSED_NORMALISATION[how]}: save it with SAELens after training."
        )
    if how != "expected_average_only_in":
        raise ArtifactError(f"{cfg.source} normalises activations by '{how}', which is unknown.")
    path = folder / SCALER_FILE
    if kind.transcoder or not path.is_file():
        raise ArtifactError(
            f"{cfg.source} was trained on activations times a factor ('{how}') that is not folded "
            f"into its weights, and no '{SCALER_FILE}' says the factor: save it with SAELens after "
            "training, which folds it."
        )
    factor = fields_of(path).take("scaling_factor", float)
    if not math.isfinite(factor) or factor <= 0:
        raise ArtifactError(f"'{path}' holds a scaling_factor of {factor}, which no scale can be.")
    notes.append(
        f"Activations are multiplied by {factor:.6g} before the encoder and outputs divided by it."
    )
    return factor


def _topk_fields(dictionary: Dictionary) -> dict[str, Any]:
    sparsity = dictionary.config.sparsity
    if not isinstance(sparsity, TopK):
        return {}
    rescale = sparsity.weight_by_decoder_norm
    if rescale and not bool(dictionary.W_dec.any(dim=1).all()):
        # SAELens divides by the norms, and 0 / 0 would spoil every output. Without the flag it
        # chooses alike where all other rows have norm 1 and a latent without a row stays silent.
        quiet = ~dictionary.W_dec.any(dim=1)
        silent = not bool(dictionary.W_enc[quiet].any()) and bool(
            (dictionary.b_enc[quiet] <= 0).all()
        )
        if not (silent and rows_are_unit(dictionary.W_dec)):
            raise ArtifactError(
                "SAELens would divide by the norm of a decoder row of zeros: fold the dictionary first."
            )
        rescale = False
    return {"k": sparsity.k, "rescale_acts_by_decoder_norm": rescale}


def _metadata(config: DictionaryConfig) -> dict[str, Any]:
    read, write = config.read_site, config.write_site
    out = write.transformer_lens or str(write)
    return {
        "sae_lens_version": LAYOUT_VERSION,
        "sae_lens_training_version": None,
        "model_name": config.model,
        "hook_name": read.transformer_lens or str(read),
        **({"hook_name_out": out} if config.is_transcoder or config.skip else {}),
        KEPT: keep(config),
    }


def _tensors(dictionary: Dictionary) -> dict[str, Tensor]:
    tensors = {
        "W_enc": plain(dictionary.W_enc.T),
        "b_enc": plain(dictionary.b_enc),
        "W_dec": plain(dictionary.W_dec),
        "b_dec": plain(dictionary.b_dec),
    }
    if dictionary.threshold is not None:
        tensors["threshold"] = plain(dictionary.threshold)
    if dictionary.W_skip is not None:
        tensors["W_skip"] = plain(dictionary.W_skip)
    return tensors
