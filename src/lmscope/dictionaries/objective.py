"""DictionaryObjective: how one dictionary is trained, as the training loop sees it."""

from collections.abc import Callable, Iterator, Mapping
from math import sqrt
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lmscope.core.errors import RunError, SiteError
from lmscope.core.rng import generator
from lmscope.core.site import Site
from lmscope.dictionaries.annealing import annealed_k, warmed_up
from lmscope.dictionaries.config import (
    BatchTopK,
    DictionaryConfig,
    JumpReLU,
    ObjectiveConfig,
    ReLU,
    TopK,
)
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.folding import decoder_norms
from lmscope.dictionaries.initialisation import SiteScale, initialise
from lmscope.dictionaries.losses import (
    auxiliary_error,
    l0_penalty,
    l1_penalty,
    reconstruction_error,
    summed_error_unit,
)
from lmscope.dictionaries.products import sparse_autoencode
from lmscope.dictionaries.selection import select_batchtopk, select_topk
from lmscope.dictionaries.sparsity import jumprelu_trained, relu
from lmscope.training.objective import Loss, ParameterGroup

Inlier = Callable[[Site, Tensor], Tensor]
"""Which rows of a site's activations `[token, width]` are no outliers."""


@runtime_checkable
class SiteBatch(Protocol):
    """Activations of several sites at the same tokens."""

    @property
    def values(self) -> Mapping[Site, Tensor]:
        """`[token, width]` for each site."""
        ...


class Attempt(NamedTuple):
    """One forward pass in training units.

    Attributes:
        output: What the dictionary writes.
        penalty: What its sparsity adds to the loss, summed over tokens.
        n_fired: Latents that fired, summed over tokens.
        fired: Which latents fired.
    """

    output: Float[Tensor, "token write"]
    penalty: Float[Tensor, ""]
    n_fired: Tensor
    fired: Bool[Tensor, "latent"]


class DictionaryObjective:
    """Trains one `Dictionary` on the activations of the sites that it reads and writes.

    A loss is a sum over tokens and its weight the number of tokens, so micro-batches add up exactly.
    Rows that are outliers at either site are dropped here, so that dictionaries trained side by side
    equal the same ones trained alone. Terms: `loss`, `mse` (mean over the width, training units),
    `explained_variance_centred` (of the batch), `l0`, `n_dead`, `outlier_fraction`, and where they
    exist `k`, `penalty`, `auxiliary`.
    """

    def __init__(
        self,
        dictionary: Dictionary,
        options: ObjectiveConfig,
        *,
        n_steps: int,
        name: str,
        inlier: Inlier | None = None,
    ) -> None:
        """Train `dictionary` in place.

        Args:
            dictionary: In training units.
            options: Loss, constraint, dead latents.
            n_steps: Optimiser steps in all; annealing and warm-up are fractions of it.
            name: Unique in the run.
            inlier: Says which rows of a site to keep; absent: all.
        """
        self.dictionary = dictionary.requires_grad_(True).train()
        self.options = options
        self.n_steps = n_steps
        self.name = name
        self._inlier = inlier
        self._read, self._write = dictionary.config.read_site, dictionary.config.write_site
        n_latents, device = dictionary.config.n_latents, dictionary.W_enc.device
        self.tokens_since_fired = torch.zeros(n_latents, dtype=torch.int64, device=device)
        self._fired = torch.zeros(n_latents, dtype=torch.bool, device=device)
        self._n_seen = 0
        self._lowest_score: Tensor | None = None
        self._log_threshold = self._start_thresholds()
        if options.unit_norm_decoder:
            self._normalise_decoder()
            dictionary.W_dec.register_post_accumulate_grad_hook(_project_gradient)

    @classmethod
    def start(
        cls,
        config: DictionaryConfig,
        options: ObjectiveConfig,
        calibration: Mapping[Site, SiteScale],
        *,
        n_steps: int,
        seed: int,
        name: str | None = None,
        inlier: Inlier | None = None,
        device: torch.device | str = "cpu",
    ) -> "DictionaryObjective":
        """A new dictionary, initialised from statistics of its sites.

        Args:
            config: What it is.
            options: How it is trained.
            calibration: Mean norm and mean of each site.
            n_steps: Optimiser steps in all.
            seed: The recipe's seed; the dictionary's own stream is named after `name`.
            name: Unique in the run; absent: written site, latents and sparsity.
            inlier: Says which rows of a site to keep.
            device: Where to train.

        Raises:
            SiteError: A site has no statistics.
        """
        kind = config.sparsity.kind
        name = name or f"{config.write_site.slug}-{config.n_latents}-{kind}"
        for site in (config.read_site, config.write_site):
            if site not in calibration:
                raise SiteError(f"'{site}' has no statistics: read it in the same stream.")
        dictionary = initialise(
            config,
            options.initialisation,
            calibration[config.read_site],
            calibration[config.write_site],
            generator(seed, "dictionary", name),
        )
        return cls(dictionary.to(device), options, n_steps=n_steps, name=name, inlier=inlier)

    @property
    def batch_coupled(self) -> bool:
        """True for BatchTopK, a target L0 and the `batch_norm` loss."""
        sparsity = self.dictionary.config.sparsity
        targeted = isinstance(sparsity, JumpReLU) and sparsity.target_l0 is not None
        by_batch = isinstance(sparsity, BatchTopK) or targeted
        return by_batch or self.options.reconstruction == "batch_norm"

    def parameter_groups(self) -> list[ParameterGroup]:
        """All weights, and the logarithms of trained thresholds."""
        parameters = dict(self.dictionary.named_parameters())
        if self._log_threshold is not None:
            parameters["log_threshold"] = self._log_threshold
        return [ParameterGroup(parameters)]

    def batches(self, stream: Iterator[Any]) -> Iterator[Any]:
        """The stream itself."""
        return stream

    def loss(self, batch: SiteBatch, step: int) -> Loss:
        """Error, penalty and auxiliary error of one batch, summed over its rows that are kept.

        Raises:
            SiteError: The batch lacks a site.
        """
        x, y, n_rows = self._rows(batch)
        if not len(x):
            return Loss(self.dictionary.b_dec.sum() * 0.0, 0.0, {})
        attempt = self._attempt(x, y.shape[1], step)
        kind = self.options.reconstruction
        total = reconstruction_error(attempt.output, y, kind) + attempt.penalty
        terms = {"penalty": attempt.penalty} if attempt.penalty.requires_grad else {}
        if (auxiliary := self._auxiliary(x, y - attempt.output.detach())) is not None:
            total = total + auxiliary
            terms["auxiliary"] = auxiliary
        self._fired |= attempt.fired
        self._n_seen += len(x)
        sums = {**terms, "loss": total, "l0": attempt.n_fired}
        return Loss(
            total.float(),
            float(len(x)),
            {
                **{key: value.detach() / len(x) for key, value in sums.items()},
                **self._measures(attempt.output.detach(), y, step),
                "outlier_fraction": torch.tensor(1 - len(x) / n_rows),
            },
        )

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Count tokens since each latent fired, follow the threshold, hold the decoder's norms."""
        self.tokens_since_fired += self._n_seen
        self.tokens_since_fired[self._fired] = 0
        self._fired.zero_()
        self._n_seen = 0
        self._follow_threshold()
        if self.options.unit_norm_decoder:
            self._normalise_decoder()

    def state(self) -> dict[str, Any]:
        """Counters and buffers; the parameters are the loop's to keep."""
        buffers = {name: value.clone() for name, value in self.dictionary.named_buffers()}
        return {"tokens_since_fired": self.tokens_since_fired.clone(), "buffers": buffers}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            RunError: It belongs to another dictionary.
        """
        found = {"tokens_since_fired": state.get("tokens_since_fired"), **state.get("buffers", {})}
        own = {"tokens_since_fired": self.tokens_since_fired}
        own |= dict(self.dictionary.named_buffers())
        for name, value in own.items():
            other = found.get(name)
            if not isinstance(other, Tensor) or other.shape != value.shape:
                raise RunError(
                    f"The saved state is not that of '{self.name}': '{name}' is absent or of "
                    "another shape; resume with the recipe that the run was started with."
                )
            value.copy_(other)

    @property
    def dead(self) -> Bool[Tensor, "latent"]:
        """Latents that did not fire on the last `dead_after_tokens` tokens."""
        return self.tokens_since_fired >= self.options.dead_after_tokens

    def k_at(self, step: int) -> int | None:
        """Latents kept at a step, for sparsities that have a k."""
        config = self.dictionary.config
        if not isinstance(config.sparsity, TopK | BatchTopK):
            return None
        return annealed_k(
            step,
            self.n_steps,
            config.sparsity.k,
            d_read=config.d_read,
            n_latents=config.n_latents,
            annealing=config.sparsity.annealing,
        )

    def _rows(self, batch: SiteBatch) -> tuple[Tensor, Tensor, int]:
        """Input and target in training units without outliers, and the rows there were."""
        raw = {}
        for site in (self._read, self._write):
            if site not in batch.values:
                raise SiteError(f"The batch of '{self.name}' lacks '{site}': add it to the stream.")
            raw[site] = batch.values[site].to(self.dictionary.W_enc.device)
        n_rows = len(raw[self._read])
        if self._inlier is not None:
            keep = torch.ones(n_rows, dtype=torch.bool, device=self.dictionary.W_enc.device)
            for site, values in raw.items():
                keep &= self._inlier(site, values)
            if not bool(keep.all()):
                raw = {site: values[keep] for site, values in raw.items()}
        dictionary = self.dictionary
        dtype = dictionary.W_enc.dtype
        x = raw[self._read].to(dtype) * dictionary.scale_in
        y = x if self._read == self._write else raw[self._write].to(dtype) * dictionary.scale_out
        return x, y, n_rows

    def _attempt(self, x: Tensor, d_write: int, step: int) -> Attempt:
        dictionary = self.dictionary
        sparsity = dictionary.config.sparsity
        unit = summed_error_unit(self.options.reconstruction, d_write)
        match sparsity:
            case TopK() | BatchTopK():
                attempt = self._attempt_sparse(x, step)
            case ReLU():
                attempt = self._attempt_relu(x, sparsity, unit, step)
            case JumpReLU():
                attempt = self._attempt_jumprelu(x, sparsity, unit, step)
        output = attempt.output + dictionary.b_dec
        if dictionary.W_skip is not None:
            output = output + nn.functional.linear(x, dictionary.W_skip)
        return attempt._replace(output=output)

    def _attempt_sparse(self, x: Tensor, step: int) -> Attempt:
        dictionary = self.dictionary
        k = self.k_at(step)
        assert k is not None
        norms = dictionary.score_norms().detach()
        encoder = x, dictionary.W_enc, dictionary.encoder_bias().detach(), norms
        coupled = isinstance(dictionary.config.sparsity, BatchTopK)
        if coupled:
            selected = select_batchtopk(*encoder, len(x) * k, floor=self._score_floor())
        else:
            selected = select_topk(*encoder, k)
        input_bias = dictionary.b_dec if dictionary.config.apply_b_dec_to_input else None
        output, values, kept = sparse_autoencode(
            x, dictionary.W_enc, dictionary.b_enc, dictionary.W_dec, selected, input_bias
        )
        fires = values.detach() > 0
        if coupled and len(values):
            self._lowest_score = (values.detach() * norms[kept.latent]).min()
        fired = torch.zeros_like(self._fired)
        fired[kept.latent[fires]] = True
        return Attempt(output, x.new_zeros(()), fires.sum(), fired)

    def _score_floor(self) -> float:
        """A guess of what BatchTopK will not keep: well below what it kept lately."""
        threshold = self.dictionary.threshold
        return 0.0 if threshold is None or bool(threshold.isnan()) else 0.7 * threshold.item()

    def _attempt_relu(self, x: Tensor, sparsity: ReLU, unit: float, step: int) -> Attempt:
        dictionary = self.dictionary
        pre = nn.functional.linear(x, dictionary.W_enc, dictionary.encoder_bias())
        latents = relu(pre)
        weight = warmed_up(step, self.n_steps, sparsity.warmup_fraction) * sparsity.l1_coefficient
        penalty = weight * unit * l1_penalty(latents, decoder_norms(dictionary.W_dec), sparsity)
        fires = latents.detach() > 0
        return Attempt(latents @ dictionary.W_dec, penalty, fires.sum(), fires.any(0))

    def _attempt_jumprelu(self, x: Tensor, sparsity: JumpReLU, unit: float, step: int) -> Attempt:
        dictionary = self.dictionary
        assert self._log_threshold is not None
        threshold = self._log_threshold.exp()
        bandwidth = sparsity.bandwidth * sqrt(dictionary.config.d_read)
        pre = nn.functional.linear(x, dictionary.W_enc, dictionary.encoder_bias())
        latents = jumprelu_trained(pre, threshold, bandwidth)
        # The paper's loss is 1 / d_write of ours: its activations have a mean square norm of 1.
        weight = warmed_up(step, self.n_steps, sparsity.warmup_fraction) * sparsity.l0_coefficient
        weight *= unit * dictionary.config.d_write
        penalty = weight * l0_penalty(pre, threshold, bandwidth, sparsity)
        fires = latents.detach() > 0
        return Attempt(latents @ dictionary.W_dec, penalty, fires.sum(), fires.any(0))

    def _auxiliary(self, x: Tensor, residual: Tensor) -> Tensor | None:
        options, dictionary = self.options.auxiliary, self.dictionary
        if options is None or not bool((dead := self.dead).any()):
            return None
        k = options.k or max(1, dictionary.config.d_read // 2)
        encoder = dictionary.W_enc, dictionary.encoder_bias()
        kind = self.options.reconstruction
        error = auxiliary_error(x, residual, encoder, dictionary.W_dec, dead, k, kind)
        return options.coefficient * error

    def _measures(self, output: Tensor, target: Tensor, step: int) -> dict[str, Tensor]:
        squared_error = (output - target).square().sum()
        measures = {"mse": squared_error / target.numel(), "n_dead": self.dead.sum().float()}
        if len(target) > 1:
            variation = (target - target.mean(0)).square().sum()
            measures["explained_variance_centred"] = 1 - squared_error / variation
        if (k := self.k_at(step)) is not None:
            measures["k"] = torch.tensor(float(k))
        return measures

    def _start_thresholds(self) -> nn.Parameter | None:
        config, threshold = self.dictionary.config, self.dictionary.threshold
        if not isinstance(config.sparsity, JumpReLU):
            return None
        assert threshold is not None
        if not bool((threshold > 0).all()):
            threshold.fill_(config.sparsity.initial_threshold * sqrt(config.d_read))
        return nn.Parameter(threshold.log())

    def _follow_threshold(self) -> None:
        threshold = self.dictionary.threshold
        if threshold is not None and self._log_threshold is not None:
            threshold.copy_(self._log_threshold.exp())
        lowest, self._lowest_score = self._lowest_score, None
        sparsity = self.dictionary.config.sparsity
        if lowest is None or threshold is None or not isinstance(sparsity, BatchTopK):
            return
        decayed = torch.lerp(lowest, threshold, sparsity.threshold_decay)
        threshold.copy_(torch.where(threshold.isnan(), lowest, decayed))

    @torch.no_grad()
    def _normalise_decoder(self) -> None:
        W_dec = self.dictionary.W_dec
        W_dec.div_(decoder_norms(W_dec).clamp(min=1e-12)[:, None])


def _project_gradient(W_dec: Tensor) -> None:
    """Remove from each decoder row's gradient its part along the row."""
    if W_dec.grad is None:
        return
    row = W_dec.detach() / decoder_norms(W_dec.detach()).clamp(min=1e-12)[:, None]
    W_dec.grad -= (W_dec.grad * row).sum(1, keepdim=True) * row
