"""lmscope's own format: `config.json`, `weights.safetensors`, `README.md`, `manifest.json`."""

from pathlib import Path
from typing import Final

from lmscope.dictionaries import storage
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.formats.format import Given, Imported
from lmscope.dictionaries.formats.reading import choose_sites, peek_json
from lmscope.runs.artifact import MANIFEST_FILE


class _Native:
    """Reads and writes what `Dictionary.save` writes."""

    name = "lmscope"
    convention = (
        "Raw activations in and out; one row a latent in both matrices; a folded dictionary has decoder "
        "rows of norm 1."
    )

    def recognises(self, folder: Path) -> bool:
        """Whether a dictionary's manifest stands there, or its weights without one."""
        kind = peek_json(folder / MANIFEST_FILE).get("kind")
        return kind == storage.KIND or (folder / storage.WEIGHTS_FILE).is_file()

    def read(self, folder: Path, given: Given) -> Imported:
        """Read a dictionary; every byte is checked against the manifest.

        Raises:
            ArtifactError: It is missing, damaged, or of another kind or format.
        """
        dictionary = Dictionary.load(folder)
        config = dictionary.config
        reads, writes = choose_sites(given, config.reads[0], config.writes[0], folder)
        changed = {"reads": (reads,), "writes": (writes,), "model": given.model or config.model}
        values = config.to_mapping() | {k: v for k, v in changed.items() if v is not None}
        dictionary.config = type(config).from_mapping(values, f"'{folder}'")
        return Imported(dictionary, (), {})

    def write(self, dictionary: Dictionary, folder: Path) -> None:
        """Write a dictionary into a new folder, its card filled in.

        Raises:
            ArtifactError: Something is there already, or the folder cannot be written.
        """
        dictionary.save_pretrained(folder)


FORMAT: Final = _Native()
