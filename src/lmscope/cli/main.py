"""`lmscope`: the commands by name, each imported only when it is called."""

import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Final, NoReturn

from cyclopts import App, Parameter

from lmscope import __version__
from lmscope.cli import console
from lmscope.cli.failures import DONE, explain
from lmscope.core.errors import ProcessGone, RecipeError, SiteError
from lmscope.core.mesh import is_first_started

_EPILOGUE: Final = """Example:

    lmscope train --site resid_post@14 --latents 4608 --tokens 2M

Each command has examples in its --help. Any command takes --debug, with which
a failure shows its traceback.
"""

_SAID_BY_THE_FIRST: Final = (ProcessGone, RecipeError, SiteError, KeyboardInterrupt)
"""Of several processes each ends with one of these; once is enough."""

COMMANDS: Final = {
    "demo": "Train and judge a dictionary on a real model in minutes; the place to start.",
    "train": "Train sparse dictionaries on the activations of a language model.",
    "evaluate": "Measure a dictionary on held-out text, another text, or another model.",
    "geometry": "Compare the latents of dictionaries: matching, neighbours, splitting, maps.",
    "atlas": "Say what every latent means: build, show, ask, pack and exchange atlases.",
    "explain": "Say what the latents of an atlas mean, and how far to trust it.",
    "steer": "Let a model go on with a prompt while latents are activated, clamped or ablated.",
    "trace": "Trace a prediction of a prompt to the features, tokens and constants it is made of.",
    "circuits": "Try circuits of many prompts, found in three ways, at matched sizes.",
    "tasks": "Make prompts with known answers, and measure how well a model does on them.",
    "othello": "Play games whose rules are known, to try methods where the truth is at hand.",
    "prompt": "Tune soft prompts for a task through the model's scores alone, and use them.",
    "serve": "Show runs, dictionaries and features in the browser.",
    "lm": "Train a plain language model of one's own, small enough to look through.",
    "convert": "Convert dictionaries from and to the formats of other tools.",
    "models": "List, describe and fetch models.",
    "runs": "List, show, compare and remove runs.",
    "doctor": "Check this installation and say what is missing.",
}
"""Commands in the order in which help shows them, with one line each."""

app = App(
    name="lmscope",
    help="Open language models up: train sparse dictionaries on their activations and judge them.",
    help_epilogue=_EPILOGUE,
    help_format="plaintext",
    version=__version__,
    default_parameter=Parameter(negative=""),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _position, (_name, _help) in enumerate(COMMANDS.items()):
    app.command(f"lmscope.cli.{_name}:app", name=_name, help=_help, sort_key=_position)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after `lmscope`; absent: those of this process.

    Returns:
        The exit code: 0 done, 1 failed, 2 usage, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with _termination_interrupts():
            code = app(words, exit_on_error=False, print_error=False)
            sys.stdout.flush()
            return code if isinstance(code, int) else DONE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place that may
        if debug:
            traceback.print_exception(error)
        code, sentence = explain(error)
        if isinstance(error, BrokenPipeError):
            console.discard_stdout()
        if sentence and (is_first_started() or not isinstance(error, _SAID_BY_THE_FIRST)):
            console.say(sentence)
        return code


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    """SIGTERM stops a command as Ctrl-C does, so that locks are released and files stay whole."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt("Stopped by SIGTERM.")


if __name__ == "__main__":
    sys.exit(main())
