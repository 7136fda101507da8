"""A name becomes a Hugging Face model and its tokenizer: folder, GGUF file, catalog name, hub id."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lmscope.core.errors import ModelError
from lmscope.core.mesh import own_gpu, started_processes
from lmscope.core.protocols import Listener
from lmscope.models import store
from lmscope.models.catalog import CATALOG, HubSource
from lmscope.models.hub import snapshot
from lmscope.models.placement import (
    SPREAD,
    DeviceMap,
    check_names,
    device_map,
    quiet_accelerate,
    summary,
)
from lmscope.models.quiet import quiet_transformers
from lmscope.models.run_models import model_of
from lmscope.models.weights import stored_tensors, weight_files, weights_hash

_HEADS = {
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForMaskedLM": "AutoModelForMaskedLM",
    "BertForPreTraining": "AutoModelForMaskedLM",
    "Model": "AutoModel",
}
"""How an architecture's name ends, and the class that loads it; the first that fits."""

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)


@dataclass(frozen=True)
class Loaded:
    """A model ready to run (evaluation mode, on its device) and what names it."""

    hf: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    """What was asked for."""
    weights_hash: str
    """SHA-256 over the stored tensors (`weights.weights_hash`), whatever dtype was asked for."""


def load_pretrained(
    name: str,
    *,
    device: str | DeviceMap = "auto",
    dtype: torch.dtype | str | None = None,
    cache: Path | str | None = None,
    listener: Listener | None = None,
) -> Loaded:
    """Load a model and its tokenizer; code that comes with a checkpoint is never run.

    Args:
        name: A model folder, a run that trained a model, or a .gguf file that exists, else a catalog name, else
            a hub id (`owner/model`, `owner/model@revision`).
        device: `auto` takes cuda, else mps, else cpu; a torch device such as `cuda:1`; `spread`, or a
            device for each submodule, for a model too large for one (see `models.placement`).
        dtype: None keeps the number format in which the checkpoint is stored, on every device; else a
            torch dtype or its name, e.g. `float32`. The 4-bit catalog models are stored in bfloat16.
        cache: Folder for converted models; None for LMSCOPE_CACHE or ~/.cache/lmscope.
        listener: Hears of a fetch, a conversion, a model in parts (`model_placement`); None:
            standard error.

    Raises:
        ModelError: Nothing goes by that name, or what was found cannot be loaded; one sentence says why.
        ArtifactError: The cache cannot be written.
    """
    wanted_dtype, where = find_dtype(dtype), _where(device)
    folder = locate(name, cache=cache, listener=listener)
    if (folder / store.MANIFEST).is_file():
        digest = store.check(folder).weights_hash
    else:
        read_config(folder)
        for path in weight_files(folder):
            stored_tensors(path)
        digest = weights_hash(folder, store.cache_root(cache))
    with quiet_transformers():
        hf = _load_model(folder, wanted_dtype, where)
        tokenizer = load_tokenizer(folder)
    check_names(hf, device)
    if message := summary(hf):
        listener = listener or store.StderrListener()
        listener.on_event("model_placement", {"name": name, "message": message})
    return Loaded(hf=hf, tokenizer=tokenizer, name=name, weights_hash=digest)


def locate(name: str, *, cache: Path | str | None = None, listener: Listener | None = None) -> Path:
    """The model folder that a name stands for; fetched or converted when need be.

    Raises:
        ModelError: Nothing goes by that name.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return model_of(path)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"There is no file '{name}'.")
        return store.stored_gguf(path, listener, cache)
    if path.is_file():
        raise ModelError(
            f"'{name}' is a file; give the folder that holds config.json, or a .gguf file."
        )
    if known := CATALOG.get(name):
        if isinstance(known.source, HubSource):
            return snapshot(known.source.repository)
        if store.is_stored(name, cache):
            return store.model_folder(name, cache)
        return store.get(name, listener, cache)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise ModelError(
            f"There is no model folder '{name}'. Check the path, or give a catalog name "
            "(`lmscope models list`) or a Hugging Face id."
        )
    return snapshot(name)


def auto_class(architectures: list[str] | None, where: str) -> str:
    """The transformers class that loads a checkpoint, decided by `architectures` of its config alone.

    Raises:
        ModelError: None is named, or none of them is a language model or a bare encoder.
    """
    if not architectures:
        raise ModelError(
            f"The config.json of '{where}' names no architecture; "
            'add e.g. "architectures": ["LlamaForCausalLM"].'
        )
    for ending, auto in _HEADS.items():
        if architectures[0].endswith(ending):
            return auto
    raise ModelError(
        f"'{where}' is a {architectures[0]}; lmscope reads causal and masked language models and bare "
        "encoders (names that end in ForCausalLM, LMHeadModel, ForMaskedLM or Model)."
    )


def _where(device: str | DeviceMap) -> torch.device | str | dict[str, str]:
    """One device, or what transformers is told of several."""
    if device == SPREAD or not isinstance(device, str):
        return device_map(device, find_device)
    return find_device(device)


def _load_model(
    folder: Path, dtype: torch.dtype | str, where: torch.device | str | dict[str, str]
) -> PreTrainedModel:
    import transformers

    config = read_config(folder)
    auto = getattr(transformers, auto_class(config.get("architectures"), str(folder)))
    options = {} if isinstance(where, torch.device) else {"device_map": where}
    hf: Any  # its `to` is wrapped in a way that type checkers misread
    try:
        with quiet_accelerate():
            hf, report = auto.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
    except (ValueError, KeyError, RuntimeError, OSError, ImportError, AttributeError) as error:
        raise ModelError(f"'{folder}' cannot be loaded: {_first_line(error)}") from error
    # A pooler feeds no site: without one an encoder is whole.
    missing = sorted(key for key in report["missing_keys"] if "pooler." not in key)
    if missing:
        raise ModelError(
            f"The weights in '{folder}' lack {len(missing)} tensors of a {type(hf).__name__}, the first being "
            f"'{missing[0]}'; `architectures` in config.json must say what the weights are."
        )
    return (hf.to(where) if isinstance(where, torch.device) else hf).eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder.

    Raises:
        ModelError: There is none, or it cannot be loaded.
    """
    from transformers import AutoTokenizer

    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise ModelError(f"'{folder}' has no tokenizer; save one into it with save_pretrained.")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (
        ValueError,
        KeyError,
        RuntimeError,
        OSError,
        ImportError,
        TypeError,
        AttributeError,
    ) as error:
        raise ModelError(
            f"The tokenizer in '{folder}' cannot be loaded: {_first_line(error)}"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """The values of a model folder's config.json.

    Raises:
        ModelError: It is missing or damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(
            f"'{folder}' has no config.json; a model folder holds config.json, model.safetensors and a tokenizer."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"'{path}' cannot be read: {error}.") from None
    if not isinstance(config, dict):
        raise ModelError(f"'{path}' is no JSON object.")
    return config


def find_dtype(dtype: torch.dtype | str | None) -> torch.dtype | str:
    """The number format of weights; `auto` for None.

    Raises:
        ModelError: It is no floating-point format.
    """
    if dtype is None:
        return "auto"
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ModelError(
            f"'{dtype}' is no number format for weights; take float32, bfloat16 or float16."
        )
    return found


def find_device(device: str) -> torch.device:
    """The device of that name, `auto` being the best there is.

    Raises:
        ModelError: There is no such device.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return (
                torch.device("cuda", own_gpu()) if started_processes() > 1 else torch.device("cuda")
            )
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ModelError(f"'{device}' is no device; take auto, cpu, cuda, cuda:1 or mps.") from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(found.type, True):
        raise ModelError(f"There is no {found.type} device for '{device}' here; take auto or cpu.")
    if found.type == "cuda" and (found.index or 0) >= (n := torch.cuda.device_count()):
        raise ModelError(f"There is no '{device}': the GPUs here are cuda:0 to cuda:{n - 1}.")
    return found


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
