"""The list of features of a dictionary: any stretch of it, in any order, of those that are asked for."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Int, Num

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.columns import Figures
from lmscope.atlas.explain.protocols import NOT_KNOWN
from lmscope.atlas.listing import FeatureList, Summary
from lmscope.server.failures import NotFound
from lmscope.server.schemas.dictionary import FeatureLine, FeatureRows


@dataclass(frozen=True)
class Asked:
    """Which features of a dictionary, and in which order.

    Attributes:
        order: One of `atlas.columns.ORDERS`, with `-` in front from the largest down. With `latent`, what is
            searched by `near`, `token` or `label` comes in the order that fits best.
        label: Words of the label.
        token: Text of a token on which they fire.
        near: A latent; they are ranked by their cosines with it.
        figures: What their figures must be.
        starred: Whether people starred them.
        tag: A tag that people gave them.
        offset: So many at the beginning are left out.
        limit: At most so many.
    """

    order: str = "latent"
    label: str | None = None
    token: str | None = None
    near: int | None = None
    figures: Figures = field(default_factory=Figures)
    starred: bool | None = None
    tag: str | None = None
    offset: int = 0
    limit: int = 100


def feature_rows(atlas: Atlas, asked: Asked) -> FeatureRows:
    """A stretch of the features that fit.

    Raises:
        NotFound: There is no latent `near`.
        RecipeError: The labels cannot be searched, or there are none.
        ArtifactError: The atlas is damaged, or has no vectors.
    """
    ranked = _searched(atlas, asked)
    fits = atlas.columns.fitting(asked.figures)
    for latents in ranked.only:
        fits &= _marked(latents, len(atlas))
    fits &= _noted(atlas, asked)
    order = ranked.order if asked.order == "latent" else None
    if order is None:
        order = atlas.columns.ordered(asked.order)
    chosen = order[fits[order]]
    part = chosen[asked.offset : asked.offset + asked.limit].tolist()
    values = () if ranked.values is None else ranked.values[part].tolist()
    found = atlas.listed(part, ranked.value_name, values)
    return FeatureRows(
        total=len(chosen),
        offset=asked.offset,
        value_name=found.value_name,
        rows=feature_lines(atlas, found),
    )


def feature_lines(atlas: Atlas, found: FeatureList) -> list[FeatureLine]:
    """Features in a line each, as people marked them."""
    starred = frozenset[int]()
    if atlas.notes is not None and len(found):
        starred = atlas.notes.starred(atlas.meta.dictionary_digest)
    values: Sequence[float | int | None] = found.values or [None] * len(found)
    return [
        _line(row, row.latent in starred, value)
        for row, value in zip(found.rows, values, strict=True)
    ]


def is_known(label: str) -> bool:
    """Whether a label as it is shown says something."""
    return label not in ("", NOT_KNOWN)


def check_latent(atlas: Atlas, latent: int) -> None:
    """Refuse a latent that the dictionary has not.

    Raises:
        NotFound: It has none of this number.
    """
    if not 0 <= latent < len(atlas):
        raise NotFound(
            f"'{atlas.meta.dictionary}' has no latent {latent}. It has {len(atlas):,}, from 0 to {len(atlas) - 1}."
        )


@dataclass(frozen=True, eq=False)
class _Ranked:
    """What was searched for.

    Attributes:
        only: Sets of latents; those that fit are in all of them.
        order: Latents, the most fitting first; None: by number.
        values: What they are ranked by, a number for each latent of the dictionary.
        value_name: What that is.
    """

    only: tuple[Int[np.ndarray, "_"], ...] = ()
    order: Int[np.ndarray, "_"] | None = None
    values: Num[np.ndarray, "latent"] | None = None
    value_name: str | None = None


def _searched(atlas: Atlas, asked: Asked) -> _Ranked:
    only: list[Int[np.ndarray, "_"]] = []
    ranked = _Ranked()
    if asked.label is not None:
        only.append(_array(atlas.find_labels(asked.label)))
        ranked = _Ranked(order=only[-1])
    if asked.token is not None:
        counts = atlas.firings_on(atlas.find_tokens(asked.token))
        only.append(_array(counts))
        n_fired = np.zeros(len(atlas), dtype=np.int64)
        n_fired[only[-1]] = list(counts.values())
        ranked = _Ranked(order=only[-1], values=n_fired, value_name="fires on it")
    if asked.near is not None:
        check_latent(atlas, asked.near)
        cosines = atlas.cosines(asked.near)
        only.append(np.argsort(-cosines, kind="stable")[:-1])
        ranked = _Ranked(order=only[-1], values=cosines, value_name="cosine")
    return replace(ranked, only=tuple(only))


def _noted(atlas: Atlas, asked: Asked) -> Bool[np.ndarray, "latent"]:
    fits = np.ones(len(atlas), dtype=np.bool_)
    digest = atlas.meta.dictionary_digest
    if asked.starred is not None:
        starred = frozenset[int]() if atlas.notes is None else atlas.notes.starred(digest)
        fits &= _marked(_array(starred), len(atlas)) == asked.starred
    if asked.tag is not None:
        tagged = frozenset[int]() if atlas.notes is None else atlas.notes.tagged(digest, asked.tag)
        fits &= _marked(_array(tagged), len(atlas))
    return fits


def _marked(latents: Int[np.ndarray, "_"], n: int) -> Bool[np.ndarray, "latent"]:
    marks = np.zeros(n, dtype=np.bool_)
    marks[latents] = True
    return marks


def _array(latents: Collection[int]) -> Int[np.ndarray, "_"]:
    return np.fromiter(latents, np.int64, len(latents))


def _line(row: Summary, starred: bool, value: float | int | None) -> FeatureLine:
    return FeatureLine(
        latent=row.latent,
        label=row.label,
        known=is_known(row.label),
        detection=row.detection,
        n_fired=row.n_fired,
        density=row.density,
        mean=row.mean,
        max=row.max,
        n_documents=row.n_documents,
        document_share=row.document_share,
        peak=row.peak,
        dead=row.dead,
        dense=row.dense,
        starred=starred,
        value=value,
    )
