"""Where the numbers of a feature come from, and how to get them without the page."""

import json
import shlex
import tomllib
from pathlib import Path
from typing import Any

from lmscope import __version__
from lmscope.atlas.atlas import Atlas
from lmscope.atlas.labels import LabelReader
from lmscope.core.errors import RunError
from lmscope.runs.record import RECORD_FILE, read_record
from lmscope.server.schemas.common import Provenance, Snippet

_RECIPE: str = "recipe.toml"


def feature_provenance(atlas: Atlas, latent: int, weights: Path | None = None) -> Provenance:
    """Facts on an atlas, and what shows one of its features outside of the page.

    Args:
        atlas: The atlas.
        latent: Which feature.
        weights: The folder of its dictionary, where there is one.
    """
    return Provenance(facts=atlas_facts(atlas), snippets=_snippets(atlas, latent, weights))


def atlas_facts(atlas: Atlas) -> list[tuple[str, str]]:
    """What an atlas was made from, name and value."""
    meta = atlas.meta
    facts = [
        ("dictionary", meta.dictionary),
        ("dictionary digest", meta.dictionary_digest),
        ("model", meta.model),
        ("model weights", meta.weights_hash),
        ("tokenizer", meta.tokenizer_hash),
        ("atlas digest", atlas.digest),
        ("text", f"{meta.n_contexts:,} contexts of {meta.context_length:,} tokens"),
        ("text digest", meta.corpus_digest),
        ("tokens counted", f"{meta.n_counted:,}"),
        ("held-out text", "every second context: labels are scored on it and not made from it"),
        *_run_facts(run_of(atlas.path)),
    ]
    facts += [("labels", _label_fact(reader)) for reader in atlas.labels]
    facts.append(("shown by", f"lmscope {__version__}"))
    return facts


def run_of(path: Path) -> Path | None:
    """The run that an artifact `RUN/artifacts/KIND/NAME` or a file in it belongs to."""
    for folder in path.resolve().parents:
        if folder.name == "artifacts" and (folder.parent / RECORD_FILE).is_file():
            return folder.parent
    return None


def _run_facts(run: Path | None) -> list[tuple[str, str]]:
    if run is None:
        return []
    facts = [("run", run.name)]
    seed = _recipe(run).get("seed")
    if isinstance(seed, int):
        facts.append(("seed", str(seed)))
    try:
        machine = read_record(run).machine
    except RunError:
        return facts
    facts += [("machine", machine.kind), ("threads", str(machine.n_threads))]
    facts += [(name, version) for name, version in machine.versions.items()]
    if machine.git_commit is not None:
        facts.append(("commit", machine.git_commit))
    return facts


def _recipe(run: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((run / _RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # A run without a readable recipe is listed among the problems; its facts just lack the seed.
        return {}


def _label_fact(reader: LabelReader) -> str:
    run = run_of(reader.path)
    told = f"by {reader.meta.explainer}"
    if reader.meta.judge is not None:
        told += f", judged by {reader.meta.judge}"
    told += f", shown from a detection score of {reader.meta.threshold:g} (lower end) up"
    return told if run is None else f"{run.name}: {told}"


def _snippets(atlas: Atlas, latent: int, weights: Path | None) -> list[Snippet]:
    path = atlas.path.resolve()
    shell = shlex.quote(str(path))
    select = (
        "SELECT id, shown(id) AS label, detection(id) AS detection, n_fired, density, mean, max "
        f"FROM latent WHERE id = {latent}"
    )
    found = [
        Snippet(
            title="All that this page shows, as a command",
            language="shell",
            text=f"lmscope atlas show {shell} {latent} --json",
        ),
        Snippet(
            title="All that this page shows, in Python",
            language="python",
            text=_PYTHON.format(path=json.dumps(str(path)), latent=latent),
        ),
        Snippet(
            title="Its figures by SQL",
            language="shell",
            text=f"lmscope atlas query {shell} --sql {shlex.quote(select)}",
        ),
        Snippet(
            title="Features with the nearest decoder rows",
            language="shell",
            text=f"lmscope atlas query {shell} --near {latent}",
        ),
    ]
    if weights is not None:
        folder = shlex.quote(str(weights.resolve()))
        found.append(
            Snippet(
                title="Steer by it, beside unedited text and a random direction",
                language="shell",
                text=f"lmscope steer {folder} --latent {latent} --clamp 2x "
                '--prompt "Yesterday I" --compare',
            )
        )
    return found


_PYTHON = """\
import json

from lmscope import Atlas

with Atlas.open({path}) as atlas:
    print(json.dumps(atlas[{latent}].to_mapping(), indent=2, ensure_ascii=False))
"""
