"""What an export says of the atlas that it was made from, so that it can be imported again."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from lmscope.atlas.config import AtlasMeta
from lmscope.atlas.exchange.content import AtlasContent
from lmscope.atlas.labels import LabelsMeta
from lmscope.core.errors import ArtifactError


class Described(NamedTuple):
    """An atlas, and how its labels were made where it has some."""

    meta: AtlasMeta
    labels: LabelsMeta | None


def described_as(format_version: int, content: AtlasContent) -> dict[str, Any]:
    """Plain values for JSON."""
    labels = None if content.labels is None else content.labels.to_mapping()
    return {"format_version": format_version, "meta": content.meta.to_mapping(), "labels": labels}


def read_described(text: bytes, newest: int, path: Path) -> Described:
    """The values of `described_as`.

    Args:
        text: JSON.
        newest: The newest format that is known.
        path: Where it comes from, for the message.

    Raises:
        ArtifactError: The format is newer, or the text is damaged.
    """
    try:
        values = json.loads(text)
        version, meta, labels = values["format_version"], values["meta"], values["labels"]
    except (ValueError, KeyError, TypeError):
        raise ArtifactError(
            f"'{path}' does not say which atlas it was made from: export the atlas again."
        ) from None
    if version > newest:
        raise ArtifactError(
            f"'{path}' has format {version}, this lmscope reads up to {newest}: upgrade lmscope."
        )
    source = f"'{path}'"
    return Described(
        AtlasMeta.from_mapping(meta, source),
        None if labels is None else LabelsMeta.from_mapping(labels, source),
    )
