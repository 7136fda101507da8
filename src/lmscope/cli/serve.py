"""`lmscope serve`: the web app over runs and atlases."""

from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from lmscope.cli import console
from lmscope.cli.failures import DONE
from lmscope.cli.options import Switch

_EXAMPLES: Final = """Example:

    lmscope serve
    lmscope serve runs --port 8800 --open
"""

app = App(name="serve", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def serve(
    *folders: Path,
    host: Annotated[str | None, Parameter(metavar="ADDRESS")] = None,
    port: Annotated[int | None, Parameter(metavar="N")] = None,
    read_only: Switch = False,
) -> int:
    """Show runs, dictionaries and features in the browser.

    Args:
        folders: Runs, folders of runs, or packed atlases; `runs` where none is named.
        host: Address to listen at; loopback only where it is absent.
        port: Port to listen at.
        read_only: Refuse to write notes and to start jobs.
    """
    from lmscope.server.run import serve as run
    from lmscope.server.settings import DEFAULT_PORT, ServeSettings

    settings = ServeSettings(
        folders=folders or (Path("runs"),),
        host=host,
        port=port or DEFAULT_PORT,
        read_only=read_only,
    )
    console.say(f"http://{settings.host or '127.0.0.1'}:{settings.port}")
    run(settings)
    return DONE
