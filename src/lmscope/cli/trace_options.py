"""Options of `lmscope trace` on how circuits are tried, put together and shown."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Group, Parameter

from lmscope.cli.options import Switch, given

_TRIED: Final = Group("How the circuit is tried", sort_key=6)
_TOGETHER: Final = Group("What prompts share", sort_key=7)
_SHOWN: Final = Group("What is shown", sort_key=8)


@Parameter(name="*", group=_TRIED)
@dataclass(frozen=True)
class Tried:
    """How a circuit is tried."""

    unverified: Switch = False
    """Leave the trial out."""
    ablate: Annotated[
        tuple[Literal["zero", "mean", "counterfactual"], ...], Parameter(show_default=False)
    ] = ()
    """What features outside become: nothing (the default), their mean, or what they are on the
    counterfactual. Repeatable."""
    counterfactual: Annotated[str | None, Parameter(metavar="PROMPT")] = None
    """A prompt of as many tokens, on which another answer is right."""
    means: Literal["text", "prompts", "positions"] | None = None
    """Over the text of the dictionaries (the default), over the prompts, or over them by position."""

    def everyday(self) -> dict[str, Any]:
        """The recipe keys that were given here."""
        return given(
            {
                "verify": False if self.unverified else None,
                "ablation.by": list(self.ablate) or None,
                "ablation.means": self.means,
                "prompts.counterfactual": self.counterfactual,
            }
        )


@Parameter(name="*", group=_TOGETHER)
@dataclass(frozen=True)
class Together:
    """What is made of the circuits of many prompts."""

    together: Switch = False
    """Put the circuits of all prompts together: what they share, how surely, and supernodes of it."""
    match: Literal["latent", "position", "from_end"] | None = None
    """Same on two prompts: the latent anywhere (the default), at a position, or counted from the end."""
    stability: Annotated[float | None, Parameter(metavar="SHARE")] = None
    """Leave out what is in a smaller share of the prompts; 0.5 unless told otherwise."""
    group_by: Literal["coactivation", "decoder", "label"] | None = None
    """Features alike: firing together (the default), writing the same, or called the same."""

    def everyday(self) -> dict[str, Any]:
        """The recipe keys that were given here; any of them asks for the whole."""
        keys = given(
            {
                "together.aggregation.match": self.match,
                "together.aggregation.least_stability": self.stability,
                "together.group_by": self.group_by,
            }
        )
        return {"together.wanted": True, **keys} if self.together or keys else {}


@Parameter(name="*", group=_SHOWN)
@dataclass(frozen=True)
class Shown:
    """What is shown of the circuit."""

    depth: Annotated[int, Parameter(metavar="N")] = 3
    """Levels of the tree."""
    children: Annotated[int, Parameter(metavar="N")] = 5
    """Lines below each node."""
    labels: Annotated[tuple[str, ...], Parameter(metavar="ATLAS", show_default=False)] = ()
    """Atlases that say what features mean: runs, folders or packed files. Repeatable."""
    export: Annotated[Path | None, Parameter(metavar="FILE")] = None
    """Write the graph to a file that ends in .graph, .json or .graphml; of several prompts, a folder."""
    export_format: Literal["graph", "json", "graphml"] | None = None
    """Of the files in that folder."""

    def __post_init__(self) -> None:
        from lmscope.core.errors import RecipeError

        for name, value in (("depth", self.depth), ("children", self.children)):
            if value < 1:
                raise RecipeError(f"--{name} is {value}: a tree has at least 1.")
