"""What `lmscope othello label --out` wrote into the artifacts of runs, for the latents of a player."""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lmscope.server.library.entries import DictionaryEntry, Signature
from lmscope.server.library.library import Library
from lmscope.server.library.players import Player
from lmscope.server.library.scan import Trouble, signature_of
from lmscope.server.schemas.othello import Said

MAX_BYTES: Final = 256 * 2**20
"""Of one file; a larger one is not read."""
_ARTIFACTS: Final = "artifacts"
_OTHERS: Final = frozenset({"suite.json", "traces.json", "together.json"})
"""Files of artifacts that other jobs write."""


@dataclass(frozen=True)
class LabelFile:
    """One file of labels.

    Attributes:
        signature: Changes when the file does.
        weights_hash: Of the model whose features it labels.
        labels: By dictionary (its name, what it writes, and its number of latents) and latent.
    """

    signature: Signature
    weights_hash: str
    labels: Mapping[tuple[str, str, int], Mapping[int, tuple[Said, ...]]]

    def of(self, entry: DictionaryEntry) -> Mapping[int, tuple[Said, ...]]:
        """Labels of a dictionary by latent; empty where it is not among them."""
        return self.labels.get((entry.name, entry.writes, entry.n_latents), {})


class OthelloLabels:
    """Files of labels, read once and again only where one changed; several threads may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[Signature, LabelFile | Trouble | None]] = {}

    def found(self, library: Library, player: Player) -> tuple[list[LabelFile], list[Trouble]]:
        """Labels of a player's features, the newest file first, and files that cannot be read.

        They are looked for right in the artifacts of the player's run and of the runs of its dictionaries.
        """
        ids = dict.fromkeys((player.run.id, *player.sources))
        paths = [path for id_ in ids for path in _json_files(library.run(id_).path / _ARTIFACTS)]
        files: list[tuple[Any, LabelFile]] = []
        troubles: list[Trouble] = []
        for path in paths:
            signature = signature_of(path)
            one = self._read(path, signature)
            if isinstance(one, Trouble):
                troubles.append(one)
            elif one is not None and one.weights_hash in player.weights:
                files.append((signature[:1], one))
        files.sort(key=lambda pair: pair[0], reverse=True)
        return [one for _, one in files], troubles

    def _read(self, path: Path, signature: Signature) -> LabelFile | Trouble | None:
        with self._lock:
            known = self._known.get(path)
            if known is None or known[0] != signature:
                known = (signature, _read(path, signature))
                self._known[path] = known
            return known[1]


def _json_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            names = [one.name for one in found if one.is_file() and one.name.endswith(".json")]
    except OSError:  # a run that made nothing
        return []
    return [folder / name for name in sorted(names) if name not in _OTHERS]


def _read(path: Path, signature: Signature) -> LabelFile | Trouble | None:
    """The labels of a file; None for a file that holds something else."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return Trouble(
                path, f"'{path.name}' is larger than {MAX_BYTES >> 20} MiB and is not read."
            )
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return Trouble(path, f"'{path.name}' cannot be read: {reason}. Make it again with `--out`.")
    if (
        not isinstance(values, dict)
        or not {"weights_hash", "size", "dictionaries"} <= values.keys()
    ):
        return None
    try:
        return LabelFile(
            signature=signature,
            weights_hash=str(values["weights_hash"]),
            labels={
                (one["name"], one["writes"], one["n_latents"]): _labels(one)
                for one in values["dictionaries"]
            },
        )
    except (KeyError, TypeError, ValueError):
        return Trouble(
            path,
            f"'{path.name}' holds no labels that this version reads. Make it again with `lmscope othello label --out`.",
        )


def _labels(dictionary: Mapping[str, Any]) -> dict[int, tuple[Said, ...]]:
    found = {int(latent["latent"]): _said(latent) for latent in dictionary["latents"]}
    return {latent: said for latent, said in found.items() if said}


def _said(latent: Mapping[str, Any]) -> tuple[Said, ...]:
    """Labels by F1, then what else is said precisely, the most often first."""
    names = Said.model_fields
    best = [Said(**{name: one[name] for name in names}) for one in latent["labels"]]
    known = {one.label for one in best}
    precise = sorted(latent.get("precise", ()), key=lambda one: -one["n_fired"])
    return (
        *best,
        *(
            Said(
                label=one["label"],
                threshold=one["threshold"],
                f1=None,
                precision=one["precision"],
                recall=None,
            )
            for one in precise
            if one["label"] not in known
        ),
    )
