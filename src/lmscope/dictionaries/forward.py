"""Forward: one forward pass of a dictionary in training, by the kind of its sparsity."""

from math import sqrt
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lmscope.core.processes import Processes
from lmscope.dictionaries.agreement import agree_on_batch, agree_on_tokens
from lmscope.dictionaries.config import BatchTopK, JumpReLU, ObjectiveConfig, ReLU
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.encoding import EncodePrecision, fastest_precision
from lmscope.dictionaries.folding import decoder_norms
from lmscope.dictionaries.losses import l0_penalty, l0_penalty_of, l1_penalty
from lmscope.dictionaries.products import (
    Selected,
    sparse_autoencode,
    sparse_decode,
    sparse_encode,
)
from lmscope.dictionaries.selection import (
    select_above,
    select_batchtopk,
    select_topk,
)
from lmscope.dictionaries.sparsity import jumprelu_pairs, jumprelu_trained, relu

SPARSE_FRACTION = 16
"""A JumpReLU step is taken pair by pair where at most one in so many pairs fires or nearly does."""


class Rows(NamedTuple):
    """The rows of a batch that count, in training units.

    Attributes:
        x: Input.
        y: Target.
        n: Rows that count in all processes' parts of the batch.
        n_outliers: Rows of the batch that do not.
        mean: Mean target of the whole batch.
    """

    x: Float[Tensor, "token read"]
    y: Float[Tensor, "token write"]
    n: int
    n_outliers: int
    mean: Float[Tensor, "write"]


class Attempt(NamedTuple):
    """One forward pass in training units.

    Attributes:
        output: What the dictionary writes.
        penalty: What its sparsity adds to the loss, summed over tokens.
        n_fired: Latents of this process that fired, summed over tokens.
        fired: Which of them fired.
        lowest_score: The lowest one that BatchTopK kept, on any process.
    """

    output: Float[Tensor, "token write"]
    penalty: Float[Tensor, ""]
    n_fired: Tensor
    fired: Bool[Tensor, "latent"]
    lowest_score: Tensor | None = None


class Forward:
    """Encodes, keeps few, decodes; in training units, with gradients.

    Args:
        dictionary: This process's latents.
        options: How it is trained.
        processes: Who holds other latents of the same tokens, and other tokens of the batch.
    """

    def __init__(
        self, dictionary: Dictionary, options: ObjectiveConfig, processes: Processes
    ) -> None:
        self.dictionary = dictionary
        self.options = options
        self._processes, self._latent = processes, processes.latent
        self._precision: EncodePrecision = _precision(options, dictionary.W_enc)

    def output(self, decoded: Tensor, x: Tensor) -> Tensor:
        """What the dictionary writes: the decoded latents of all processes, bias and linear path."""
        dictionary = self.dictionary
        output = self._latent.total(decoded) + dictionary.b_dec
        if dictionary.W_skip is not None:
            output = output + nn.functional.linear(x, dictionary.W_skip)
        return output

    def encoder_bias(self) -> Tensor:
        """As the dictionary's own; other processes' latents pass their gradient on to `b_dec` too."""
        dictionary = self.dictionary
        if not dictionary.config.apply_b_dec_to_input:
            return dictionary.b_enc
        return dictionary.b_enc - dictionary.W_enc @ self._latent.shared(dictionary.b_dec)

    def sparse(self, rows: Rows, k: int) -> Attempt:
        """TopK and BatchTopK."""
        dictionary, x = self.dictionary, rows.x
        norms = dictionary.score_norms().detach()
        encoder = x, dictionary.W_enc, dictionary.encoder_bias().detach(), norms
        coupled = isinstance(dictionary.config.sparsity, BatchTopK)
        if coupled:
            n_kept = rows.n * k
            agree = agree_on_batch(self._processes.batch, n_kept)
            selected = select_batchtopk(
                *encoder,
                n_kept,
                floor=self._score_floor(),
                agree=agree,
                precision=self._precision,
            )
        else:
            agree = agree_on_tokens(self._latent, k)
            selected = select_topk(*encoder, k, agree, self._precision)
        applied = dictionary.config.apply_b_dec_to_input
        input_bias = self._latent.shared(dictionary.b_dec) if applied else None
        output, values, kept = sparse_autoencode(
            x, dictionary.W_enc, dictionary.b_enc, dictionary.W_dec, selected, input_bias
        )
        fires = values.detach() > 0
        lowest = self._lowest(values.detach() * norms[kept.latent]) if coupled else None
        return Attempt(
            output, x.new_zeros(()), fires.sum(), self._fired(kept.latent[fires]), lowest
        )

    def _lowest(self, scores: Tensor) -> Tensor | None:
        """The lowest score that any process kept; None if none kept any."""
        batch = self._processes.batch
        if batch.size == 1:
            return scores.min() if len(scores) else None
        lowest = scores.min() if len(scores) else scores.new_tensor(torch.inf)
        lowest = batch.min_(lowest.clone())
        return lowest if bool(lowest.isfinite()) else None

    def _fired(self, latents: Tensor) -> Tensor:
        """Which latents are among those given."""
        fired = torch.zeros_like(self.dictionary.b_enc, dtype=torch.bool)
        fired[latents] = True
        return fired

    def _score_floor(self) -> float:
        """A guess of what BatchTopK will not keep: well below what it kept lately."""
        threshold = self.dictionary.threshold
        return 0.0 if threshold is None or bool(threshold.isnan()) else 0.7 * threshold.item()

    def relu(self, x: Tensor, sparsity: ReLU, weight: float) -> Attempt:
        """ReLU, every product dense; `weight` is that of the L1 penalty."""
        dictionary = self.dictionary
        pre = nn.functional.linear(x, dictionary.W_enc, self.encoder_bias())
        latents = relu(pre)
        paid = l1_penalty(latents, decoder_norms(dictionary.W_dec), sparsity)
        penalty = weight * self._latent.total(paid)
        fires = latents.detach() > 0
        return Attempt(latents @ dictionary.W_dec, penalty, fires.sum(), fires.any(0))

    def jumprelu(self, x: Tensor, sparsity: JumpReLU, threshold: Tensor, weight: float) -> Attempt:
        """JumpReLU with trained thresholds; `weight` is that of the L0 penalty.

        Sparse where few pairs fire or nearly do, else dense; all processes do the same.
        """
        dictionary = self.dictionary
        bandwidth = sparsity.bandwidth * sqrt(dictionary.config.d_read)
        selected = select_above(
            x,
            dictionary.W_enc,
            self.encoder_bias().detach(),
            (threshold - bandwidth / 2).detach(),
            most=len(x) * len(threshold) // SPARSE_FRACTION,
            precision=self._precision,
        )
        if self._processes.batch.any(selected is None):
            selected = None
        if selected is not None:
            return self._jumprelu_pairs(x, sparsity, threshold, selected, weight)
        pre = nn.functional.linear(x, dictionary.W_enc, self.encoder_bias())
        latents = jumprelu_trained(pre, threshold, bandwidth)
        penalty = weight * l0_penalty(pre, threshold, bandwidth, sparsity, self._processes)
        fires = latents.detach() > 0
        return Attempt(latents @ dictionary.W_dec, penalty, fires.sum(), fires.any(0))

    def _jumprelu_pairs(
        self, x: Tensor, sparsity: JumpReLU, threshold: Tensor, selected: Selected, weight: float
    ) -> Attempt:
        """The same of the pairs that fire or nearly do; all others have neither value nor gradient."""
        dictionary = self.dictionary
        bandwidth = sparsity.bandwidth * sqrt(dictionary.config.d_read)
        applied = dictionary.config.apply_b_dec_to_input
        input_bias = self._latent.shared(dictionary.b_dec) if applied else None
        encoded = sparse_encode(x, dictionary.W_enc, dictionary.b_enc, selected, input_bias)
        latent = selected.kept.latent
        latents, steps = jumprelu_pairs(encoded.pre, threshold[latent], bandwidth)
        penalty = weight * l0_penalty_of(steps.sum(), len(x), sparsity, self._processes)
        output = sparse_decode(latents, dictionary.W_dec, encoded)
        fires = latents.detach() > 0
        return Attempt(output, penalty, fires.sum(), self._fired(latent[fires]))


def _precision(options: ObjectiveConfig, weight: Tensor) -> EncodePrecision:
    """The precision of the dense product, `auto` settled for this processor."""
    if options.encode_precision != "auto":
        return options.encode_precision
    return fastest_precision(weight)
