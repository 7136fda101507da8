"""`lmscope othello`: a world whose rules are known, to try methods on."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from lmscope.cli import console
from lmscope.cli.failures import DONE
from lmscope.cli.numbers import Count
from lmscope.cli.options import Switch
from lmscope.cli.othello_circuits import EXAMPLES as CIRCUITS_EXAMPLES
from lmscope.cli.othello_circuits import circuits
from lmscope.cli.othello_label import EXAMPLES as LABEL_EXAMPLES
from lmscope.cli.othello_label import label
from lmscope.cli.othello_train import EXAMPLES, train
from lmscope.core.errors import RecipeError

if TYPE_CHECKING:
    from lmscope.text.worlds.othello import Games, Othello

_EXAMPLES: Final = """Example:

    lmscope othello play
    lmscope othello play "f5 d6 c3"
    lmscope othello play --n 1000 --size 6 > games.txt
    lmscope othello train othello-6x6
    lmscope othello label last
    lmscope othello circuits RUN --labels labels.json

Columns are letters and rows are numbers, a1 is at the top left. Black begins.
"""
_AT_ONCE: Final = 1000
"""Games that are made before they are written."""

app = App(name="othello", help_epilogue=_EXAMPLES, help_format="plaintext")
app.command(train, name="train", help_epilogue=EXAMPLES)
app.command(label, name="label", help_epilogue=LABEL_EXAMPLES)
app.command(circuits, name="circuits", help_epilogue=CIRCUITS_EXAMPLES)


@app.command(
    name="play",
    help_epilogue='Example:\n\n    lmscope othello play "f5 d6 c3"\n    lmscope othello play --n 100 --json > games.jsonl\n',
)
def play(
    game: Annotated[str | None, Parameter(show_default=False)] = None,
    /,
    *,
    n: Annotated[Count | None, Parameter(show_default=False)] = None,
    size: int = 8,
    seed: Annotated[int | None, Parameter(show_default=False)] = None,
    json: Switch = False,
) -> int:
    """Write random games to stdout, one a line, or show the board after given moves.

    Args:
        game: Moves such as 'f5 d6 c3', whose board is shown with what is legal next; passes are not written.
        n: Random games to write; 10 if not said. All of them fill the board.
        size: Squares along a side, 6 or 8.
        seed: Names the draw; 0 if not said.
        json: Print JSON: an object for the board, or an object a line for random games.
    """
    from lmscope.text.worlds.othello import Othello

    world = Othello(size)
    if game is not None:
        if n is not None or seed is not None:
            raise RecipeError(
                "A given game is shown as it is: leave out --n and --seed, or the game."
            )
        _show(game, world, json)
        return DONE
    for games in _random(world, 10 if n is None else n, seed or 0):
        _write(games, json)
    return DONE


def _random(world: "Othello", n: int, seed: int) -> "Iterator[Games]":
    from lmscope.core.rng import numpy_generator

    rng = numpy_generator(seed, "othello", world.size, "play")
    for first in range(0, n, _AT_ONCE):
        # The same number is drawn each time, so that the first of many games are those of few.
        yield world.random_games(_AT_ONCE, rng).take(slice(0, n - first))


def _write(games: "Games", as_json: bool) -> None:
    import json

    from lmscope.text.worlds.game_text import game_text

    for moves, passes in zip(games.moves, games.passes.tolist(), strict=True):
        text = game_text(moves, games.world)
        row = {"text": text, "size": games.world.size, "passes": passes}
        console.print_line(json.dumps(row) if as_json else text)


def _show(text: str, world: "Othello", as_json: bool) -> None:
    from lmscope.text.worlds.drawing import board_lines, position_after

    position = position_after(text, world)
    if as_json:
        console.print_json(position.to_mapping())
        return
    for line in board_lines(position):
        console.print_line(line)
