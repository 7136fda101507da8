"""Which families there are; a new file in `lmscope.models.families` is found by itself."""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from transformers import PretrainedConfig

from lmscope.core.errors import ModelError, did_you_mean
from lmscope.models import families
from lmscope.models.family import Family


@cache
def known_families() -> Mapping[str, Family]:
    """Every family by name; each module of `lmscope.models.families` holds one as FAMILY."""
    names = sorted(module.name for module in pkgutil.iter_modules(families.__path__))
    return {name: import_module(f"{families.__name__}.{name}").FAMILY for name in names}


def find_family(config: PretrainedConfig) -> Family:
    """The family of a Hugging Face configuration, adapted to it.

    Raises:
        ModelError: No family covers its model type.
    """
    covered = {kind: family for family in known_families().values() for kind in family.model_types}
    if config.model_type not in covered:
        raise ModelError(
            f"No family here covers models of type '{config.model_type}'."
            f"{did_you_mean(config.model_type, covered)}"
        )
    family = covered[config.model_type]
    return family.adapt(family, config)
