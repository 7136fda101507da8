"""Every dictionary format by name, each imported when it is first asked for."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lmscope.core.errors import ArtifactError, RecipeError, did_you_mean

if TYPE_CHECKING:
    from lmscope.dictionaries.formats.format import Format

MODULES: Final = {
    "lmscope": "native",
    "llama-scope": "llama_scope",
    "llamascopium": "llamascopium",
    "sae-lens": "sae_lens",
    "sparsify": "sparsify",
    "gemma-scope": "gemma_scope",
    "dictionary-learning": "dictionary_learning",
    "circuit-tracer": "circuit_tracer",
}
"""The module of each format, by the name that `--from` and `--to` take; it defines `FORMAT`."""

LOOKED_FOR: Final = (
    "manifest.json (lmscope), hyperparams.json (llama-scope), config.json with sae_type (llamascopium), "
    "cfg.json with sae_weights.safetensors (sae-lens) or sae.safetensors (sparsify), params.npz or "
    "params.safetensors (gemma-scope), ae.pt (dictionary-learning), layer_*.safetensors (circuit-tracer)"
)
"""By what files a format is told, for the sentence that none was found."""


def named(name: str) -> "Format":
    """A format by its name.

    Raises:
        RecipeError: No format is called that; the sentence names near ones.
    """
    if name not in MODULES:
        raise RecipeError(f"No dictionary format is called '{name}'.{did_you_mean(name, MODULES)}")
    return import_module(f"lmscope.dictionaries.formats.{MODULES[name]}").FORMAT


def formats() -> "tuple[Format, ...]":
    """Every format, lmscope's own first."""
    return tuple(named(name) for name in MODULES)


def find(path: Path) -> "Format | None":
    """The one format that a folder or file is of; None if it is of none.

    Raises:
        ArtifactError: It looks like several.
    """
    found = [one for one in formats() if one.recognises(path)]
    if len(found) > 1:
        names = " and ".join(one.name for one in found)
        raise ArtifactError(f"'{path}' could be {names}: say which with --from.")
    return found[0] if found else None


def recognise(path: Path) -> "Format":
    """The one format that a folder or file is of.

    Raises:
        ArtifactError: It is missing, or looks like none of the formats, or like several.
    """
    if not path.exists():
        raise ArtifactError(f"There is nothing at '{path}'.")
    if (found := find(path)) is None:
        raise ArtifactError(
            f"'{path}' holds no dictionary of a known format; looked for {LOOKED_FOR}. "
            "Name a sub-folder that holds one, or the format with --from."
        )
    return found
