"""The first page: models, suites, dictionaries and runs."""

from typing import Literal

from lmscope.server.schemas.common import Answer, Problem

RunStatus = Literal["created", "running", "interrupted", "failed", "done"]


class RunLine(Answer):
    """A run in a line."""

    id: str
    """Its folder's name."""
    job: str
    name: str
    status: RunStatus
    created: str
    """ISO 8601, UTC."""
    elapsed_s: float
    n_dictionaries: int
    error: str | None = None


class DictionaryLine(Answer):
    """A dictionary in a line; figures are null until they are measured."""

    id: str
    """Stands in addresses: its name and the beginning of its digest."""
    name: str
    model: str | None
    reads: str
    """Site, e.g. `resid_post@14`."""
    writes: str
    """The same for an SAE; another one for a transcoder."""
    layer: int | None
    """Of the site that is written."""
    part: str
    """Of the site that is written: `resid_post`, `mlp_out`, `attn_out`, ..."""
    n_latents: int
    expansion: float | None
    """Latents for each coordinate that is read."""
    sparsity: str
    """`topk`, `batchtopk`, `jumprelu`, `relu`."""
    l0: float | None = None
    explained_variance_centred: float | None = None
    ce_recovered_zero: float | None = None
    dead_fraction: float | None = None
    run: str | None = None
    """The run that trained it."""
    status: str = "trained"
    """`waiting`, `trained`, `measured`, `failed`, or `atlas only` where its weights are not here."""
    has_atlas: bool = False
    n_labels_known: int | None = None


class ModelLine(Answer):
    """A model that was studied."""

    id: str
    name: str
    weights_hash: str | None
    n_dictionaries: int
    n_runs: int


class SuiteLine(Answer):
    """A run that trained several dictionaries."""

    run: str
    name: str
    model: str | None
    n_dictionaries: int
    n_measured: int
    status: RunStatus


class Home(Answer):
    """What lies under the served folders."""

    version: str
    folders: list[str]
    """The served folders, as they were given."""
    read_only: bool
    """Whether notes and jobs are refused."""
    models: list[ModelLine]
    suites: list[SuiteLine]
    dictionaries: list[DictionaryLine]
    runs: list[RunLine]
    """Newest first."""
    problems: list[Problem]


class Grid(Answer):
    """Dictionaries by layer, position and width: those of a suite, or all of a model."""

    id: str
    title: str
    kind: Literal["suite", "model"]
    status: RunStatus | None = None
    dictionaries: list[DictionaryLine]
    problems: list[Problem]
