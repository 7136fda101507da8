"""Which latents of an atlas fire on a text that a person gives."""

from pathlib import Path
from typing import Any

from lmscope.atlas.atlas import Atlas
from lmscope.core.config import read_toml
from lmscope.core.errors import RecipeError
from lmscope.core.protocols import Listener
from lmscope.core.site import Site
from lmscope.dictionaries import storage
from lmscope.dictionaries.probing import Probe, probe
from lmscope.jobs.bench import find_subject, open_bench
from lmscope.jobs.evaluate import EvaluateRecipe, evaluation_task
from lmscope.models.exclusion import Exclusion
from lmscope.runs.artifact import read_manifest
from lmscope.runs.run import RECIPE_FILE
from lmscope.text.tokens import tokenizer_fingerprint


def probe_text(
    atlas: Atlas,
    text: str,
    listener: Listener,
    *,
    dictionary: Path | str | None = None,
    device: str | None = None,
) -> Probe:
    """Load the atlas's dictionary with its model, and read a text.

    Args:
        atlas: Whose latents.
        text: Read as one context, after BOS.
        listener: Hears of the phases.
        dictionary: A run that trained it or its folder; by default what the atlas was built from.
        device: Another device than the one it was trained on.

    Raises:
        RecipeError: The atlas does not say what it was built from.
        ArtifactError: The dictionary is not there, or not the one of the atlas.
        LmscopeError: The model cannot be read, or the text is too long for it.
    """
    path = Path(dictionary) if dictionary is not None else _built_from(atlas)
    task = evaluation_task(EvaluateRecipe.from_mapping({"dictionary": str(path)}))
    found = {
        name: read_manifest(folder, storage.KIND, storage.READABLE).content_digest
        for name, folder in task.dictionaries.items()
    }
    fitting = [name for name, digest in found.items() if digest == atlas.meta.dictionary_digest]
    if not fitting:
        atlas.check_fits(dictionary_digest=next(iter(found.values())))
    name = fitting[0] if len(found) > 1 else None
    norms = {Site.parse(site): norm for site, norm in atlas.meta.median_norms.items()}
    exclusion = Exclusion(norms) if norms else None
    bench = open_bench(find_subject(path, name=name, device=device), listener, exclusion=exclusion)
    tokenizer: Any = (
        bench.model.tokenizer
    )  # the library's own type does not say what all of its kinds have
    atlas.check_fits(tokenizer_hash=tokenizer_fingerprint(tokenizer))
    return probe(bench.model, bench.dictionary, text, exclusion=bench.exclusion)


def _built_from(atlas: Atlas) -> Path:
    # RUN/artifacts/atlas/NAME: the run trained the dictionary itself, as a demo does, or its recipe names it.
    above = atlas.path.resolve().parents
    if len(above) > 2 and (above[1] / "dictionaries" / atlas.path.name).is_dir():
        return above[2]
    recipe = above[2] / RECIPE_FILE if len(above) > 2 else None
    if atlas.path.is_file() or recipe is None or not recipe.is_file():
        raise RecipeError(
            f"'{atlas.path}' lies in no run, so it does not say where its dictionary is: give --dictionary."
        )
    named = read_toml(recipe).get("dictionary")
    if not isinstance(named, str):
        raise RecipeError(f"'{recipe}' names no dictionary: give --dictionary.")
    return Path(named)
