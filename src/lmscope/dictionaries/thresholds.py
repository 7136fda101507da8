"""One threshold in place of TopK, so that each latent decides alone."""

import torch
from jaxtyping import Float
from torch import Tensor

from lmscope.core.errors import DataError, RecipeError
from lmscope.dictionaries.config import BatchTopK, JumpReLU, TopK
from lmscope.dictionaries.dictionary import Dictionary

_ROWS_AT_ONCE = 1024


@torch.no_grad()
def calibrate_threshold(
    dictionary: Dictionary, x: Float[Tensor, "token read"], l0: float | None = None
) -> Dictionary:
    """The folded dictionary as JumpReLU with ONE threshold (he2024llamascope, post-processing).

    The threshold is the (n * l0)-th largest of `ReLU(pre)` over n tokens after folding, so that l0
    latents a token fire on average over them.

    Args:
        dictionary: Any; usually TopK or BatchTopK, whose k is then the default of `l0`.
        x: Raw activations of at least a few thousand tokens, without outliers and excluded
            positions.
        l0: Latents a token that are to fire on average.

    Raises:
        RecipeError: `l0` is absent for a dictionary without a k, or not within (0, n_latents).
        DataError: There are no tokens.
    """
    sparsity, n_latents = dictionary.config.sparsity, dictionary.config.n_latents
    if l0 is None:
        if not isinstance(sparsity, TopK | BatchTopK):
            raise RecipeError(f"A {sparsity.kind} dictionary has no k: say which l0 to reach.")
        l0 = sparsity.k
    if not 0 < l0 <= n_latents:
        raise RecipeError(f"l0 = {l0} cannot be reached with {n_latents} latents.")
    if not len(x):
        raise DataError("A threshold needs activations: no token was given.")
    folded = dictionary.fold()
    n_firing = max(1, round(len(x) * l0))
    largest = x.new_zeros(0)
    for rows in x.split(_ROWS_AT_ONCE):
        pre = folded.pre_activations(rows).flatten()
        pool = torch.cat([largest.to(pre), pre[pre > 0]])
        largest = pool.topk(min(n_firing, len(pool)), sorted=False).values
    # Fewer positive values than asked for: all of them may fire.
    theta = largest.min() if len(largest) == n_firing else largest.new_zeros(())
    tensors = {**folded.state_dict(), "threshold": theta.expand(n_latents).clone()}
    config = folded.config.model_copy(update={"sparsity": JumpReLU()})
    return Dictionary.from_tensors(config, tensors)
