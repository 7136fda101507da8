"""What a dictionary has to beat: as many principal components, or random latents, as it has active.

Everything here is fitted on training activations, never on the text of the report.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from lmscope.core.errors import DataError
from lmscope.core.rng import generator
from lmscope.core.site import Site
from lmscope.dictionaries.config import DictionaryConfig
from lmscope.dictionaries.dictionary import Dictionary
from lmscope.dictionaries.products import decode_rows
from lmscope.models.exclusion import Exclusion

SAMPLE_TOKENS = 8192
"""Tokens kept for the few numbers that need the dictionary itself: its L0, the random gain."""


class Moments:
    """Means and covariances of what a dictionary reads and writes, streamed in float64.

    Sums are taken around the first token, so that a mean far from 0 costs no precision.
    """

    def __init__(self, d_read: int, d_write: int) -> None:
        self.n_tokens = 0
        self.origin: tuple[Tensor, Tensor] | None = None
        self.sum_x = torch.zeros(d_read, dtype=torch.float64)
        self.sum_y = torch.zeros(d_write, dtype=torch.float64)
        self.sum_xx = torch.zeros(d_read, d_read, dtype=torch.float64)
        self.sum_xy = torch.zeros(d_read, d_write, dtype=torch.float64)

    def add(self, x: Float[Tensor, "token read"], y: Float[Tensor, "token write"]) -> None:
        """Add tokens of the site that is read and the one that is written."""
        if not len(x):
            return
        x, y = x.double().cpu(), y.double().cpu()
        if self.origin is None:
            self.origin = (x[0].clone(), y[0].clone())
        x, y = x - self.origin[0], y - self.origin[1]
        self.n_tokens += len(x)
        self.sum_x += x.sum(0)
        self.sum_y += y.sum(0)
        self.sum_xx += x.T @ x
        self.sum_xy += x.T @ y

    def mean_x(self) -> Float64[Tensor, "read"]:
        """Mean of the read site."""
        return self._origin()[0] + self.sum_x / self.n_tokens

    def mean_y(self) -> Float64[Tensor, "write"]:
        """Mean of the written site."""
        return self._origin()[1] + self.sum_y / self.n_tokens

    def covariance(self) -> Float64[Tensor, "read read"]:
        """Covariance of the read site."""
        self._origin()
        mean = self.sum_x / self.n_tokens
        return self.sum_xx / self.n_tokens - mean[:, None] * mean

    def cross_covariance(self) -> Float64[Tensor, "read write"]:
        """Covariance of the read site with the written one."""
        self._origin()
        mean_x, mean_y = self.sum_x / self.n_tokens, self.sum_y / self.n_tokens
        return self.sum_xy / self.n_tokens - mean_x[:, None] * mean_y

    def _origin(self) -> tuple[Tensor, Tensor]:
        if self.origin is None:
            raise DataError("Baselines need training activations and were given none.")
        return self.origin


class LinearBaseline(nn.Module):
    """The best prediction of the written site through `n_components` linear numbers.

    For an SAE: PCA. For a transcoder: reduced-rank regression (izenman1975reduced), which is PCA
    where the two sites are one.

    Args:
        moments: Of training activations.
        n_components: How many numbers; more than the width are all of it.
        is_transcoder: Whether another site is written than is read.
    """

    down: Tensor
    up: Tensor
    mean_x: Tensor
    mean_y: Tensor

    def __init__(self, moments: Moments, n_components: int, is_transcoder: bool) -> None:
        super().__init__()
        covariance = moments.covariance()
        if is_transcoder:
            cross = moments.cross_covariance()
            map_ = torch.linalg.pinv(covariance, rtol=1e-10, hermitian=True) @ cross
            fitted = cross.T @ map_
        else:
            map_ = torch.eye(len(covariance), dtype=torch.float64)
            fitted = covariance
        eigenvectors = torch.linalg.eigh((fitted + fitted.T) / 2).eigenvectors
        basis = eigenvectors[:, -n_components:]
        self.n_active = basis.shape[1]
        self.register_buffer("down", (map_ @ basis).float())
        self.register_buffer("up", basis.T.float())
        self.register_buffer("mean_x", moments.mean_x().float())
        self.register_buffer("mean_y", moments.mean_y().float())

    def forward(self, x: Float[Tensor, "token read"]) -> Float[Tensor, "token write"]:
        """Predictions in float32."""
        return self.mean_y + (x.float() - self.mean_x) @ self.down @ self.up


class RandomDictionary(nn.Module):
    """A dictionary that was never trained: random unit decoder, k latents a token, one fitted gain.

    Activations are centred on the training mean, the k latents that point most along them are
    kept, and their sum is scaled by the one factor that suits the training sample best. For an SAE
    the encoder is the decoder; for a transcoder, whose two sites share no axes, it is random too.
    """

    decoder: Tensor
    encoder: Tensor
    gain: Tensor
    mean_x: Tensor
    mean_y: Tensor

    def __init__(self, config: DictionaryConfig, moments: Moments, k: int, seed: int) -> None:
        super().__init__()
        draw = generator(seed, "random dictionary")
        decoder = encoder = _unit_rows(config.n_latents, config.d_write, draw)
        if config.is_transcoder:
            encoder = _unit_rows(config.n_latents, config.d_read, draw)
        self.n_active = min(k, config.n_latents)
        self.register_buffer("decoder", decoder)
        self.register_buffer("encoder", encoder)
        self.register_buffer("gain", torch.tensor(1.0))
        self.register_buffer("mean_x", moments.mean_x().float())
        self.register_buffer("mean_y", moments.mean_y().float())

    def fit_gain(self, x: Float[Tensor, "token read"], y: Float[Tensor, "token write"]) -> None:
        """Set the gain by least squares."""
        self.gain.fill_(1.0)
        guess = (self(x) - self.mean_y).double()
        wanted = y.double() - self.mean_y.double()
        size = guess.square().sum()
        self.gain.copy_((guess * wanted).sum() / size if size > 0 else torch.zeros(()))

    def forward(self, x: Float[Tensor, "token read"]) -> Float[Tensor, "token write"]:
        """Reconstructions in float32."""
        values, indices = ((x.float() - self.mean_x) @ self.encoder.T).topk(self.n_active, dim=-1)
        return self.mean_y + self.gain * decode_rows(indices, values.relu(), self.decoder)


@dataclass(frozen=True)
class Baselines:
    """What stands beside a dictionary in its report.

    Attributes:
        mean: Mean training activation of the written site, for mean ablation.
        pca: As many components as the dictionary has active latents.
        random: A random dictionary of the same shape with as many active latents.
        l0: Mean active latents of the dictionary on the training sample.
        n_tokens: Training tokens seen.
    """

    mean: Float[Tensor, "write"]
    pca: LinearBaseline
    random: RandomDictionary
    l0: float
    n_tokens: int


@torch.no_grad()
def fit_baselines(
    dictionary: Dictionary,
    batches: Iterable[Mapping[Site, Tensor]],
    *,
    exclusion: Exclusion,
    n_tokens: int = 100_000,
    seed: int = 0,
) -> Baselines:
    """Fit the baselines on training activations at the sparsity the dictionary has there.

    Args:
        dictionary: What they stand beside.
        batches: Raw training activations `[token, width]` by site, as an activation stream gives
            them; the same row of two sites is the same token.
        exclusion: Whose outliers stay out.
        n_tokens: Stop after so many.
        seed: Of the random dictionary.

    Raises:
        DataError: There are no training activations.
    """
    config = dictionary.config
    device = dictionary.W_enc.device
    moments = Moments(config.d_read, config.d_write)
    sample: list[tuple[Tensor, Tensor]] = []
    for values in batches:
        x, y = values[config.read_site], values[config.write_site]
        inlier = exclusion.inlier(config.read_site, x) & exclusion.inlier(config.write_site, y)
        x, y = x[inlier], y[inlier]
        if (room := SAMPLE_TOKENS - min(moments.n_tokens, SAMPLE_TOKENS)) > 0:
            sample.append((x[:room].float().to(device), y[:room].float().to(device)))
        moments.add(x, y)
        if moments.n_tokens >= n_tokens:
            break
    mean = moments.mean_y().float()  # refuses an empty stream
    x, y = (torch.cat(part) for part in zip(*sample, strict=True))
    l0 = float((dictionary.encode_sparse(x).values != 0).sum(-1).double().mean())
    k = max(1, round(l0))
    random = RandomDictionary(config, moments, k, seed).to(device)
    random.fit_gain(x, y)
    pca = LinearBaseline(moments, k, config.is_transcoder).to(device)
    return Baselines(mean.to(device), pca, random, l0, moments.n_tokens)


def _unit_rows(n: int, width: int, draw: torch.Generator) -> Float[Tensor, "row width"]:
    return torch.nn.functional.normalize(torch.randn(n, width, generator=draw), dim=-1)
