"""`lmscope steer`: let a model go on with a prompt while latents are changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Group, Parameter

from lmscope.cli import console
from lmscope.cli.failures import DONE
from lmscope.cli.options import Switch
from lmscope.cli.progress import ProgressListener
from lmscope.core.errors import RecipeError
from lmscope.display.tables import Table

if TYPE_CHECKING:
    from lmscope.jobs.bench import Subject
    from lmscope.jobs.steer import Steered, SteerResult

_EXAMPLES: Final = """Example:

    lmscope steer last --latent 17 --clamp 2x --prompt "Yesterday I"
    lmscope steer RUN --latent 17 --add 40 --prompt "My day:" --compare
    lmscope steer RUN --latent 17 --ablate --prompt "Hi!" --chat --json

RUN is a path, a folder name, a beginning of one, `last`, or the folder of one
dictionary. An amount is a number in the dictionary's units, or with an x a
multiple of the latent's largest activation on the run's held-out text.
"""
_ARMS: Final = {"clean": "unedited", "steered": "steered", "random": "random direction"}

_WRITING_GROUP: Final = Group("How the text goes on", sort_key=5)
_PLACE_GROUP: Final = Group("Where", sort_key=6)


@Parameter(name="*", group=_WRITING_GROUP)
@dataclass(frozen=True)
class Writing:
    """How the model goes on."""

    tokens: Annotated[int, Parameter(metavar="N")] = 48
    """New tokens, at most."""
    temperature: Annotated[float, Parameter(metavar="T")] = 0.0
    """0 takes the most probable token each time."""
    seed: Annotated[int, Parameter(metavar="N")] = 0
    """Of the tokens drawn and of the random direction."""
    where: Literal["all", "prompt", "generated"] = "all"
    """Steer all tokens, those of the prompt, or the new ones."""
    chat: Switch = False
    """Put each prompt through the model's chat template."""

    def values(self) -> dict[str, Any]:
        """The keys of a `SteerChoice` that these are."""
        generation = {
            "n_tokens": self.tokens,
            "temperature": self.temperature,
            "seed": self.seed,
        }
        return {"generation": generation, "where": self.where, "chat": self.chat}


@Parameter(name="*", group=_PLACE_GROUP)
@dataclass(frozen=True)
class Place:
    """Which dictionary on which model."""

    dictionary: Annotated[str | None, Parameter(metavar="NAME")] = None
    """Which dictionary of a run that trained several."""
    model: Annotated[str | None, Parameter(metavar="NAME")] = None
    """Another model of the same shape."""
    device: Annotated[str | None, Parameter(metavar="NAME")] = None
    """auto, cpu, cuda or cuda:1."""
    calibration_tokens: Annotated[int, Parameter(metavar="N")] = 4096
    """Text read to tell outliers, which stay clean; 0 reads none."""
    runs_dir: Annotated[Path, Parameter(metavar="FOLDER")] = Path("runs")
    """Folder of all runs."""

    def find(self, target: str) -> "Subject":
        """The dictionary; errors as of `find_subject`."""
        from lmscope.cli.run_names import find_run
        from lmscope.jobs.bench import find_subject

        if self.calibration_tokens < 0:
            raise RecipeError("--calibration-tokens is a number of tokens: 0 or more.")
        folder = Path(target)
        if not folder.is_dir():
            folder = find_run(target, self.runs_dir, holding="artifacts/dictionaries")
        return find_subject(folder, name=self.dictionary, model=self.model, device=self.device)


_WRITING: Final = Writing()
_PLACE: Final = Place()

app = App(name="steer", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def steer(
    target: str,
    /,
    *,
    latent: Annotated[tuple[int, ...], Parameter(metavar="N", show_default=False)] = (),
    prompt: Annotated[tuple[str, ...], Parameter(metavar="TEXT", show_default=False)] = (),
    clamp: Annotated[str | None, Parameter(metavar="AMOUNT")] = None,
    add: Annotated[str | None, Parameter(metavar="AMOUNT", allow_leading_hyphen=True)] = None,
    ablate: Switch = False,
    compare: Switch = False,
    json: Switch = False,
    writing: Writing = _WRITING,
    place: Place = _PLACE,
) -> int:
    """Change latents while a model goes on with a prompt.

    Below what was written stand the next tokens whose probability changed most.

    Args:
        target: A run that trained dictionaries, or the folder of one.
        latent: The latent to change. Repeatable; all get the same change.
        prompt: What to go on from. Repeatable.
        clamp: Give the latent this activation everywhere.
        add: Raise its activation by this amount; may be negative.
        ablate: Take away what it writes.
        compare: Show the unedited model too, and a random direction of equal norm.
        json: Print one JSON object to stdout.
        writing: How the text goes on.
        place: Which dictionary on which model.
    """
    change = _change(clamp, add, ablate)
    if not latent:
        raise RecipeError("There is nothing to steer: name a latent, e.g. --latent 17.")
    if not prompt:
        raise RecipeError(
            'There is nothing to go on from: give a prompt, e.g. --prompt "Once upon".'
        )
    from lmscope.jobs.bench import open_bench
    from lmscope.jobs.steer import SteerChoice, chosen_changes
    from lmscope.jobs.steer import steer as run

    named = {"latents": list(latent), "prompts": list(prompt), "compare": compare}
    choice = SteerChoice.from_mapping({**change, **named, **writing.values()}, "the options")
    subject = place.find(target)
    chosen_changes(subject, choice)  # a latent that does not exist is told before a model is loaded
    with ProgressListener(console.stderr()) as listener:
        bench = open_bench(subject, listener, calibration_tokens=place.calibration_tokens)
        listener.on_event("phase", {"phase": "generate"})
        result = run(bench, choice)
    if json:
        console.print_json(result.to_mapping())
    else:
        _show(result)
    return DONE


def _change(clamp: str | None, add: str | None, ablate: bool) -> dict[str, Any]:
    """Which of the three changes was asked for.

    Raises:
        RecipeError: None was, or more than one.
    """
    asked: list[dict[str, Any]] = []
    if clamp is not None:
        asked.append({"kind": "clamp", "amount": clamp})
    if add is not None:
        asked.append({"kind": "add", "amount": add})
    if ablate:
        asked.append({"kind": "ablate"})
    if len(asked) != 1:
        found = "none" if not asked else " and ".join(f"--{one['kind']}" for one in asked)
        raise RecipeError(
            f"Say once what happens to the latent: --clamp AMOUNT, --add AMOUNT or --ablate; {found} was "
            "given."
        )
    return asked[0]


def _show(result: "SteerResult") -> None:
    changes = ", ".join(str(change) for change in result.changes)
    console.print_line(f"{result.bench.name} on {result.bench.model.name}: {changes}")
    for one in result.prompts:
        console.print_line("")
        rows = [("prompt", one.prompt)]
        rows += [(_ARMS[arm], found.text) for arm, found in one.arms.items()]
        console.print_rows(rows)
        console.print_line("")
        console.print_table(_table(result, one))


def _table(result: "SteerResult", one: "Steered") -> Table:
    kinds = [("rises", effect) for effect in one.raised] + [("falls", e) for e in one.lowered]
    rows = tuple(
        (kind, result.show(effect.token), effect.clean, effect.edited) for kind, effect in kinds
    )
    caption = f"Next token after the prompt (KL divergence {one.effect.kl:.3g} nats)"
    return Table(("", "token", "unedited", "steered"), rows, caption=caption)
