"""What a geometry analysis looks at, as plain values; imports no torch."""

from typing import Annotated, Literal

from pydantic import Field

from lmscope.core.config import Config

Count = Annotated[int, Field(ge=1)]
Cosine = Annotated[float, Field(gt=-1.0, lt=1.0)]
NullKind = Literal["isotropic", "moments"]
NULL_KINDS: tuple[NullKind, ...] = ("isotropic", "moments")


class GeometryOptions(Config):
    """Which rows are compared, against which chance, in which amounts."""

    rows: Literal["decoder", "encoder"] = "decoder"
    """What a latent is here: its decoder row (what it writes) or its encoder row (what it reads)."""
    dead: Literal["leave_out", "keep"] = "leave_out"
    """Whether latents that fired on no evaluated token take part. Training leaves them near their
    random start, so they would count as new. Without a health artifact none is known to be dead."""
    null_rows: Count = 4096
    """Random rows of each null for means, shares and quantiles."""
    null_quantile: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.99
    """Share of null rows whose best cosine lies below the threshold of splitting."""
    splitting_null: NullKind = "moments"
    """The null that sets the threshold of splitting."""
    thresholds: tuple[Cosine, ...] = (0.5, 0.7, 0.9)
    """Cosines above which the share of matched latents is stated."""
    exact_assignment: Count = 5000
    """Up to so many latents on both sides the one-to-one matching is optimal, above it is greedy."""
    n_neighbours: Count = 10
    """Nearest latents that are kept for each latent."""
    map: Literal["pca", "umap"] = "pca"
    """How a map is drawn; `umap` needs the extra `maps`."""
    block_rows: Count = 4096
    """Rows of each side whose cosines are in memory at once: 4 * block_rows^2 bytes."""
