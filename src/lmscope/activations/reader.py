"""SiteReader: the values of all sites at the kept positions of a block, from one forward pass each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from lmscope.core.errors import SiteError
from lmscope.core.site import Site
from lmscope.models.batch import Batch
from lmscope.models.exclusion import Exclusion

Prepare = Callable[[Batch, Generator], Batch]
"""Changes what a model sees (noise, templates); its only randomness is the generator it is given."""


@runtime_checkable
class Reader(Protocol):
    """What a stream asks of a LanguageModel."""

    @property
    def weights_hash(self) -> str:
        """Hash of its weights."""
        ...

    @property
    def special_ids(self) -> frozenset[int]:
        """Tokens that are no text."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        ...

    def resolve(self, patterns: Sequence[Site]) -> tuple[Site, ...]:
        """The sites, or a SiteError."""
        ...

    def width(self, site: Site) -> int:
        """Values of a site at one position."""
        ...

    def read(self, batch: Batch, sites: Sequence[Site]) -> dict[Site, Tensor]:
        """The values at the sites, `[batch, pos, ...]`, without gradient."""
        ...


@runtime_checkable
class ContextRows(Protocol):
    """Some contexts."""

    @property
    def tokens(self) -> np.ndarray:
        """Vocabulary ids, `[batch, pos]`."""
        ...

    @property
    def mask(self) -> np.ndarray:
        """True where there is text, `[batch, pos]`."""
        ...


@runtime_checkable
class ContextSource(Protocol):
    """What a stream asks of `text.contexts.Contexts`."""

    context_length: int

    @property
    def fingerprint(self) -> str:
        """Names the rows."""
        ...

    def __len__(self) -> int: ...

    def rows(self, indices: Any) -> ContextRows:
        """Contexts by number."""
        ...


@dataclass(frozen=True)
class Rows:
    """Activations at some positions, and where these are.

    Attributes:
        values: `[token, width]` by site.
        context: The context of each token.
        position: The token's place in its context.
    """

    values: dict[Site, Tensor]
    context: Int[Tensor, "token"]
    position: Int[Tensor, "token"]

    def __len__(self) -> int:
        return len(self.context)


@dataclass(frozen=True)
class Models:
    """The models of a stream by name, and the sites that are read of each.

    Attributes:
        readers: By name; one without a name is under None.
        sites: Every site, in the order that was asked for.
    """

    readers: Mapping[str | None, Reader]
    sites: tuple[Site, ...]

    @classmethod
    def of(cls, models: Mapping[str, Reader] | Reader, sites: Sequence[Site]) -> "Models":
        """Check that each model has the sites that are asked of it.

        Raises:
            SiteError: There are no sites, a site names no model here, the model has not got it, or it
                is no row per position.
        """
        named = models.items() if isinstance(models, Mapping) else [(None, models)]
        readers: dict[str | None, Reader] = dict(named)
        if not sites:
            raise SiteError("No site was asked for: name at least one, e.g. 'resid_post@0'.")
        for site in sites:
            if site.model not in readers:
                known = ", ".join(str(name) for name in readers if name) or "one without a name"
                raise SiteError(f"'{site}' is of no model of this stream; there is {known}.")
            readers[site.model].width(site.of(None))
        return cls(readers, tuple(dict.fromkeys(sites)))

    @property
    def device(self) -> torch.device:
        """Where the first model runs; all values are brought there."""
        return next(iter(self.readers.values())).device

    @property
    def special_ids(self) -> frozenset[int]:
        """Tokens that are no text for at least one model."""
        return frozenset().union(*(reader.special_ids for reader in self.readers.values()))

    def widths(self) -> dict[Site, int]:
        """Values of each site at one position."""
        return {site: self.readers[site.model].width(site.of(None)) for site in self.sites}

    def dtype(self, site: Site) -> torch.dtype:
        """What a site's model computes in."""
        return self.readers[site.model].dtype

    def identity(self, dtypes: Mapping[Site, torch.dtype]) -> dict[str, Any]:
        """All that the values depend on beside the text, as plain values."""
        hashes = {str(name or ""): reader.weights_hash for name, reader in self.readers.items()}
        return {
            "weights": hashes,
            "special_ids": sorted(self.special_ids),
            "computed_in": sorted({str(self.dtype(site)) for site in self.sites}),
            "held_in": sorted({str(dtype) for dtype in dtypes.values()}),
        }

    def read(self, batch: Batch) -> Iterator[tuple[Site, Float[Tensor, "batch pos width"]]]:
        """Every site's values, one forward pass for each model."""
        for name, reader in self.readers.items():
            asked = [site.of(None) for site in self.sites if site.model == name]
            if asked:
                values = reader.read(batch.to(reader.device), asked)
                for site in asked:
                    yield site.of(name), values.pop(site).flatten(2).to(self.device)


class SiteReader:
    """Reads groups of contexts in one fixed shape.

    Args:
        models: Models and sites.
        contexts: The text.
        group_contexts: Rows of each forward pass; a smaller group is filled up with copies of its first row,
            whose values are dropped.
        dtypes: What to hold each site in.
        prepare: Changes what the models see; which positions are kept is decided before.
    """

    def __init__(
        self,
        models: Models,
        contexts: ContextSource,
        group_contexts: int,
        dtypes: Mapping[Site, torch.dtype],
        prepare: Prepare | None = None,
    ) -> None:
        self.models = models
        self._contexts = contexts
        self._group_contexts = group_contexts
        self._dtypes = dtypes
        self._prepare = prepare
        self._widths = models.widths()

    def kept(self, indices: np.ndarray) -> Bool[Tensor, "batch pos"]:
        """Which positions of some contexts count, by their tokens alone."""
        rows = self._contexts.rows(indices)
        return self._kept(torch.from_numpy(rows.tokens), torch.from_numpy(rows.mask))

    def places(self, groups: Sequence[np.ndarray]) -> Rows:
        """The kept positions of a block, without values."""
        contexts, positions = [], []
        for group in groups:
            row, position = self.kept(group).nonzero(as_tuple=True)
            contexts.append(torch.from_numpy(group)[row])
            positions.append(position)
        device = self.models.device
        return Rows({}, torch.cat(contexts).to(device), torch.cat(positions).to(device))

    def block(self, groups: Sequence[np.ndarray], generators: Sequence[Generator]) -> Rows:
        """A block's values in the order of its contexts.

        Args:
            groups: The contexts of each forward pass.
            generators: For `prepare`, one a group.
        """
        places = self.places(groups)
        device = self.models.device
        values = {
            site: torch.empty(len(places), width, dtype=self._dtypes[site], device=device)
            for site, width in self._widths.items()
        }
        filled = 0
        for group, generator in zip(groups, generators, strict=True):
            n = self._read_group(group, generator, values, filled)
            filled += n
        return replace(places, values=values)

    def _read_group(
        self, group: np.ndarray, generator: Generator, values: dict[Site, Tensor], start: int
    ) -> int:
        rows = self._contexts.rows(group)
        tokens, mask = torch.from_numpy(rows.tokens).long(), torch.from_numpy(rows.mask)
        kept = self._kept(tokens, mask).flatten().nonzero().squeeze(1)
        missing = self._group_contexts - len(group)
        if missing:
            tokens = torch.cat([tokens, tokens[:1].expand(missing, -1)])
            mask = torch.cat([mask, mask[:1].expand(missing, -1)])
        batch = Batch(tokens=tokens, mask=mask)
        if self._prepare is not None:
            batch = self._prepare(batch, generator)
        index = kept.to(self.models.device)
        for site, value in self.models.read(batch):
            values[site][start : start + len(kept)] = value.flatten(0, 1).index_select(0, index)
        return len(kept)

    def _kept(
        self, tokens: Int[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"]
    ) -> Bool[Tensor, "batch pos"]:
        return Exclusion().keep_tokens(tokens, mask, self.models.special_ids)
