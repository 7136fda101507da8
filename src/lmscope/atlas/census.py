"""The pass of a census: what fires where in a frozen corpus, for several dictionaries at once.

One forward pass of the model serves all dictionaries, whatever sites they read. Firings are spilled in
shards of consecutive contexts, so memory is bounded by one shard. Each shard is the same whoever computes
it, because its forward passes have fixed shapes: processes share shards by number, and after a stop
those that are on the disk are not computed again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from lmscope.activations.calibration import site_statistics
from lmscope.atlas.corpus import FrozenCorpus
from lmscope.atlas.shards import Shard, has_shard, write_shard
from lmscope.core.protocols import Listener
from lmscope.core.site import Site
from lmscope.dictionaries.config import TopK
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.encoding import fastest_precision
from lmscope.dictionaries.health import check_fits
from lmscope.dictionaries.selection import select_topk
from lmscope.evaluation.rows import spread
from lmscope.models.batch import Batch
from lmscope.models.exclusion import Exclusion
from lmscope.models.language_model import LanguageModel

_DENSE_NUMBERS = 1 << 24
"""Pre-activations that exist at the same time where a dictionary keeps no fixed number of latents."""


class Firings(NamedTuple):
    """Which latents fire on which tokens of a batch.

    Attributes:
        token: Row of the batch.
        latent: What fires there.
        value: How strongly, above 0.
    """

    token: Int64[np.ndarray, "firing"]
    latent: Int64[np.ndarray, "firing"]
    value: Float32[np.ndarray, "firing"]


@dataclass(frozen=True)
class PassSizes:
    """How much is done at a time; shards depend on both, but not on how many processes there are.

    Attributes:
        batch_contexts: Contexts of one forward pass.
        shard_contexts: Contexts of one shard.
    """

    batch_contexts: int
    shard_contexts: int


@dataclass
class PassFigures:
    """What a pass took.

    Attributes:
        n_tokens: Positions that were run through the model, padding left out.
        forward_s: Seconds in the model's forward passes.
        encode_s: Seconds in which firings were found.
        spill_s: Seconds in which shards were sorted and written.
    """

    n_tokens: int = 0
    forward_s: float = 0.0
    encode_s: float = 0.0
    spill_s: float = 0.0

    def to_mapping(self) -> dict[str, float | int]:
        """The same as named figures, with tokens a second and the time against the model's own."""
        total = self.forward_s + self.encode_s + self.spill_s
        return {
            "n_tokens": self.n_tokens,
            "forward_s": round(self.forward_s, 3),
            "encode_s": round(self.encode_s, 3),
            "spill_s": round(self.spill_s, 3),
            "tokens_per_s": round(self.n_tokens / total, 1) if total else 0.0,
            "time_of_forward": round(total / self.forward_s, 3) if self.forward_s else 0.0,
        }


@dataclass(frozen=True)
class CensusPass:
    """One pass of a model over a frozen corpus, for some of its dictionaries.

    Attributes:
        model: Whose activations.
        dictionaries: By name, on the model's device.
        corpus: What the model reads.
        exclusion: Which positions count, with the median norm of every site.
        folder: Shards of a dictionary lie in the folder of its name in it.
        sizes: How much at a time.
    """

    model: LanguageModel
    dictionaries: Mapping[str, Dictionary]
    corpus: FrozenCorpus
    exclusion: Exclusion
    folder: Path
    sizes: PassSizes
    figures: PassFigures = field(default_factory=PassFigures)

    def __post_init__(self) -> None:
        for dictionary in self.dictionaries.values():
            check_fits(self.model, dictionary)

    def firsts(self) -> range:
        """The first context of each shard."""
        return range(0, self.corpus.n_contexts, self.sizes.shard_contexts)

    def shards_of(self, name: str) -> Path:
        """Where the shards of a dictionary lie."""
        return self.folder / name

    @torch.no_grad()
    def spill(
        self,
        listener: Listener,
        *,
        rank: int = 0,
        n_ranks: int = 1,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        """Write the shards that are not there yet.

        Args:
            listener: Hears of progress, in tokens of this process.
            rank: Of this process; it takes every `n_ranks`-th shard.
            n_ranks: How many processes share the shards.
            pause: Called after each forward pass; may raise to stop.

        Raises:
            ArtifactError: The disk is full.
            DataError: An activation is not finite.
        """
        mine = list(self.firsts())[rank::n_ranks]
        total = sum(self._n_tokens(first) for first in mine)
        done = 0
        for first in mine:
            names = [n for n in self.dictionaries if not has_shard(self.shards_of(n), first)]
            if names:
                self._spill(first, names, pause)
            done += self._n_tokens(first)
            listener.on_progress("census", done, total, {})

    def _n_tokens(self, first: int) -> int:
        return int(self.corpus.rows(first, self.sizes.shard_contexts).mask.sum())

    def _spill(self, first: int, names: Sequence[str], pause: Callable[[], None]) -> None:
        """Compute one shard of some dictionaries."""
        parts = {name: _Part(first, self.corpus.context_length) for name in names}
        last = min(first + self.sizes.shard_contexts, self.corpus.n_contexts)
        for start in range(first, last, self.sizes.batch_contexts):
            n = min(self.sizes.batch_contexts, last - start)
            self._add(start, n, parts)
            pause()
        began = perf_counter()
        for name, part in parts.items():
            write_shard(self.shards_of(name), part.shard())
        self.figures.spill_s += perf_counter() - began

    def _add(self, start: int, n: int, parts: "Mapping[str, _Part]") -> None:
        """One forward pass, and what fires in it."""
        began = perf_counter()
        configs = {name: self.dictionaries[name].config for name in parts}
        sites = {s for c in configs.values() for s in (c.read_site, c.write_site)}
        batch = context_batch(self.corpus, start, n).to(self.model.device)
        keep = kept_tokens(self.model, self.exclusion, batch)
        values = self.model.read(batch, sorted(sites))
        self._wait()
        read = perf_counter()
        inlier = {s: self.exclusion.inlier(s, x.flatten(2).float()) for s, x in values.items()}
        for name, part in parts.items():
            config = configs[name]
            counted = keep & inlier[config.read_site] & inlier[config.write_site]
            x = values[config.read_site].flatten(2).float()[counted]
            part.add(start, counted.cpu().numpy(), find_firings(self.dictionaries[name], x))
        self.figures.n_tokens += batch.n_tokens
        self.figures.forward_s += read - began
        self.figures.encode_s += perf_counter() - read

    def _wait(self) -> None:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)


def find_firings(dictionary: Dictionary, x: Float[Tensor, "token read"]) -> Firings:
    """Every latent that fires on raw activations, as `Dictionary.encode` has it.

    Args:
        dictionary: Any; one of float32 weights that keeps k latents finds them the fast way.
        x: One row a token.
    """
    sparsity = dictionary.config.sparsity
    if isinstance(sparsity, TopK) and dictionary.W_enc.dtype == torch.float32:
        kept, pre = select_topk(
            x * dictionary.scale_in,
            dictionary.W_enc,
            dictionary.encoder_bias(),
            dictionary.score_norms(),
            sparsity.k,
            precision=fastest_precision(dictionary.W_enc),
        )
        fires = pre > 0
        return _as_firings(kept.token[fires], kept.latent[fires], pre[fires])
    tokens, latents, values = [], [], []
    size = max(1, _DENSE_NUMBERS // dictionary.config.n_latents)
    for start in range(0, max(1, len(x)), size):
        encoded = dictionary.encode(x[start : start + size])
        token, latent = encoded.nonzero(as_tuple=True)
        tokens.append(token + start)
        latents.append(latent)
        values.append(encoded[token, latent])
    return _as_firings(torch.cat(tokens), torch.cat(latents), torch.cat(values))


def context_batch(corpus: FrozenCorpus, start: int, n: int) -> Batch:
    """`n` contexts from one on, for a model."""
    tokens, mask = corpus.rows(start, n)
    return Batch(
        tokens=torch.from_numpy(tokens.astype(np.int64)),
        mask=torch.from_numpy(mask),
        rows=torch.arange(start, start + len(tokens)),
    )


def kept_tokens(
    model: LanguageModel, exclusion: Exclusion, batch: Batch
) -> Bool[Tensor, "context pos"]:
    """Positions of a batch that count, as far as tokens tell."""
    assert batch.tokens is not None
    return exclusion.keep_tokens(batch.tokens, batch.text_mask(), model.special_ids)


def sample_batches(
    model: LanguageModel, corpus: FrozenCorpus, *, n_tokens: int, batch_contexts: int
) -> Iterator[Batch]:
    """Batches at even distances through the corpus, of about so many tokens together and at least one.

    Args:
        model: Whose device they shall lie on.
        corpus: Where they come from.
        n_tokens: At most so many, padding counted, if that is a batch or more.
        batch_contexts: Contexts of one batch.
    """
    wanted = max(1, n_tokens // (batch_contexts * corpus.context_length))
    there = max(1, corpus.n_contexts // batch_contexts)
    for number in spread(there, wanted).tolist():
        yield context_batch(corpus, number * batch_contexts, batch_contexts).to(model.device)


@torch.no_grad()
def median_norms(
    model: LanguageModel, sites: Iterable[Site], batches: Iterable[Batch]
) -> dict[Site, float]:
    """The median norm of each site over the positions that count by their tokens; it tells outliers.

    Raises:
        DataError: No position counts, or an activation is not finite.
    """
    wanted = sorted(set(sites))
    parts: dict[Site, list[Tensor]] = {site: [] for site in wanted}
    for batch in batches:
        keep = kept_tokens(model, Exclusion(), batch)
        for site, values in model.read(batch, wanted).items():
            parts[site].append(values.flatten(2).float()[keep])
    return {site: site_statistics(site, parts[site]).median_norm for site in wanted}


class _Part:
    """What a shard of one dictionary holds so far."""

    def __init__(self, first: int, context_length: int) -> None:
        self._first, self._length = first, context_length
        self._counted: list[Bool[np.ndarray, "context pos"]] = []
        self._latents: list[Int64[np.ndarray, "firing"]] = []
        self._positions: list[Int64[np.ndarray, "firing"]] = []
        self._values: list[Float32[np.ndarray, "firing"]] = []

    def add(self, start: int, counted: Bool[np.ndarray, "context pos"], found: Firings) -> None:
        """Put in what fires in the contexts from `start` on."""
        self._counted.append(counted)
        self._latents.append(found.latent)
        self._positions.append(counted.ravel().nonzero()[0][found.token] + start * self._length)
        self._values.append(found.value)

    def shard(self) -> Shard:
        """All of it."""
        return Shard.of(
            self._first,
            np.concatenate(self._latents),
            np.concatenate(self._positions),
            np.concatenate(self._values),
            np.concatenate(self._counted),
        )


def _as_firings(token: Tensor, latent: Tensor, value: Tensor) -> Firings:
    return Firings(token.cpu().numpy(), latent.cpu().numpy(), value.float().cpu().numpy())
