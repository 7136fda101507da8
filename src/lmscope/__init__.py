"""lmscope opens language models up and steers them.

The public names are loaded when first asked for, so that `import lmscope` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lmscope.atlas.atlas import Atlas
    from lmscope.circuits.graph import Graph
    from lmscope.core.site import Site
    from lmscope.dictionaries.dictionary import Dictionary
    from lmscope.jobs.trace import trace
    from lmscope.jobs.train import train
    from lmscope.models.language_model import LanguageModel
    from lmscope.runs.recipe import Recipe
    from lmscope.runs.run import Run
    from lmscope.text.corpus import Corpus

_HOME = {
    "Atlas": "lmscope.atlas.atlas",
    "Corpus": "lmscope.text.corpus",
    "Dictionary": "lmscope.dictionaries.dictionary",
    "Graph": "lmscope.circuits.graph",
    "LanguageModel": "lmscope.models.language_model",
    "Recipe": "lmscope.runs.recipe",
    "Run": "lmscope.runs.run",
    "Site": "lmscope.core.site",
    "trace": "lmscope.jobs.trace",
    "train": "lmscope.jobs.train",
}

__all__ = [
    "Atlas",
    "Corpus",
    "Dictionary",
    "Graph",
    "LanguageModel",
    "Recipe",
    "Run",
    "Site",
    "trace",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(
            f"lmscope has no public name '{name}'. Public names: {', '.join(__all__)}."
        )
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
