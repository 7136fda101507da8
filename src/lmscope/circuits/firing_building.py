"""From a feature of a frozen run to what it needs to fire."""

import torch

from lmscope.circuits.firing import Firing
from lmscope.circuits.frozen import Frozen
from lmscope.circuits.targets import FeatureTarget, position_of
from lmscope.core.errors import DataError
from lmscope.dictionaries.config import TopK
from lmscope.dictionaries.dictionary import Dictionary


@torch.no_grad()
def firing(frozen: Frozen, target: FeatureTarget) -> Firing:
    """Compare a feature with what it needs.

    Args:
        frozen: The run.
        target: The feature and its position.

    Raises:
        DataError: There is no such latent or position.
    """
    value = target.start(frozen).value
    stage, branch = frozen.branch(target.site)
    features = branch.features
    assert features is not None
    place, latent = position_of(frozen, target.position), target.latent
    dictionary = features.dictionary
    stands = bool(features.stands[place] > 0)
    scores = dictionary.pre_activations(branch.read_value(frozen.streams[stage])[place])
    scores = scores * dictionary.score_norms()
    here = (features.position == place) & (features.latent == latent)
    is_topk = isinstance(dictionary.config.sparsity, TopK)
    return Firing(
        rule=dictionary.config.sparsity.kind,
        pre_activation=value,
        threshold=_threshold(dictionary, scores, latent),
        fires=bool(here.any()),
        stands=stands,
        n_ahead=int((scores > scores[latent]).sum()) if is_topk else None,
    )


def _threshold(dictionary: Dictionary, scores: torch.Tensor, latent: int) -> float:
    """Above what the latent's pre-activation must be; never below 0."""
    sparsity, own = dictionary.config.sparsity, dictionary.threshold
    norm = float(dictionary.score_norms()[latent])
    if isinstance(sparsity, TopK):
        # A latent that is kept competes with the best that is not, any other with the last that is.
        order = scores.argsort(descending=True, stable=True)
        rank = int((order == latent).nonzero())
        rival = sparsity.k if rank < sparsity.k else sparsity.k - 1
        floor = float(scores[order[rival]]) if rival < len(scores) else 0.0
        return max(floor, 0.0) / norm if norm else 0.0
    if own is None:
        return 0.0
    if own.ndim:
        return max(float(own[latent]), 0.0)
    if not torch.isfinite(own):
        raise DataError(f"The dictionary at '{dictionary.config.write_site}' has no threshold.")
    return max(float(own), 0.0) / norm if norm else 0.0
