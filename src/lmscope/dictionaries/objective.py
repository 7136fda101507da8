"""DictionaryObjective: how one dictionary is trained, as the training loop sees it."""

from collections.abc import Callable, Iterator, Mapping
from math import sqrt
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from lmscope.core.errors import RunError, SiteError
from lmscope.core.processes import ALONE, Processes
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
from lmscope.dictionaries.forward import Attempt, Forward, Rows
from lmscope.dictionaries.initialisation import SiteScale, initialise
from lmscope.dictionaries.losses import (
    auxiliary_error,
    reconstruction_error,
    summed_error_unit,
)
from lmscope.dictionaries.shards import cut, join, latent_tensors
from lmscope.training.objective import Loss, ParameterGroup
from lmscope.training.tensor_tree import as_part, take_part

Inlier = Callable[[Site, Tensor], Tensor]
"""Which rows of a site's activations `[token, width]` are no outliers."""


@runtime_checkable
class SiteBatch(Protocol):
    """Activations of several sites at the same tokens."""

    @property
    def values(self) -> Mapping[Site, Tensor]:
        """`[token, width]` for each site."""
        ...


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
        processes: Processes = ALONE,
    ) -> None:
        """Train `dictionary` in place.

        Args:
            dictionary: In training units.
            options: Loss, constraint, dead latents.
            n_steps: Optimiser steps in all; annealing and warm-up are fractions of it.
            name: Unique in the run.
            inlier: Says which rows of a site to keep; absent: all.
            processes: Who trains it together: others have other rows of each batch (axis data), or
                other latents (axis latent), `dictionary` then being this process's shard.
        """
        self.dictionary = dictionary.requires_grad_(True).train()
        self.options = options
        self.n_steps = n_steps
        self.name = name
        self._inlier = inlier
        self._processes, self._latent = processes, processes.latent
        n_all = dictionary.config.n_latents * processes.latent.size
        self.config = dictionary.config.model_copy(update={"n_latents": n_all})
        self._read, self._write = dictionary.config.read_site, dictionary.config.write_site
        n_latents, device = dictionary.config.n_latents, dictionary.W_enc.device
        self.tokens_since_fired = torch.zeros(n_latents, dtype=torch.int64, device=device)
        self._fired = torch.zeros(n_latents, dtype=torch.bool, device=device)
        self._n_seen = 0
        self._lowest_score: Tensor | None = None
        self._log_threshold = self._start_thresholds()
        self._forward = Forward(dictionary, options, processes)
        if options.unit_norm_decoder:
            self._normalise_decoder()
            dictionary.W_dec.register_post_accumulate_grad_hook(_project_gradient)

    @classmethod
    def start(  # noqa: PLR0913 - each says one thing, and all but four have a default
        cls,
        config: DictionaryConfig,
        options: ObjectiveConfig,
        calibration: Mapping[Site, SiteScale],
        *,
        n_steps: int,
        seed: int,
        name: str | None = None,
        inlier: Inlier | None = None,
        processes: Processes = ALONE,
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
            processes: Who trains it together.
            device: Where to train.

        Raises:
            SiteError: A site has no statistics.
            RecipeError: The latents cannot be shared evenly by the processes.
        """
        first, last = processes.mesh.rows(config.n_latents)
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
        return cls(
            cut(dictionary, first, last).to(device),
            options,
            n_steps=n_steps,
            name=name,
            inlier=inlier,
            processes=processes,
        )

    def whole(self) -> Dictionary:
        """The dictionary with the latents of all processes, which all call this together."""
        return join(self.dictionary, self.config, self._processes)

    @property
    def batch_coupled(self) -> bool:
        """True for BatchTopK, a target L0 and the `batch_norm` loss."""
        sparsity = self.dictionary.config.sparsity
        targeted = isinstance(sparsity, JumpReLU) and sparsity.target_l0 is not None
        by_batch = isinstance(sparsity, BatchTopK) or targeted
        return by_batch or self.options.reconstruction == "batch_norm"

    def parameter_groups(self) -> list[ParameterGroup]:
        """All weights, and the logarithms of trained thresholds; those of latents apart."""
        of_latents = latent_tensors(self.dictionary)
        named = dict(self.dictionary.named_parameters())
        split = {name: p for name, p in named.items() if name in of_latents}
        if self._log_threshold is not None:
            split["log_threshold"] = self._log_threshold
        common = {name: p for name, p in named.items() if name not in of_latents}
        return [ParameterGroup(split, split=True), ParameterGroup(common)]

    def batches(self, stream: Iterator[Any]) -> Iterator[Any]:
        """The stream itself."""
        return stream

    def loss(self, batch: SiteBatch, step: int) -> Loss:
        """Error, penalty and auxiliary error of one batch, summed over its rows that are kept.

        Raises:
            SiteError: The batch lacks a site.
        """
        rows = self._rows(batch)
        if not rows.n:
            return Loss(self.dictionary.b_dec.sum() * 0.0, 0.0, {})
        x, y = rows.x, rows.y
        attempt = self._attempt(rows, step)
        kind = self.options.reconstruction
        error = reconstruction_error(attempt.output, y, kind, rows.mean)
        total = error + attempt.penalty
        terms = {"penalty": attempt.penalty} if attempt.penalty.requires_grad else {}
        if (auxiliary := self._auxiliary(x, y, attempt.output.detach())) is not None:
            total = total + auxiliary
            terms["auxiliary"] = auxiliary
        self._fired |= attempt.fired
        self._n_seen += rows.n
        n_here = max(len(x), 1)
        sums = {**terms, "loss": total}
        return Loss(
            total.float(),
            float(len(x)),
            {
                **{key: value.detach() / n_here for key, value in sums.items()},
                **self._measures(self._squared(error, attempt, y), attempt, rows, step),
                "outlier_fraction": torch.tensor(rows.n_outliers / (rows.n + rows.n_outliers)),
            },
        )

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Count tokens since each latent fired, follow the threshold, hold the decoder's norms."""
        self.tokens_since_fired += self._n_seen
        self._processes.data.any_(self._fired)
        self.tokens_since_fired[self._fired] = 0
        self._fired.zero_()
        self._n_seen = 0
        self._follow_threshold()
        if self.options.unit_norm_decoder:
            self._normalise_decoder()

    def state(self) -> dict[str, Any]:
        """Counters and buffers; the parameters are the loop's to keep."""
        number, n = self._latent.rank, self._latent.size
        of_latents = latent_tensors(self.dictionary)
        buffers = {
            name: as_part(value.clone(), number, n) if name in of_latents else value.clone()
            for name, value in self.dictionary.named_buffers()
        }
        counts = as_part(self.tokens_since_fired.clone(), number, n)
        return {"tokens_since_fired": counts, "buffers": buffers}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            RunError: It belongs to another dictionary.
        """
        found = {"tokens_since_fired": state.get("tokens_since_fired"), **state.get("buffers", {})}
        own = {"tokens_since_fired": self.tokens_since_fired}
        own |= dict(self.dictionary.named_buffers())
        of_latents = {"tokens_since_fired", *latent_tensors(self.dictionary)}
        for name, value in own.items():
            other = found.get(name)
            if isinstance(other, Tensor) and name in of_latents:
                other = take_part(other, self._latent.rank, self._latent.size)
            if not isinstance(other, Tensor) or other.shape != value.shape:
                raise RunError(
                    f"The saved state is not that of '{self.name}': '{name}' is absent or of "
                    "another shape; resume with the recipe that the run was started with."
                )
            value.copy_(other)

    @property
    def dead(self) -> Bool[Tensor, "latent"]:
        """Latents of this process that did not fire on the last `dead_after_tokens` tokens."""
        return self.tokens_since_fired >= self.options.dead_after_tokens

    def k_at(self, step: int) -> int | None:
        """Latents kept at a step, for sparsities that have a k."""
        config = self.config
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

    def _rows(self, batch: SiteBatch) -> Rows:
        """Input and target in training units without outliers."""
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
        counts = y.new_tensor([len(x), n_rows - len(x)], dtype=torch.float64)
        sums = self._processes.data.sum_(torch.cat([counts, y.sum(0).double()]))
        n, n_outliers = int(sums[0]), int(sums[1])
        return Rows(x, y, n, n_outliers, (sums[2:] / max(n, 1)).to(dtype))

    def _attempt(self, rows: Rows, step: int) -> Attempt:
        sparsity = self.config.sparsity
        unit = summed_error_unit(self.options.reconstruction, rows.y.shape[1])
        match sparsity:
            case TopK() | BatchTopK():
                k = self.k_at(step)
                assert k is not None
                attempt = self._forward.sparse(rows, k)
                self._lowest_score = attempt.lowest_score
            case ReLU():
                weight = warmed_up(step, self.n_steps, sparsity.warmup_fraction)
                weight *= unit * sparsity.l1_coefficient
                attempt = self._forward.relu(rows.x, sparsity, weight)
            case JumpReLU():
                assert self._log_threshold is not None
                weight = warmed_up(step, self.n_steps, sparsity.warmup_fraction)
                # The paper's loss is 1 / d_write of ours: its activations have a mean square norm of 1.
                weight *= unit * self.config.d_write * sparsity.l0_coefficient
                threshold = self._log_threshold.exp()
                attempt = self._forward.jumprelu(rows.x, sparsity, threshold, weight)
        return attempt._replace(output=self._forward.output(attempt.output, rows.x))

    def _auxiliary(self, x: Tensor, y: Tensor, output: Tensor) -> Tensor | None:
        options, dictionary = self.options.auxiliary, self.dictionary
        if options is None:
            return None
        n_dead = int(self._latent.sum_(self.dead.sum()))
        if not n_dead:
            return None
        k = min(options.k or max(1, dictionary.config.d_read // 2), n_dead)
        encoder = dictionary.W_enc, self._forward.encoder_bias()
        kind = self.options.reconstruction
        error = auxiliary_error(
            x, y - output, encoder, dictionary.W_dec, self.dead, k, kind, self._latent
        )
        return options.coefficient * error

    def _squared(self, error: Tensor, attempt: Attempt, y: Tensor) -> Tensor:
        """The summed squared error, from the loss where that says it."""
        match self.options.reconstruction:
            case "sum":
                return error.detach()
            case "mean":
                return error.detach() * y.shape[1]
            case "batch_norm":
                return nn.functional.mse_loss(attempt.output.detach(), y, reduction="sum")

    def _measures(
        self, squared_error: Tensor, attempt: Attempt, rows: Rows, step: int
    ) -> dict[str, Tensor]:
        target = rows.y
        variation = (target - rows.mean).square().sum()
        error_all, variation_all = self._processes.data.sum_(
            torch.stack([squared_error, variation])
        ).unbind()
        n_here = max(len(target), 1)
        n_fired, n_dead = self._latent.sum_(
            torch.stack([attempt.n_fired, self.dead.sum()]).float()
        ).unbind()
        measures = {
            "mse": squared_error / (n_here * target.shape[1]),
            "l0": n_fired / n_here,
            "n_dead": n_dead,
        }
        if rows.n > 1:
            measures["explained_variance_centred"] = 1 - error_all / variation_all
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
