"""dictionary_learning: `config.json` and `ae.pt`, read with `torch.load(weights_only=True)` only.

Weights are saved for raw activations. Which numbers mean what depends on `trainer.dict_class`; each
class below becomes the same function here, also the gated one: its gate `W x > -gate_bias` is a
threshold on its magnitude `exp(r) W x + mag_bias` (rajamanoharan2024gated, section 3.2).
"""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from lmscope.core.errors import ArtifactError, did_you_mean
from lmscope.dictionaries.config import DictionaryConfig, JumpReLU, ReLU, Sparsity, TopK
from lmscope.dictionaries.formats.foreign import check_shapes, frozen
from lmscope.dictionaries.formats.format import Given, Imported
from lmscope.dictionaries.formats.reading import (
    check_present,
    choose_sites,
    in_float32,
    peek_json,
    read_json,
)

CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "ae.pt"

_SUBMODULE: Final = re.compile(r"(resid_post|resid_pre|mlp_out|attn_out|attention_out)_layer_(\d+)")

_CONVENTION: Final = (
    "Raw activations. AutoEncoder, TopK, BatchTopK, Matryoshka and Gated take b_dec from the input "
    "before encoding, AutoEncoderNew and JumpRelu do not; TopK selects by ReLU(pre) alone; "
    "BatchTopK infers with its one saved threshold on ReLU(pre)."
)


class _Made(NamedTuple):
    """One class of theirs as a dictionary of ours."""

    tensors: dict[str, Tensor]
    sparsity: Sparsity
    takes_b_dec: bool
    note: str


class _DictionaryLearning:
    """Reads folders of dictionary_learning's trainers."""

    name = "dictionary-learning"
    convention = _CONVENTION

    def recognises(self, folder: Path) -> bool:
        """Whether `ae.pt` stands there, or a configuration with a `trainer` that names a class."""
        trainer = peek_json(folder / CONFIG_FILE).get("trainer")
        return (folder / WEIGHTS_FILE).is_file() or (
            isinstance(trainer, dict) and "dict_class" in trainer
        )

    def read(self, folder: Path, given: Given) -> Imported:
        """Read one dictionary, in float32.

        Raises:
            ArtifactError: A file is missing or damaged, or holds an unknown class or tensor.
            RecipeError: The configuration does not say the site, and none was given.
        """
        path = folder / CONFIG_FILE
        config = read_json(path)
        trainer = config.get("trainer")
        if not isinstance(trainer, dict):
            raise ArtifactError(f"'{path}' has no 'trainer': it is no dictionary_learning config.")
        make = _class(trainer, path)
        weights = folder / WEIGHTS_FILE
        made = make(_read_pt(weights), trainer, weights)
        site = _site(trainer)
        reads, writes = choose_sites(given, site, None, path)
        n_latents, d_read = made.tensors["W_enc"].shape
        about = DictionaryConfig(
            reads=(reads,),
            writes=(writes,),
            d_read=d_read,
            d_write=made.tensors["W_dec"].shape[1],
            n_latents=n_latents,
            sparsity=made.sparsity,
            apply_b_dec_to_input=made.takes_b_dec and reads == writes,
            normalisation="none",
            model=given.model or _text(trainer.get("lm_name")),
        )
        if made.takes_b_dec and reads != writes:
            raise ArtifactError(
                f"'{weights}' takes b_dec from what it reads, so it cannot write '{writes}' and read "
                f"'{reads}': leave --writes out."
            )
        return Imported(frozen(about, made.tensors, weights), _notes(made), config)


FORMAT: Final = _DictionaryLearning()


def _read_pt(path: Path) -> dict[str, Tensor]:
    """The tensors of a torch file; anything else in it is refused, and no code of it runs."""
    check_present(path)
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ArtifactError(
            f"'{path}' holds more than tensors, or is no torch file: it is not loaded, as that could run code."
        ) from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"'{path}' is damaged or only half downloaded ({_first_line(error)}): fetch it again."
        ) from None
    if not isinstance(values, dict) or not all(isinstance(t, Tensor) for t in values.values()):
        raise ArtifactError(f"'{path}' holds no table of tensors.")
    return values


def _autoencoder(tensors: dict[str, Tensor], _: dict[str, Any], path: Path) -> _Made:
    d, n = _sizes(tensors, "encoder.weight", path)[::-1]
    check_shapes(tensors, {"bias": (d,), **_linear(n, d)}, path)
    return _Made(_from_linear(tensors, tensors["bias"]), ReLU(), True, "ReLU latents.")


def _autoencoder_new(tensors: dict[str, Tensor], _: dict[str, Any], path: Path) -> _Made:
    d, n = _sizes(tensors, "encoder.weight", path)[::-1]
    check_shapes(tensors, {"decoder.bias": (d,), **_linear(n, d)}, path)
    return _Made(_from_linear(tensors, tensors["decoder.bias"]), ReLU(), False, "ReLU latents.")


def _gated(tensors: dict[str, Tensor], _: dict[str, Any], path: Path) -> _Made:
    d, n = _sizes(tensors, "encoder.weight", path)[::-1]
    biases = {"gate_bias": (n,), "mag_bias": (n,), "r_mag": (n,), "decoder_bias": (d,)}
    linear = _linear(n, d)
    del linear["encoder.bias"]
    check_shapes(tensors, {**linear, **biases}, path)
    t = in_float32(tensors)
    gain = t["r_mag"].exp()
    made = {
        "W_enc": t["encoder.weight"] * gain[:, None],
        "b_enc": t["mag_bias"],
        "W_dec": t["decoder.weight"].T.contiguous(),
        "b_dec": t["decoder_bias"],
        "threshold": t["mag_bias"] - gain * t["gate_bias"],
    }
    note = "The gate became one threshold a latent on the magnitude: the same function."
    return _Made(made, JumpReLU(), True, note)


def _jumprelu(tensors: dict[str, Tensor], _: dict[str, Any], path: Path) -> _Made:
    d, n = _sizes(tensors, "W_enc", path)
    check_shapes(tensors, {**_plain(n, d), "threshold": (n,)}, path)
    made = _from_plain(tensors) | {"threshold": tensors["threshold"].float()}
    return _Made(made, JumpReLU(), False, "One threshold a latent.")


def _topk(tensors: dict[str, Tensor], trainer: dict[str, Any], path: Path) -> _Made:
    k, _ = _take_scalars(tensors, trainer, path)
    d, n = _sizes(tensors, "encoder.weight", path)[::-1]
    check_shapes(tensors, {"b_dec": (d,), **_linear(n, d)}, path)
    sparsity = TopK(k=k, weight_by_decoder_norm=False)
    note = "The k largest ReLU(pre) of each token; the saved threshold is not used."
    return _Made(_from_linear(tensors, tensors["b_dec"]), sparsity, True, note)


def _batchtopk(tensors: dict[str, Tensor], trainer: dict[str, Any], path: Path) -> _Made:
    _, threshold = _take_scalars(tensors, trainer, path)
    d, n = _sizes(tensors, "encoder.weight", path)[::-1]
    check_shapes(tensors, {"b_dec": (d,), **_linear(n, d)}, path)
    made = _from_linear(tensors, tensors["b_dec"])
    return _inferring(made, threshold, path)


def _matryoshka(tensors: dict[str, Tensor], trainer: dict[str, Any], path: Path) -> _Made:
    tensors.pop("group_sizes", None)  # how the loss was split; inference uses every group
    _, threshold = _take_scalars(tensors, trainer, path)
    d, n = _sizes(tensors, "W_enc", path)
    check_shapes(tensors, _plain(n, d), path)
    return _inferring(_from_plain(tensors), threshold, path)


_CLASSES: Final[dict[str, Callable[[dict[str, Tensor], dict[str, Any], Path], _Made]]] = {
    "AutoEncoder": _autoencoder,
    "AutoEncoderNew": _autoencoder_new,
    "GatedAutoEncoder": _gated,
    "JumpReluAutoEncoder": _jumprelu,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batchtopk,
    "MatryoshkaBatchTopKSAE": _matryoshka,
}


def _class(
    trainer: dict[str, Any], path: Path
) -> Callable[[dict[str, Tensor], dict[str, Any], Path], _Made]:
    name = trainer.get("dict_class")
    if name not in _CLASSES:
        raise ArtifactError(
            f"'{path}' has the dict_class {name!r}, whose inference is not known."
            f"{did_you_mean(str(name), _CLASSES)}"
        )
    return _CLASSES[name]


def _inferring(made: dict[str, Tensor], threshold: float | None, path: Path) -> _Made:
    """BatchTopK at inference: one threshold on ReLU(pre) for all latents."""
    if threshold is None or not threshold > 0:
        raise ArtifactError(
            f"'{path}' has no threshold for inference (it has {threshold}): its training ended before one "
            "was estimated."
        )
    made["threshold"] = torch.full_like(made["b_enc"], threshold)
    note = f"BatchTopK in its form for inference: ReLU(pre) above {threshold:g} on every latent."
    return _Made(made, JumpReLU(), True, note)


def _take_scalars(
    tensors: dict[str, Tensor], trainer: dict[str, Any], path: Path
) -> tuple[int, float | None]:
    """The numbers k and threshold, taken out of the tensors."""
    k, threshold = tensors.pop("k", None), tensors.pop("threshold", None)
    if any(t is not None and t.numel() != 1 for t in (k, threshold)):
        raise ArtifactError(f"'{path}' has a 'k' or 'threshold' that is no single number.")
    found = trainer.get("k") if k is None else int(k)
    if not isinstance(found, int) or found < 1:
        raise ArtifactError(f"'{path}' does not say k, the number of latents kept.")
    return found, None if threshold is None else float(threshold)


def _sizes(tensors: dict[str, Tensor], name: str, path: Path) -> tuple[int, int]:
    if name not in tensors or tensors[name].ndim != 2:
        raise ArtifactError(f"'{path}' lacks the matrix '{name}' of its dict_class.")
    return tensors[name].shape[0], tensors[name].shape[1]


def _linear(n: int, d: int) -> dict[str, tuple[int, ...]]:
    return {"encoder.weight": (n, d), "encoder.bias": (n,), "decoder.weight": (d, n)}


def _plain(n: int, d: int) -> dict[str, tuple[int, ...]]:
    return {"W_enc": (d, n), "b_enc": (n,), "W_dec": (n, d), "b_dec": (d,)}


def _from_linear(tensors: dict[str, Tensor], b_dec: Tensor) -> dict[str, Tensor]:
    return in_float32(
        {
            "W_enc": tensors["encoder.weight"],
            "b_enc": tensors["encoder.bias"],
            "W_dec": tensors["decoder.weight"].T,
            "b_dec": b_dec,
        }
    )


def _from_plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {name: tensors[name] for name in ("b_enc", "W_dec", "b_dec")}
    return in_float32({"W_enc": tensors["W_enc"].T, **named})


def _site(trainer: dict[str, Any]) -> str | None:
    """From the submodule's name: the layer alone does not say which part of it."""
    match = _SUBMODULE.fullmatch(str(trainer.get("submodule_name")))
    if match is None:
        return None
    return f"{match[1].replace('attention', 'attn')}@{match[2]}"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _notes(made: _Made) -> tuple[str, ...]:
    taken = "is" if made.takes_b_dec else "is not"
    return (made.note, f"b_dec {taken} taken from the input before encoding.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
