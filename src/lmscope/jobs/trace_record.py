"""What a trace found, as plain values on disk: a record for each prompt, and a report of all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from lmscope.circuits.config import Ablation
from lmscope.circuits.firing import Firing
from lmscope.circuits.graph import SUFFIX, Graph
from lmscope.circuits.head_scores import HeadScore
from lmscope.core.config import Config
from lmscope.core.errors import ArtifactError
from lmscope.runs.run import Run

GRAPHS: Final = "graphs"
"""Below `artifacts`: for each prompt NAME.graph, and NAME.json with what was found."""
TABLE_FILE: Final = "traces.json"
"""Below `artifacts`: what is common to all prompts, and a row for each."""

TOGETHER_FILE: Final = "aggregate.json"
"""Below `artifacts`: the circuit that all prompts share."""


class Predicted(Config):
    """A token that the model itself, not the linear one, holds probable."""

    token: int
    text: str
    probability: float
    logit: float


class SweepRow(Config):
    """What is left of a circuit at a threshold."""

    threshold: float
    """As of `TraceOptions`."""
    n_features: int
    """Traced further."""
    recovered: float | None = None
    """Share of the target that kept paths bring from tokens and positions; absent for a target of 0."""
    cut: float
    """Of the target, by features that were not traced further."""
    errors: float
    residual: float


class FaithfulnessRow(Config):
    """What is left of a target when features outside the circuit are taken out (`circuits.faithfulness`)."""

    ablation: Ablation = "zero"
    """What they become: nothing, their mean, or what they are on the prompt's counterfactual."""
    where: Literal["linear", "real"]
    """In the linear model, or in the model itself."""
    errors: Literal["kept", "removed"]
    full: float
    """The target in the model as it is."""
    empty: float
    """With every feature taken out."""
    kept: float
    """With the circuit's alone."""
    faithfulness: float | None = None
    """(kept - empty) / (full - empty); absent where features make no difference."""
    completeness: float | None = None
    """The same of all features but the circuit's: 0 for a circuit that holds all that matters."""


class Input(Config):
    """Something that the target reads directly."""

    id: str
    """As of a graph's nodes; `bias:NAME@LAYER` for a constant."""
    flow: float
    """What it adds."""


class WhyNot(Config):
    """Why a feature does not fire; of one that fires, by how much it does."""

    firing: Firing
    lowering: tuple[Input, ...]
    """What lowers its pre-activation, the most first."""
    raising: tuple[Input, ...]
    """What raises it, the most first."""
    rest: float
    """What all that is not listed adds, what was cut included."""


class TraceRecord(Config):
    """What was found on one prompt; no time and no path."""

    name: str
    prompt: str
    target: str
    """For people."""
    value: float
    """Of the target in the linear model."""
    model_value: float | None = None
    """Of a logit or a difference of two, in the model itself and after any softcap; else absent."""
    probability: float | None = None
    """Of the target's token in the model; absent for other targets."""
    recovered: float | None = None
    ledger: dict[str, Any]
    n_features: int
    """Kept."""
    n_reached: int
    """Features that add something, kept or not."""
    n_nodes: int
    n_edges: int
    n_tokens: int
    position: int
    """Where the target stands; predictions are of the token after it."""
    predictions: tuple[Predicted, ...]
    sweep: tuple[SweepRow, ...] = ()
    faithfulness: tuple[FaithfulnessRow, ...] = ()
    score: HeadScore | None = None
    """Of an attention score as target: the pairs that it is the sum of."""
    why_not: WhyNot | None = None
    """Of a feature as target."""


class TraceReport(Config):
    """What one run found."""

    model: str
    weights_hash: str
    stored_in: str
    """Number format of the model's weights."""
    computed_in: str
    """Number format of the linear model, in which ledgers are kept."""
    dictionaries: dict[str, str]
    """Name by the site that it writes."""
    missing: tuple[str, ...]
    """Outputs of attention and feed-forward layers without a dictionary: traced through as they are."""
    mlp: str
    """How feed-forward layers without one became linear."""
    traces: tuple[TraceRecord, ...]


def read_report(run: Run) -> TraceReport:
    """What a trace found.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    path = run.artifacts / TABLE_FILE
    return TraceReport.from_mapping(read_values(path), f"'{path}'")


def read_together(run: Run) -> Mapping[str, Any] | None:
    """The circuit that the prompts of a run share; None where it was not asked for.

    Raises:
        ArtifactError: It is damaged.
    """
    path = run.artifacts / TOGETHER_FILE
    return read_values(path) if path.is_file() else None


def load_graph(run: Run, name: str) -> Graph:
    """The circuit of one prompt of a run.

    Raises:
        ArtifactError: There is none.
    """
    return Graph.load(run.artifacts / GRAPHS / f"{name}{SUFFIX}")


def read_record(path: Path) -> TraceRecord:
    """What was found on one prompt.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    return TraceRecord.from_mapping(read_values(path), f"'{path}'")


def read_values(path: Path) -> Mapping[str, Any]:
    """Plain values that `as_json` wrote.

    Raises:
        ArtifactError: The file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"There is no trace at '{path}'.") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"'{path}' is damaged: {error}. Trace it again.") from None


def as_json(values: Mapping[str, Any]) -> str:
    """Plain values as the text of a file, equal for equal values."""
    return json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def finite(value: float) -> float | None:
    """The number, or None where it is none that JSON holds."""
    return value if abs(value) < float("inf") else None
