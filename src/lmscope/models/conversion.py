"""A GGUF file as an ordinary Hugging Face folder: dequantised weights, config, tokenizer."""

import importlib.util
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from lmscope.core.errors import ArtifactError, ModelError
from lmscope.models.quiet import quiet_transformers

_UNQUANTISED = {0: torch.float32, 1: torch.float16, 32: torch.bfloat16}
"""GGUF's `general.file_type` of plain weights; every other type is quantised."""

_SPECIAL_TOKENS = {
    "bos": "bos_token",
    "eos": "eos_token",
    "unknown": "unk_token",
    "padding": "pad_token",
}


def convert_gguf(path: Path, folder: Path) -> None:
    """Write the model of a GGUF file into `folder` (config, safetensors, tokenizer).

    Quantised weights are dequantised and stored as bfloat16 (`catalog.ModelEntry.dtype` says what that
    costs), plain ones in the number format of the file. Takes about 25 s for SmolLM2-135M and 60 s for
    Gemma-3-270M on one free core, mostly reading their vocabularies.

    Args:
        path: The GGUF file.
        folder: An existing, empty folder.

    Raises:
        ModelError: The packages that read GGUF are missing, or the file is damaged or of an
            architecture that transformers does not read.
        ArtifactError: The disk is full.
    """
    _require_packages(path)
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    try:
        with quiet_transformers(), redirect_stderr(StringIO()):  # its bar heeds no setting
            metadata = _metadata(path)
            dtype = _UNQUANTISED.get(metadata.get("general.file_type", -1), torch.bfloat16)
            tokenizer = AutoTokenizer.from_pretrained(str(path.parent), **source)
            _mend_tokenizer(tokenizer, metadata)
            model: Any = AutoModelForCausalLM.from_pretrained(
                str(path.parent),
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
                **source,
            )
    except (
        ValueError,
        KeyError,
        IndexError,
        RuntimeError,
        NotImplementedError,
        ImportError,
    ) as error:
        raise ModelError(f"'{path.name}' cannot be converted: {_first_line(error)}") from error
    try:
        with quiet_transformers():
            model.to(dtype).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except OSError as error:
        raise ArtifactError(f"The converted '{path.name}' cannot be written: {error}.") from error


def _require_packages(path: Path) -> None:
    missing = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"'{path.name}' is a GGUF file; reading it needs the package {' and '.join(missing)}: "
            "pip install 'lmscope[gguf]'."
        )


def _metadata(path: Path) -> dict[str, Any]:
    from transformers.integrations.gguf.reader import read_gguf_metadata

    return read_gguf_metadata(str(path))[0]


def _mend_tokenizer(tokenizer: Any, metadata: dict[str, Any]) -> None:
    """Put right what the conversion of the tokenizer leaves out.

    The file's special tokens are set once more: transformers 5.17 takes SmolLM2's end of text to be
    its beginning and forgets the padding.

    A GGUF file holds no rule that splits text into words, only the rule's name. Transformers knows
    some names and takes GPT-2's rule for the rest. SmolLM2's (`smollm`) takes each digit alone
    first: without it the blanks before a number become other tokens than the model was trained on.
    """
    from tokenizers import pre_tokenizers

    for key, name in _SPECIAL_TOKENS.items():
        if (token_id := metadata.get(f"tokenizer.ggml.{key}_token_id")) is not None:
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(token_id))
    if metadata.get("tokenizer.ggml.pre") == "smollm":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
