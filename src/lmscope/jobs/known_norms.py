"""Median norms of sites that were measured before, kept in the user's cache."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lmscope.core.errors import LmscopeError
from lmscope.core.files import write_text
from lmscope.core.site import Site
from lmscope.models import store

_FORMAT = 1


def norms_by(
    facts: Mapping[str, Any], sites: Iterable[Site], measure: Callable[[], Mapping[Site, float]]
) -> dict[Site, float]:
    """Norms of sites, measured once for all that they depend on.

    A cache that cannot be read or written costs time only: they are measured then.

    Args:
        facts: What they depend on, as plain values.
        sites: Where.
        measure: Measures them.
    """
    wanted = sorted(set(sites))
    path = store.cache_root() / "norms" / f"{_key(facts, wanted)}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {site: float(found[str(site)]) for site in wanted}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    norms = {site: float(value) for site, value in measure().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({str(site): norm for site, norm in norms.items()}) + "\n")
    except (OSError, LmscopeError):
        pass
    return norms


def _key(facts: Mapping[str, Any], sites: list[Site]) -> str:
    named = {"format": _FORMAT, "facts": facts, "sites": [str(site) for site in sites]}
    text = json.dumps(named, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
