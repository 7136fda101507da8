"""What a dictionary is and how it is trained, as plain values; imports no torch."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lmscope.core.config import Config
from lmscope.core.errors import RecipeError, SiteError
from lmscope.core.site import Site

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0.0)]


class KAnnealing(Config):
    """How k falls to its final value at the start of training (he2024llamascope, section 3)."""

    style: Literal["paper", "script", "off"] = "paper"
    """`paper`: from d_read, linearly. `script`: the authors' code, from d_read / 2, rounded up."""
    fraction: Fraction = 0.1
    """Fraction of the optimiser steps after which k is final."""


class ReLU(Config):
    """Vanilla dictionary: ReLU latents under an L1 penalty (templeton2024scaling)."""

    kind: Literal["relu"] = "relu"
    l1_coefficient: Annotated[float, Field(ge=0.0)] = 5.0
    """Weight of the penalty against the squared error summed over the width, in training units."""
    weight_by_decoder_norm: bool = True
    """Whether each latent counts times the norm of its decoder row, so that norms cannot cheat."""
    warmup_fraction: Fraction = 0.05
    """Fraction of the optimiser steps over which the coefficient rises from 0."""


class TopK(Config):
    """The k latents of each token with the largest scores (he2024llamascope, eq. 5)."""

    kind: Literal["topk"] = "topk"
    k: Count = 50
    """Latents kept for one token."""
    weight_by_decoder_norm: bool = True
    """Whether a score is ReLU(pre) times the norm of the decoder row, or ReLU(pre) alone."""
    annealing: KAnnealing = KAnnealing()


class BatchTopK(Config):
    """The n * k largest scores of a batch of n tokens; a threshold at inference (bussmann2024batchtopk)."""

    kind: Literal["batchtopk"] = "batchtopk"
    k: Count = 50
    """Latents kept for one token on average."""
    annealing: KAnnealing = KAnnealing()
    threshold_decay: Fraction = 0.99
    """How much of the running threshold each optimiser step keeps."""


class JumpReLU(Config):
    """Latents above a threshold of their own, under an L0 penalty (rajamanoharan2024jumprelu).

    Numbers are in the paper's units, in which activations have a mean square norm of 1; the
    objective converts them to training units.

    Differs: bandwidth and initial threshold are 0.001 in the paper, for billions of tokens. Over
    the few million of a short run thresholds then hardly move, so 0.05 is the default.
    """

    kind: Literal["jumprelu"] = "jumprelu"
    l0_coefficient: Annotated[float, Field(ge=0.0)] = 2e-3
    """Weight of the penalty against the squared error summed over the width."""
    target_l0: Positive | None = None
    """If given, the penalty is (L0 of the batch / target - 1)^2 instead of L0."""
    warmup_fraction: Fraction = 0.05
    """Fraction of the optimiser steps over which the coefficient rises from 0."""
    bandwidth: Positive = 0.05
    """Width of the rectangle in which the threshold feels a gradient."""
    initial_threshold: Positive = 0.05
    """Every threshold at the start."""


Sparsity = Annotated[ReLU | TopK | BatchTopK | JumpReLU, Field(discriminator="kind")]
"""How pre-activations become latents."""


class DictionaryConfig(Config):
    """What a dictionary reads, writes and keeps."""

    reads: tuple[str, ...]
    """Sites it reads, one for now."""
    writes: tuple[str, ...]
    """Sites it writes: the same one for an SAE, another for a transcoder."""
    d_read: Count
    d_write: Count
    n_latents: Count
    sparsity: Sparsity = TopK()
    apply_b_dec_to_input: bool = False
    """Whether `b_dec` is taken from the input before encoding (SAEs only)."""
    skip: bool = False
    """Whether a linear path `W_skip` runs beside the latents."""
    normalisation: Literal["mean_norm", "none"] = "mean_norm"
    """`mean_norm`: training units, in which a mean activation has norm sqrt(width)."""
    model: str | None = None
    """Name of the model whose activations it was trained on."""
    model_hash: str | None = None
    """Hash of that model's weights."""

    @model_validator(mode="after")
    def _check(self) -> "DictionaryConfig":
        for field, sites in (("reads", self.reads), ("writes", self.writes)):
            if len(sites) != 1:
                raise RecipeError(
                    f"A dictionary {field} exactly one site for now; {len(sites)} were given in '{field}'."
                )
            try:
                Site.parse(sites[0])
            except SiteError as error:
                raise RecipeError(f"'{field}' of the dictionary is wrong: {error}") from None
        k = getattr(self.sparsity, "k", 1)
        if k > self.n_latents:
            raise RecipeError(
                f"k = {k} latents cannot be kept of {self.n_latents}: lower k or raise n_latents."
            )
        if not self.is_transcoder and self.d_read != self.d_write:
            raise RecipeError(
                f"'{self.reads[0]}' cannot be {self.d_read} wide when read and {self.d_write} when written."
            )
        if self.apply_b_dec_to_input and self.is_transcoder:
            raise RecipeError(
                "apply_b_dec_to_input needs a dictionary that writes the site it reads: "
                f"'{self.reads[0]}' is read and '{self.writes[0]}' written; leave it out."
            )
        return self

    @property
    def read_site(self) -> Site:
        """The site it reads."""
        return Site.parse(self.reads[0])

    @property
    def write_site(self) -> Site:
        """The site it writes."""
        return Site.parse(self.writes[0])

    @property
    def is_transcoder(self) -> bool:
        """Whether it writes another site than it reads."""
        return self.reads != self.writes


class Initialisation(Config):
    """Where training starts (he2024llamascope, section 3; `script`: the authors' code)."""

    decoder_norm: Literal["paper", "script"] | Positive = "paper"
    """Norm of each decoder row. `paper`: sqrt(2 / expansion), `script`: 0.5 at every width."""
    encoder: Literal["auto", "decoder", "independent"] = "auto"
    """`decoder`: equal to the decoder. `auto`: that for SAEs, `independent` for transcoders."""
    b_dec: Literal["mean", "zero"] = "mean"
    """`mean`: the mean activation of the written site (bricken2023monosemanticity). `zero`: the paper's.
    From zero, and without `apply_b_dec_to_input`, a large mean keeps many latents from ever firing."""
    b_enc: Literal["centred", "zero"] = "centred"
    """`centred`: the mean activation of the read site gives every latent a pre-activation of 0, where
    `b_dec` is not taken from the input. `zero`: the paper's; the mean then decides which latents fire."""


class AuxK(Config):
    """Dead latents explain what the living leave over (gao2024topk, appendix A.2)."""

    coefficient: Positive = 1 / 32
    """Weight against the reconstruction error."""
    k: Count | None = None
    """Dead latents of each token that take part; absent: d_read / 2."""


class ObjectiveConfig(Config):
    """How one dictionary is trained, beside its sparsity."""

    initialisation: Initialisation = Initialisation()
    reconstruction: Literal["sum", "mean", "batch_norm"] = "sum"
    """Squared error of a token: summed over the width, its mean, or (`batch_norm`, the authors'
    code) its mean divided by the token's distance from the mean of the batch."""
    auxiliary: AuxK | None = None
    unit_norm_decoder: bool = False
    """Whether decoder rows are held at norm 1; their gradient then has no part along them."""
    dead_after_tokens: Count = 100_000
    """A latent that did not fire on so many tokens counts as dead."""
    encode_precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """Of the dense product that finds the latents to keep. `bf16` and `int8` keep the same latents with
    the same values: float32 decides among the candidates they find. `auto`: `int8` on CPUs that compute
    in it."""
