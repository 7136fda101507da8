"""Options of commands on circuits: which dictionaries stand in which model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Group, Parameter

from lmscope.cli.options import Switch, given
from lmscope.cli.run_names import find_run, model_name

_CIRCUIT: Final = Group("What the circuit is of", sort_key=5)


@Parameter(name="*", group=_CIRCUIT)
@dataclass(frozen=True)
class Circuit:
    """Which dictionaries stand in which model."""

    dictionaries: Annotated[tuple[str, ...], Parameter(metavar="RUN", show_default=False)] = ()
    """A run, `last`, a folder, hf:owner/repo, or none; absent: those that come with lmscope (models `garden`
    and `othello-mini`). Repeatable."""
    only: Annotated[tuple[str, ...], Parameter(metavar="NAME", show_default=False)] = ()
    """Take only these of them: a name or a pattern such as 'mlp_norm-*'. Repeatable."""
    model: Annotated[str | None, Parameter(metavar="NAME")] = None
    """Another model than the one that they were trained on."""
    other_model: Switch = False
    """That model has other weights, and this is meant."""
    device: Annotated[str | None, Parameter(metavar="NAME")] = None
    """auto, cpu, cuda or cuda:1."""
    mlp: Literal["gates", "half_rule", "leaf"] | None = None
    """Feed-forward layers without a dictionary: frozen gates (the default), the half rule, or leaves."""
    precision: Literal["float32", "float64"] | None = None
    """Of the linear model."""
    calibration_tokens: Annotated[int | None, Parameter(metavar="N")] = None
    """Text read to tell outliers, where no dictionary stands; 0 reads none."""

    def everyday(self, runs_dir: Path) -> dict[str, Any]:
        """The recipe keys that were given here."""
        return given(
            {
                "dictionaries.sources": [
                    dictionary_source(text, runs_dir) for text in self.dictionaries
                ]
                or None,
                "dictionaries.only": list(self.only) or None,
                "dictionaries.other_model": self.other_model or None,
                "dictionaries.calibration_tokens": self.calibration_tokens,
                "model.name": model_name(self.model, runs_dir),
                "model.device": self.device,
                "replacement.mlp": self.mlp,
                "replacement.dtype": self.precision,
            }
        )


def dictionary_source(text: str, runs_dir: Path) -> str:
    """What a recipe calls the source of dictionaries that a person named: runs become folders.

    Args:
        text: A run, `last`, a folder, `hf:owner/repo`, or `none`.
        runs_dir: The folder of all runs.

    Raises:
        RunError: No run is called so.
    """
    from lmscope.jobs.trace_dictionaries import NONE

    if text == NONE or text.startswith("hf:") or Path(text).exists():
        return text
    return str(find_run(text, runs_dir, holding="artifacts/dictionaries"))
