"""ActivationStream: batches of activations at many sites, in an order fixed by the seed alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmscope.activations.blocks import Blocks
from lmscope.activations.calibration import (
    SiteStatistics,
    calibration_from_state,
    calibration_state,
    site_statistics,
)
from lmscope.activations.config import StreamConfig
from lmscope.activations.layout import Layout
from lmscope.activations.prefetch import Ahead
from lmscope.activations.reader import ContextSource, Models, Prepare, Reader, Rows, SiteReader
from lmscope.activations.sharing import Sharing
from lmscope.activations.store import open_store
from lmscope.activations.virtual_stream import Place, VirtualStream
from lmscope.core.errors import DataError, RecipeError, RunError
from lmscope.core.site import Site


@dataclass(frozen=True)
class ActivationBatch:
    """The activations of some tokens, and where in the text these stand.

    Attributes:
        values: One row per token, for each site; rows of different sites belong together.
        context: The number of each token's context.
        position: Each token's place in its context.
    """

    values: dict[Site, Float[Tensor, "token _width"]]
    context: Int[Tensor, "token"]
    position: Int[Tensor, "token"]

    def __len__(self) -> int:
        return len(self.context)


class ActivationStream:
    """Activations at many sites from ONE forward pass each, in batches of a fixed number of tokens.

    Batch t is a pure function of (text, options, seed, t): it takes `batch_tokens / n_streams` rows from
    each virtual stream (`activations.layout`), stream after stream. So the whole position is one
    number; going on re-reads at most one block a stream; and 1, 2, 4 or 8 processes, each
    reading some of the streams, give the same batches: those of the data axis, one after the other, are
    the batch of one process. Processes that train on the same batch (axes latent and site) each read
    a part of its text and hand it around.

    Positions that do not count (the first of each context, special ids, padding) are left out.
    Outliers are not: they differ from site to site, and `calibration` has the median norms to tell
    them by. Rows that do not fill a last batch are dropped and counted in `n_dropped_tokens`. What is held in
    memory: `activations.memory.memory_bytes`.

    Args:
        models: One model, or several by the name that their sites bear; their tokens are the same.
        contexts: The text.
        sites: What to read.
        options: Sizes, passes, stores.
        seed: The recipe's.
        sharing: Who reads and trains beside this process; absent: nobody.
        prepare: Changes what the models see (noise, templates), anew in each pass.
        store: Folder for the shards of `options.store = "disk"`.

    Raises:
        SiteError: A model has not got a site.
        RecipeError: The options contradict each other.
        DataError: The text does not fill one batch.
    """

    def __init__(
        self,
        models: Mapping[str, Reader] | Reader,
        contexts: ContextSource,
        sites: Sequence[Site],
        *,
        options: StreamConfig,
        seed: int,
        sharing: Sharing | None = None,
        prepare: Prepare | None = None,
        store: Path | None = None,
    ) -> None:
        self._models = Models.of(models, sites)
        self.sites = self._models.sites
        self.options = options
        self._layout = Layout(len(contexts), options, seed)
        text = {"text": contexts.fingerprint, "seed": seed}
        layout = text | options.model_dump(include=_FIX_THE_BLOCKS)
        self._identity = layout | options.model_dump(include=_FIX_THE_BATCHES)
        if prepare is not None and options.store != "none":
            raise RecipeError(
                "Activations of prepared text change with each pass, so none can be stored: "
                "set store to 'none'."
            )
        dtypes = {site: self._block_dtype(site) for site in self.sites}
        reader = SiteReader(self._models, contexts, self._layout.group_contexts, dtypes, prepare)
        kept = open_store(options, store, layout | self._models.identity(dtypes))
        self._blocks = Blocks(self._layout, reader, kept)
        self._sharing = Sharing() if sharing is None else sharing
        self._streams = {
            stream: VirtualStream(partial(self._blocks.course, stream), partial(self._load, stream))
            for stream in self._sharing.mesh.owned_streams(options.n_streams)
        }
        self._read_already: dict[tuple[int, int], Rows] = {}
        self._calibration: dict[Site, SiteStatistics] | None = None
        self._ahead: Ahead[ActivationBatch] | None = None
        self._n_made = 0
        self.n_batches = 0
        if not self.total_batches:
            raise DataError(
                f"{len(contexts)} contexts have {self._blocks.n_kept} tokens that count, in {options.passes} "
                f"passes not enough for one batch of {options.batch_tokens}: use more text, or a smaller "
                "batch_tokens."
            )

    @property
    def total_batches(self) -> int:
        """Batches from the start to the end; exact, as tokens alone decide which positions count."""
        return self._total_batches

    @cached_property
    def _total_batches(self) -> int:
        shortest = min(self._blocks.n_stream_rows(v) for v in range(self.options.n_streams))
        return self.options.passes * shortest // self._share

    @property
    def n_dropped_tokens(self) -> int:
        """Tokens, over all processes and passes, that do not fill a last batch."""
        n_tokens = self.options.passes * self._blocks.n_kept
        return n_tokens - self.total_batches * self.options.batch_tokens

    @property
    def calibration(self) -> dict[Site, SiteStatistics]:
        """Norms and mean of each site over the first `calibration_tokens` tokens, outliers left out.

        Equal on every process. Read when first asked for, from blocks that the first batches need
        anyway; a resumed stream has it from its state.

        Raises:
            DataError: A value is not finite.
        """
        if self._calibration is None:
            self._calibration = self._calibrate()
        return self._calibration

    def __iter__(self) -> Iterator[ActivationBatch]:
        return self

    def __next__(self) -> ActivationBatch:
        batch = self._make() if not self._reads_ahead else self._take_ahead()
        if batch is None:
            raise StopIteration
        self.n_batches += 1
        share = self._sharing
        context, position = share.places(batch.context), share.places(batch.position)
        return ActivationBatch(share.values(batch.values), context, position)

    def state(self) -> dict[str, Any]:
        """Where the stream stands: the number of batches given; the same on every process."""
        calibration = None if self._calibration is None else calibration_state(self._calibration)
        return {
            "batches": self.n_batches,
            "calibration": calibration,
            "identity": dict(self._identity),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on after the batches that had been given when `state` was taken.

        Raises:
            RunError: The state is of another text, seed or order.
        """
        for name, here in self._identity.items():
            if (there := state["identity"].get(name)) != here:
                raise RunError(
                    f"The stream was saved with {name} = {there}, but here it is {here}: resume with the "
                    "recipe and the text that the run was started with."
                )
        self.close()
        if state["calibration"] is not None:
            self._calibration = calibration_from_state(state["calibration"])
        self._read_already.clear()
        self._n_made = self.n_batches = int(state["batches"])
        for stream in self._streams.values():
            stream.seek(self._n_made * self._share)

    def close(self) -> None:
        """Stop reading ahead; `load_state` is needed to go on."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    @property
    def _share(self) -> int:
        """Rows that one virtual stream gives to a batch."""
        return self.options.batch_tokens // self.options.n_streams

    @property
    def _reads_ahead(self) -> bool:
        if self.options.prefetch is None:
            return self._models.device.type == "cuda"
        return self.options.prefetch

    def _take_ahead(self) -> ActivationBatch | None:
        if self._ahead is None:
            _ = self.calibration  # the model is the other thread's from here on
            self._ahead = Ahead(self._make, _tensors, self._models.device)
        return self._ahead.take()

    def _make(self) -> ActivationBatch | None:
        """The next batch; None after the last one."""
        if self._n_made >= self.total_batches:
            return None
        batch = self._empty_batch()
        for i, stream in enumerate(self._streams.values()):
            stream.fill(batch, i * self._share, (i + 1) * self._share)
        self._n_made += 1
        return ActivationBatch(batch.values, batch.context, batch.position)

    def _empty_batch(self) -> Rows:
        n, device = self._share * len(self._streams), self._models.device
        dtype = getattr(torch, self.options.batch_dtype)
        values = {
            site: torch.empty(n, width, dtype=dtype, device=device)
            for site, width in self._models.widths().items()
        }
        places = (torch.empty(n, dtype=torch.int64, device=device) for _ in range(2))
        return Rows(values, *places)

    def _load(self, stream: int, place: Place) -> Rows:
        first_pass = place.pass_index == 0
        already = self._read_already.pop((stream, place.block), None) if first_pass else None
        return self._blocks.permuted(stream, place, already)

    def _calibrate(self) -> dict[Site, SiteStatistics]:
        """From the first blocks of streams 0, 1, ..., then their second blocks, and so on."""
        wanted, parts = self.options.calibration_tokens, []
        for stream, block in self._layout.first_pass():
            if wanted <= 0:
                break
            rows = self._blocks.in_order(stream, block)
            if stream in self._streams and not self._n_made:
                self._read_already[stream, block] = rows
            parts.append({site: value[:wanted] for site, value in rows.values.items()})
            wanted -= len(rows)
        return {site: site_statistics(site, [part[site] for part in parts]) for site in self.sites}

    def _block_dtype(self, site: Site) -> torch.dtype:
        if self.options.block_dtype == "model":
            return self._models.dtype(site)
        return getattr(torch, self.options.block_dtype)


_FIX_THE_BLOCKS = {"block_contexts", "forward_contexts", "n_streams", "shuffle_window"}
_FIX_THE_BATCHES = {"batch_tokens", "passes"}


def _tensors(batch: ActivationBatch) -> list[Tensor]:
    return [*batch.values.values(), batch.context, batch.position]
