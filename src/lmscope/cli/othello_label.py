"""`lmscope othello label`: what the features of a player say of the game."""

from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from lmscope.cli.numbers import Count
from lmscope.cli.options import Switch

EXAMPLES: Final = """Example:

    lmscope othello label
    lmscope othello label last
    lmscope othello label RUN --only 'mlp_out-*' --family mine --family yours
    lmscope othello label RUN --n 2000 --out labels.json --json > summary.json

Every latent is held against what the rules say is true after each move of games
that the model never saw. Half of the games choose latents and thresholds, the
others judge. Without a name, the small player that comes with lmscope is looked
at. `--out RUN/artifacts/labels.json` lays labels where the board of `lmscope
serve` and `lmscope othello circuits RUN` find them.
"""


def label(
    *dictionaries: str,
    only: Annotated[tuple[str, ...], Parameter(metavar="NAME", show_default=False)] = (),
    model: Annotated[str | None, Parameter(metavar="NAME")] = None,
    other_model: Switch = False,
    n: Count = 1000,
    family: Annotated[tuple[str, ...], Parameter(metavar="NAME", show_default=False)] = (),
    permutations: Annotated[int, Parameter(metavar="N")] = 4,
    seed: int = 0,
    device: Annotated[str | None, Parameter(metavar="NAME")] = None,
    out: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    runs_dir: Annotated[Path, Parameter(metavar="FOLDER")] = Path("runs"),
    json: Switch = False,
) -> int:
    """Label the latents of a player's dictionaries by what is true on the board.

    Args:
        dictionaries: Runs that trained some on a player's activations, `last`, folders or hf:owner/repo; absent:
            those of `othello-mini`, which comes with lmscope.
        only: Take only these of them: a name or a pattern such as 'mlp_out-*'. Repeatable.
        model: Another model than the one that they were trained on.
        other_model: That model has other weights, and this is meant.
        n: Games that no model trains on.
        family: Only labels of this kind: move, mine, yours, empty, legal, flipped, black, position or turning
            (a move together with a direction in which it turned discs). Repeatable.
        permutations: Times that chance is measured, on labels of other games; 0: never.
        seed: Names the draw of games.
        device: auto, cpu, cuda or cuda:1.
        out: Write everything to this file too, every latent with its labels, as one JSON object.
        runs_dir: Folder of all runs.
        json: Print one JSON object to stdout: all but the latents one by one.
    """
    from lmscope.cli import console
    from lmscope.cli.circuit_options import dictionary_source
    from lmscope.cli.failures import DONE
    from lmscope.cli.options import given
    from lmscope.cli.progress import ProgressListener
    from lmscope.cli.run_names import model_name
    from lmscope.core.shipped import OTHELLO
    from lmscope.jobs.othello_labels import TruthChoice, label_othello

    values = {
        "sources": [dictionary_source(text, runs_dir) for text in dictionaries or [OTHELLO]],
        "only": list(only),
        "other_model": other_model,
        "model": given({"name": model_name(model, runs_dir), "device": device}),
        "n_games": n,
        "scores": {"n_permutations": permutations},
        "seed": seed,
        **({"families": list(family)} if family else {}),
    }
    with ProgressListener(console.stderr()) as listener:
        found = label_othello(TruthChoice.from_mapping(values, "the command"), listener)
    if out is not None:
        found.save(out)
    if json:
        console.print_json(found.summary())
        return DONE
    for i, table in enumerate(found.tables()):
        if i:
            console.print_line("")
        console.print_table(table)
    return DONE
