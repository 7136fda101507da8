"""How often and how strongly each latent of a dictionary fires."""

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float32, Float64, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmscope.core.errors import ArtifactError
from lmscope.core.files import atomic_path
from lmscope.dictionaries.report import Histogram
from lmscope.dictionaries.sparsity import SparseLatents

L0_QUANTILES = ("0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99")


@dataclass(frozen=True)
class LatentStatistics:
    """One figure a latent; a latent fires on a token where it is not 0.

    Attributes:
        n_fired: Tokens on which it fires.
        firing_frequency: Share of the tokens on which it fires.
        mean_activation: Mean over the tokens on which it fires, in the dictionary's own units (raw
            activations for a folded one); 0 for a dead latent.
        max_activation: Its largest value; 0 for a dead latent.
    """

    n_fired: Int64[Tensor, "latent"]
    firing_frequency: Float64[Tensor, "latent"]
    mean_activation: Float64[Tensor, "latent"]
    max_activation: Float32[Tensor, "latent"]

    def save(self, path: Path | str) -> None:
        """Write a safetensors file.

        Raises:
            ArtifactError: The file cannot be written.
        """
        tensors = {field.name: getattr(self, field.name).contiguous() for field in fields(self)}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path | str) -> "LatentStatistics":
        """Read what `save` wrote.

        Raises:
            ArtifactError: The file is missing, damaged or holds something else.
        """
        try:
            return cls(**load_file(path))
        except FileNotFoundError:
            raise ArtifactError(f"There are no latent statistics at '{path}'.") from None
        except (SafetensorError, TypeError) as error:
            raise ArtifactError(f"'{path}' holds no latent statistics: {error}.") from None


class LatentTally:
    """Counts firings as tokens stream by; exact, on the device of the latents."""

    def __init__(self, n_latents: int, device: torch.device | str = "cpu") -> None:
        self.n_tokens = 0
        self._fired = torch.zeros(n_latents, dtype=torch.int64, device=device)
        self._sum = torch.zeros(n_latents, dtype=torch.float64, device=device)
        self._max = torch.zeros(n_latents, dtype=torch.float32, device=device)
        self._l0 = torch.zeros(n_latents + 1, dtype=torch.int64, device=device)

    def add(self, latents: SparseLatents) -> Int64[Tensor, "token"]:
        """Add tokens; gives the number of latents that fire on each."""
        fires = latents.values != 0
        indices, values = latents.indices[fires], latents.values[fires]
        self.n_tokens += len(latents.values)
        self._fired += indices.bincount(minlength=len(self._fired))
        self._sum.index_add_(0, indices, values.double())
        self._max.scatter_reduce_(0, indices, values.float(), "amax")
        l0 = fires.sum(-1)
        self._l0 += l0.bincount(minlength=len(self._l0))
        return l0

    def statistics(self) -> LatentStatistics:
        """The figures of each latent, on the CPU."""
        fired = self._fired.cpu()
        return LatentStatistics(
            n_fired=fired,
            firing_frequency=fired.double() / max(self.n_tokens, 1),
            mean_activation=self._sum.cpu() / fired.clamp(min=1),
            max_activation=self._max.cpu(),
        )

    def l0_quantiles(self) -> dict[str, int]:
        """The smallest L0 that at least so large a share of the tokens does not exceed."""
        reached = self._l0.cpu().cumsum(0)
        return {q: int((reached >= float(q) * self.n_tokens).nonzero()[0]) for q in L0_QUANTILES}

    def l0_histogram(self, max_bins: int = 40) -> Histogram:
        """Tokens by L0, in bins of one whole width."""
        counts = self._l0.cpu()
        used = int(counts.nonzero().max()) + 1
        width = -(-used // max_bins)
        padded = torch.nn.functional.pad(counts[:used], (0, -used % width))
        bins = padded.view(-1, width).sum(-1).tolist()
        return Histogram(
            edges=tuple(float(i * width) for i in range(len(bins) + 1)), counts=tuple(bins)
        )

    def frequency_histogram(self, bins_per_decade: int = 4) -> Histogram:
        """Living latents by log10 of their firing frequency, from one token to all of them."""
        fired = self._fired.cpu()
        exponents = (fired[fired > 0].double() / self.n_tokens).log10()
        lowest = -int(torch.tensor(float(self.n_tokens)).log10().ceil()) * bins_per_decade
        places = (exponents * bins_per_decade).floor().long().clamp(lowest, -1) - lowest
        counts = places.bincount(minlength=max(-lowest, 1))
        edges = tuple((lowest + i) / bins_per_decade for i in range(len(counts) + 1))
        return Histogram(edges=edges, counts=tuple(counts.tolist()))
