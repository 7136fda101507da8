"""What a circuit is computed with and how it is traced, as plain values; imports no torch."""

from typing import Annotated, Literal

from pydantic import Field

from lmscope.core.config import Config

Rule = Literal["abs", "signed"]
Ablation = Literal["zero", "mean", "counterfactual"]
"""What features outside a circuit become when it is tried: nothing, their mean, or what they are on another
prompt."""


class ReplacementOptions(Config):
    """How a model becomes linear."""

    mlp: Literal["gates", "half_rule", "leaf"] = "gates"
    """A feed-forward layer without a transcoder. `gates`: what its activation function lets through is
    frozen (he2024othello); of a gated layer that is the gate. `half_rule`: of a gated layer each factor
    carries half. `leaf`: its output is one node for each position."""
    dtype: Literal["float32", "float64"] = "float32"
    """What the linear model is computed in; half precision cannot hold a ledger."""


class TraceOptions(Config):
    """How far a target is traced."""

    threshold: Annotated[float, Field(ge=0)] = 0.01
    """Attribution that a feature needs to be traced further."""
    relative: bool = True
    """Whether the threshold is a share of the target's size instead of its units."""
    rule: Rule = "abs"
    """`abs`: |attribution| >= threshold, so that 0 keeps all. `signed`: attribution > threshold, as
    published (ge2024circuits); what lowers the target is cut even at 0."""
