"""The features whose labels are best supported: chosen by their scores, for showing."""

from typing import Final

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.feature import Feature

_JUDGED_BY: Final = ("detection", "fuzzing", "intruder", "simulation")
"""Scores of labels that have 1 as their best; a rubric rates a latent, not its label."""


def best_features(atlas: Atlas, n: int = 10, *, min_documents: int = 5) -> tuple[Feature, ...]:
    """The features with the best supported labels, best first; fewer where fewer are known.

    A label is as good as the lowest of the lower ends of its scores. Equal ones stand by the number of
    documents in which the latent fires. Of latents with one peak token, or with one label, only the best is
    given, so that ten features show ten things.

    Args:
        atlas: With labels.
        n: How many.
        min_documents: Leave out what fires in fewer documents: such a label may describe one text.
    """
    found = []
    for summary in atlas.filter(known=True, order="latent", limit=len(atlas)):
        feature = atlas.feature(summary.latent)
        lows = [score.low for score in feature.scores if score.scorer in _JUDGED_BY]
        if lows and feature.record.n_documents >= min_documents:
            found.append((-min(lows), -feature.record.n_documents, summary.latent, feature))
    best: dict[str | int | None, Feature] = {}
    labels: set[str] = set()
    for *_, feature in sorted(found, key=lambda item: item[:3]):
        token = feature.record.peak_token
        if token not in best and feature.label not in labels:
            best[token] = feature
            labels.add(feature.label)
        if len(best) == n:
            break
    return tuple(best.values())
