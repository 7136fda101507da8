"""Dictionary: sparse latents of one site, and what they write to it or to another."""

import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor, nn

from lmscope.core.errors import ArtifactError
from lmscope.dictionaries import hub, storage
from lmscope.dictionaries.card import NOTHING_KNOWN, Provenance
from lmscope.dictionaries.config import BatchTopK, DictionaryConfig, JumpReLU, TopK
from lmscope.dictionaries.folding import Weights, decoder_norms, fold
from lmscope.dictionaries.products import decode_rows, linear
from lmscope.dictionaries.sparsity import SparseLatents, encode, sparse, topk_sparse
from lmscope.display.tables import Table


class Dictionary(nn.Module):
    """A sparse dictionary: SAE, or transcoder when it writes another site than it reads.

    BOTH weight matrices have one row per latent. With `u = x * scale_in` (less `b_dec` if
    `apply_b_dec_to_input`):

        latents = sparsity(W_enc u + b_enc)
        output  = (latents @ W_dec + b_dec [+ W_skip x * scale_in]) / scale_out

    Inputs and outputs are raw activations. Latents are in training units until `fold` makes them
    raw. Every method takes any leading axes and computes in the dictionary's own dtype; `forward`
    answers in the dtype of its input, so that it can stand in for an activation.

    Attributes:
        config: What it reads, writes and keeps.
        W_enc: `[latent, read]`.
        b_enc: `[latent]`.
        W_dec: `[latent, write]`.
        b_dec: `[write]`.
        W_skip: `[write, read]`, or None.
        scale_in: Scalar buffer, sqrt(d_read) / mean norm of the read site; 1 when folded.
        scale_out: Scalar buffer, sqrt(d_write) / mean norm of the written site; 1 when folded.
        threshold: Buffer: one number of scores for BatchTopK (NaN until estimated), one a latent
            for JumpReLU, None otherwise.
    """

    W_skip: nn.Parameter | None
    scale_in: Tensor
    scale_out: Tensor
    threshold: Tensor | None

    def __init__(self, config: DictionaryConfig) -> None:
        super().__init__()
        self.config = config
        n, read, write = config.n_latents, config.d_read, config.d_write
        self.W_enc = nn.Parameter(torch.zeros(n, read))
        self.b_enc = nn.Parameter(torch.zeros(n))
        self.W_dec = nn.Parameter(torch.zeros(n, write))
        self.b_dec = nn.Parameter(torch.zeros(write))
        self.W_skip = nn.Parameter(torch.zeros(write, read)) if config.skip else None
        self.register_buffer("scale_in", torch.tensor(1.0))
        self.register_buffer("scale_out", torch.tensor(1.0))
        match config.sparsity:
            case BatchTopK():
                self.register_buffer("threshold", torch.tensor(torch.nan))
            case JumpReLU():
                self.register_buffer("threshold", torch.zeros(n))
            case _:
                self.register_buffer("threshold", None)

    @classmethod
    def from_tensors(cls, config: DictionaryConfig, tensors: Mapping[str, Tensor]) -> "Dictionary":
        """A dictionary with given weights, frozen (`requires_grad_(True)` trains it on).

        Args:
            config: What it is.
            tensors: By the names of parameters and buffers; all of them, of one float dtype.

        Raises:
            ArtifactError: A tensor is missing, too many, of another shape or no float.
        """
        dictionary = cls(config)
        expected = dictionary.state_dict()
        storage.check_tensors(expected, tensors)
        dictionary.to(tensors["W_enc"].dtype).load_state_dict(dict(tensors))
        return dictionary.requires_grad_(False).eval()

    @property
    def weights(self) -> Weights:
        """Parameters and buffers as plain values, detached."""
        skip = None if self.W_skip is None else self.W_skip.detach()
        return Weights(
            self.W_enc.detach(),
            self.b_enc.detach(),
            self.W_dec.detach(),
            self.b_dec.detach(),
            skip,
            self.scale_in,
            self.scale_out,
            self.threshold,
        )

    def pre_activations(self, x: Float[Tensor, "*token read"]) -> Float[Tensor, "*token latent"]:
        """What the sparsity chooses from, `W_enc u + b_enc`."""
        return linear(self._scaled(x), self.W_enc, self.encoder_bias())

    def encoder_bias(self) -> Float[Tensor, "latent"]:
        """`b_enc`, less `W_enc b_dec` when `b_dec` is taken from the input.

        The same as taking it from the input, without a copy of the input.
        """
        if not self.config.apply_b_dec_to_input:
            return self.b_enc
        return self.b_enc - self.W_enc @ self.b_dec

    def score_norms(self) -> Float[Tensor, "latent"]:
        """What ReLU(pre) is multiplied with to give a latent's score: the norm of its decoder row.

        Ones for a TopK that selects by ReLU(pre) alone.
        """
        sparsity = self.config.sparsity
        if isinstance(sparsity, TopK) and not sparsity.weight_by_decoder_norm:
            return torch.ones_like(self.b_enc)
        return decoder_norms(self.W_dec)

    def encode(self, x: Float[Tensor, "*token read"]) -> Float[Tensor, "*token latent"]:
        """Latents of raw activations; no token's depend on another token.

        Raises:
            RecipeError: The dictionary is a BatchTopK one whose threshold was never estimated.
        """
        norms = self.score_norms()
        return encode(self.pre_activations(x), self.config.sparsity, norms, self.threshold)

    def encode_sparse(self, x: Float[Tensor, "*token read"]) -> SparseLatents:
        """The latents of `encode` that fire: k places a token for TopK, else as many as needed.

        Raises:
            RecipeError: As `encode`.
        """
        if isinstance(self.config.sparsity, TopK):
            return topk_sparse(self.pre_activations(x), self.score_norms(), self.config.sparsity.k)
        return sparse(self.encode(x))

    def decode(
        self,
        latents: Float[Tensor, "*token latent"] | SparseLatents,
        x: Float[Tensor, "*token read"] | None = None,
    ) -> Float[Tensor, "*token write"]:
        """Raw activations that latents stand for.

        Args:
            latents: Dense or sparse.
            x: Raw input, for the linear path; without it that path is left out.
        """
        if isinstance(latents, SparseLatents):
            output = decode_rows(latents.indices, latents.values, self.W_dec)
        else:
            output = latents @ self.W_dec
        output = output + self.b_dec
        if self.W_skip is not None and x is not None:
            output = output + nnf.linear(self._scaled(x), self.W_skip)
        return output / self.scale_out

    def forward(self, x: Float[Tensor, "*token read"]) -> Float[Tensor, "*token write"]:
        """Reconstruction (SAE) or prediction (transcoder) of raw activations, in x's dtype.

        Raises:
            RecipeError: As `encode`.
        """
        is_topk = isinstance(self.config.sparsity, TopK)
        latents = self.encode_sparse(x) if is_topk else self.encode(x)
        return self.decode(latents, x).to(x.dtype)

    def fold(self) -> "Dictionary":
        """The inference form: raw units, decoder rows of norm 1, equal outputs.

        TopK stays TopK (the norms that select now sit in the pre-activations), ReLU stays ReLU, and
        BatchTopK becomes JumpReLU with its one threshold at every latent. See `folding.fold`. A TopK
        that selects by ReLU(pre) alone keeps its decoder norms: to move them would change its choice.
        """
        sparsity = self.config.sparsity
        keep_norms = isinstance(sparsity, TopK) and not sparsity.weight_by_decoder_norm
        if isinstance(sparsity, BatchTopK):
            sparsity = JumpReLU()
        config = self.config.model_copy(
            update={
                "sparsity": sparsity,
                "apply_b_dec_to_input": False,
                "normalisation": "none",
            }
        )
        with torch.no_grad():
            folded = fold(self.weights, self.config.apply_b_dec_to_input, unit_rows=not keep_norms)
        tensors = {name: t for name, t in folded._asdict().items() if t is not None}
        return Dictionary.from_tensors(config, tensors)

    def save(self, path: Path | str) -> None:
        """Write the native folder: `config.json`, `weights.safetensors`, `README.md`, a manifest.

        Raises:
            ArtifactError: Something is there already, or the folder cannot be written.
        """
        storage.write(path, self.config, self.state_dict())

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> "Dictionary":
        """Read a folder that `save` wrote; the dictionary is frozen.

        Raises:
            ArtifactError: The folder is missing, damaged, or of another kind or format.
        """
        config, tensors = storage.read(path)
        try:
            return cls.from_tensors(config, tensors).to(device)
        except ArtifactError as error:
            raise ArtifactError(f"'{path}' holds no usable dictionary: {error}") from None

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        *,
        subfolder: str | None = None,
        revision: str | None = None,
        format: str | None = None,  # noqa: A002 - the word that a caller expects
        reads: str | None = None,
        writes: str | None = None,
        model: str | None = None,
        device: torch.device | str = "cpu",
    ) -> "Dictionary":
        """A dictionary of any known format, from a folder here or from the hub; frozen.

        Args:
            name: A path, else `owner/repo[/sub/folder]` on the hub.
            subfolder: A folder within it.
            revision: Branch, tag or commit on the hub.
            format: A name that `lmscope convert --list` shows; absent: recognised by its files.
            reads: Site that it reads, where the files do not say; it wins over what they say.
            writes: Site that it writes, likewise.
            model: Name of the model that it belongs to, likewise.
            device: Where it shall lie.

        Raises:
            ArtifactError: It is not there, gated, half downloaded, damaged, of no known format, or
                holds what cannot be represented exactly.
            RecipeError: No such format, or neither files nor arguments say a site.
        """
        # Formats are built on this class, so this one function looks them up when it is called.
        formats = "lmscope.dictionaries.formats"
        given = import_module(f"{formats}.format").Given(reads, writes, model)
        load = import_module(f"{formats}.source").load
        return load(name, subfolder, revision, format, given, device)

    def save_pretrained(self, path: Path | str, *, provenance: Provenance = NOTHING_KNOWN) -> None:
        """Write the native folder, its card filled in with what else is known.

        Raises:
            ArtifactError: Something is there already, or the folder cannot be written.
        """
        storage.write(path, self.config, self.state_dict(), provenance)

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool = False,
        subfolder: str | None = None,
        token: str | None = None,
        provenance: Provenance = NOTHING_KNOWN,
    ) -> str:
        """Upload the native folder with its card to the Hugging Face hub.

        Args:
            repository: `owner/repo`; made if it is not there.
            private: Whether a repository that is made is seen by its owner only.
            subfolder: Where in it, for a repository of many dictionaries.
            token: Of who may write; absent: the one that `hf auth login` stored.
            provenance: What the card shall say that the files do not.

        Returns:
            The address of the repository.

        Raises:
            ArtifactError: The name is wrong, there is no right to write, or no network.
        """
        place = hub.HubPlace.parse(repository)
        if place.subfolder is not None or place.revision is not None:
            raise ArtifactError(
                f"'{repository}' must be owner/repo; give a sub-folder as subfolder."
            )
        with tempfile.TemporaryDirectory() as above:
            folder = Path(above) / "dictionary"
            self.save_pretrained(folder, provenance=provenance)
            place = place._replace(subfolder=subfolder)
            return hub.push(folder, place, private=private, token=token)

    def extra_repr(self) -> str:
        """What `repr` shows."""
        config = self.config
        where = (
            f"{config.reads[0]} -> {config.writes[0]}" if config.is_transcoder else config.reads[0]
        )
        return f"{where}, {config.n_latents} latents, {config.sparsity.kind}"

    def _repr_html_(self) -> str:
        """A table of what it is, for notebooks: static, and read without running the dictionary."""
        config, n_numbers = self.config, sum(p.numel() for p in self.parameters())
        kind, *options = config.sparsity.to_mapping().values()
        numbers = [f"{v:g}" for v in options if isinstance(v, int | float) and v is not True]
        sparsity = " ".join([str(kind), *numbers])
        units = "raw" if config.normalisation == "none" else "training units until it is folded"
        rows: list[tuple[str, str | int | None]] = [
            ("kind", "transcoder" if config.is_transcoder else "SAE"),
            ("model", config.model),
            ("reads", f"{config.read_site}, {config.d_read} coordinates"),
            ("writes", f"{config.write_site}, {config.d_write} coordinates"),
            ("latents", config.n_latents),
            ("sparsity", sparsity),
            ("activations", units),
            ("parameters", n_numbers),
            (
                "dtype, device",
                f"{str(self.W_enc.dtype).removeprefix('torch.')}, {self.W_enc.device}",
            ),
        ]
        return Table(("", "dictionary"), tuple(rows), alignment=("left", "left"))._repr_html_()

    def _scaled(self, x: Tensor) -> Tensor:
        return x.to(self.W_enc.dtype) * self.scale_in
