"""The page of a feature: its label with evidence, its figures, its text and its relatives."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.explain.meanings import MEANINGS
from lmscope.atlas.explain.protocols import Score
from lmscope.atlas.feature import Feature
from lmscope.atlas.record import Weighted, histogram_edges
from lmscope.server.schemas.common import Estimate, Histogram
from lmscope.server.schemas.feature import FeaturePage, LabelSource, Related, ScoreLine
from lmscope.server.schemas.home import DictionaryLine
from lmscope.server.views.features import check_latent
from lmscope.server.views.notes import note_body
from lmscope.server.views.provenance import feature_provenance, run_of
from lmscope.server.views.tokens import passage, passage_group, token_rates, weighted_tokens

_DENSITY_BINS: Final = 40
_MAX_MISSED: Final = 12


def feature_page(
    atlas: Atlas,
    latent: int,
    *,
    dictionary: DictionaryLine,
    atlas_id: str,
    weights: Path | None = None,
) -> FeaturePage:
    """All that an atlas knows of a latent.

    Args:
        atlas: The atlas.
        latent: Which one.
        dictionary: Its dictionary in a line.
        atlas_id: What the address calls this atlas.
        weights: The folder of the dictionary, where it is here, for what needs the model.

    Raises:
        NotFound: There is no such latent.
        ArtifactError: The atlas, its corpus or its labels are damaged.
    """
    check_latent(atlas, latent)
    feature = atlas.feature(latent)
    last = len(atlas) - 1
    return FeaturePage(
        dictionary=dictionary,
        atlas=atlas_id,
        latent=latent,
        n_latents=len(atlas),
        label=feature.label,
        known=feature.known,
        sources=label_sources(atlas, latent),
        **_missed(atlas, latent),
        **_figures(atlas, feature),
        **_text(atlas, feature),
        neighbours=_related(atlas, feature.record.neighbours),
        coactive=_related(atlas, feature.record.coactive),
        note=None if atlas.notes is None else note_body(feature.note),
        live=weights is not None,
        previous=latent - 1 if latent > 0 else None,
        next=latent + 1 if latent < last else None,
        provenance=feature_provenance(atlas, latent, weights),
    )


def density_histogram(atlas: Atlas) -> Histogram | None:
    """How many latents fire on which share of the text, dead ones left out; None where all are dead."""
    alive = atlas.densities[np.searchsorted(atlas.densities, 0.0, side="right") :]
    if not len(alive):
        return None
    low, high = np.floor(np.log10(alive[0])), np.ceil(np.log10(alive[-1]))
    edges = np.linspace(low, max(high, low + 1), _DENSITY_BINS + 1)
    places = np.searchsorted(alive, 10.0 ** edges[1:-1], side="left")
    counts = np.diff(places, prepend=0, append=len(alive))
    return Histogram(edges=edges.tolist(), counts=counts.tolist(), scale="log10")


def label_sources(atlas: Atlas, latent: int) -> list[LabelSource]:
    """What each explainer says of a latent, newest first."""
    found = []
    for reader, said in atlas.said(latent):
        if said.label is None:
            continue
        run = run_of(reader.path)
        found.append(
            LabelSource(
                run=None if run is None else run.name,
                explainer=said.label.explainer,
                judge=reader.meta.judge,
                label=said.label.text,
                known=said.known,
                threshold=reader.meta.threshold,
                precision=said.label.precision,
                recall=said.label.recall,
                scores=[_score(one) for one in said.scores],
            )
        )
    return found


def _score(score: Score) -> ScoreLine:
    meaning = MEANINGS.get(score.scorer)
    # Equal ends stand for no interval, e.g. of a language model's rating.
    has_interval = score.low < score.high
    return ScoreLine(
        scorer=score.scorer,
        estimate=Estimate(
            value=score.value,
            low=score.low if has_interval else None,
            high=score.high if has_interval else None,
            n=score.n,
        ),
        chance=None if meaning is None else meaning.chance,
        meaning="" if meaning is None else meaning.text,
    )


def _missed(atlas: Atlas, latent: int) -> dict[str, Any]:
    found = atlas.counter_examples(latent)
    if found is None:
        return {"missed": [], "n_missed": None, "n_promised": None}
    return {
        "missed": [passage(atlas.corpus, one) for one in found.missed[:_MAX_MISSED]],
        "n_missed": len(found.missed),
        "n_promised": found.n_asked,
    }


def _figures(atlas: Atlas, feature: Feature) -> dict[str, Any]:
    record = feature.record
    denser = len(atlas) - int(np.searchsorted(atlas.densities, record.density, side="right"))
    return {
        "n_fired": record.n_fired,
        "density": record.density,
        "mean": record.mean,
        "max": record.max,
        "dead": record.is_dead,
        "dense": feature.is_dense,
        "n_stretches": record.n_stretches,
        "n_documents": record.n_documents,
        "document_share": record.document_share,
        "density_rank": denser + 1,
        "activations": Histogram(
            edges=histogram_edges(record.max).tolist(), counts=list(record.histogram)
        ),
        "densities": density_histogram(atlas),
    }


def _text(atlas: Atlas, feature: Feature) -> dict[str, Any]:
    record = feature.record
    return {
        "groups": [passage_group(atlas, group) for group in record.groups],
        "peak_tokens": weighted_tokens(atlas, record.peak_tokens),
        "tokens": token_rates(atlas, record.tokens),
        "top_logits": weighted_tokens(atlas, record.top_logits),
        "bottom_logits": weighted_tokens(atlas, record.bottom_logits),
    }


def _related(atlas: Atlas, ones: Sequence[Weighted]) -> list[Related]:
    rows = atlas.listed([one.id for one in ones])
    return [
        Related(latent=one.id, value=one.value, label=row.label, density=row.density, peak=row.peak)
        for one, row in zip(ones, rows, strict=True)
    ]
