"""`lmscope serve`: the web app over runs and atlases."""

import os
import re
import sys
import webbrowser
from collections.abc import Callable
from functools import partial
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Group, Parameter

from lmscope.cli import console
from lmscope.cli.failures import DONE
from lmscope.cli.options import Switch, given
from lmscope.core.errors import ArtifactError, LmscopeError, RecipeError
from lmscope.core.shipped import shipped_runs, shown

if TYPE_CHECKING:
    from lmscope.server.settings import ServeSettings

_EXAMPLES: Final = """Example:

    lmscope serve
    lmscope serve runs --open
    lmscope serve runs/20260801-101500-demo-1a2b3c4d scope.atlas --port 8800
    LMSCOPE_TOKEN=... lmscope serve --host 0.0.0.0 --read-only

Without --host nobody but this machine reaches it. The variables LMSCOPE_TOKEN
and LMSCOPE_WRITE_TOKEN keep tokens out of the list of processes.
"""
_OUTSIDE: Final = ("fastapi", "orjson", "starlette", "uvicorn")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,256}")
_SAFETY: Final = Group("Who may reach it", sort_key=10)

app = App(name="serve", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def serve(
    *folders: Path,
    port: Annotated[int | None, Parameter(metavar="N")] = None,
    open: Switch = False,
    json: Switch = False,
    host: Annotated[str | None, Parameter(metavar="ADDRESS", group=_SAFETY)] = None,
    token: Annotated[str | None, Parameter(metavar="TEXT", group=_SAFETY)] = None,
    write_token: Annotated[str | None, Parameter(metavar="TEXT", group=_SAFETY)] = None,
    allow_host: Annotated[
        tuple[str, ...], Parameter(metavar="NAME:PORT", group=_SAFETY, show_default=False)
    ] = (),
    read_only: Annotated[Switch, Parameter(group=_SAFETY)] = False,
) -> int:
    """Show runs, dictionaries and features in the browser.

    Args:
        folders: Runs, folders of runs, or packed atlases; where none is named, `runs` and the runs that come with
            lmscope (`garden`, `othello-mini`).
        port: Port to listen at; absent: 8710, or the next one that is free.
        open: Open the page in the browser.
        json: Print one line of JSON with the address to stdout.
        host: Address to listen at; one that other machines reach needs a token.
        token: What readers must show, 16 characters or more; better in LMSCOPE_TOKEN.
        write_token: What writers must show; readers without it cannot write.
        allow_host: A name and port under which a tunnel or proxy passes requests on. Repeatable.
        read_only: Refuse to write notes and to start jobs.
    """
    answer = _server()
    from lmscope.server.settings import ServeSettings

    for folder in folders:
        if not folder.exists():
            raise ArtifactError(
                f"There is nothing at '{folder}'. Name a run, a folder of runs, or an .atlas file."
            )
    options = {
        "folders": folders or (Path("runs"), *shipped_runs()),
        "host": host,
        "port": port,
        "token": token or os.environ.get("LMSCOPE_TOKEN") or None,
        "write_token": write_token or os.environ.get("LMSCOPE_WRITE_TOKEN") or None,
        "allowed_hosts": allow_host,
        "read_only": read_only,
    }
    _check_tokens(token=options["token"], write_token=options["write_token"])
    settings = ServeSettings.from_mapping(given(options), "`lmscope serve`")
    answer(
        settings,
        port_is_fixed=port is not None,
        on_start=partial(_announce, usual=settings.port, opens=open, as_json=json),
    )
    if not json:
        console.say("Stopped.")
    return DONE


def _server() -> Callable[..., None]:
    """The server's own entrance, where its outside packages are installed."""
    try:
        from lmscope.server.listening import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OUTSIDE:
            raise
        raise LmscopeError(
            f"The web app needs '{error.name}', which is not installed: pip install 'lmscope[server]'."
        ) from None
    return serve


def _check_tokens(**tokens: str | None) -> None:
    """Refuse a short token without showing it, as a wrong value otherwise would be."""
    from lmscope.server.settings import MIN_TOKEN

    for name, token in tokens.items():
        if token is not None and (len(token) < MIN_TOKEN or not _TOKEN.fullmatch(token)):
            raise RecipeError(
                f"--{name.replace('_', '-')} must have {MIN_TOKEN} to 256 letters, digits or signs without spaces; "
                "make one with `python -c 'import secrets; print(secrets.token_urlsafe())'`."
            )


def _announce(settings: "ServeSettings", *, usual: int, opens: bool, as_json: bool) -> None:
    """Say where the server answers, now that it does."""
    from lmscope.server.addresses import url

    address = url(settings)
    folders = [shown(folder) for folder in settings.folders]
    if as_json:
        facts = {"url": address, "port": settings.port, "folders": folders, "pid": os.getpid()}
        sys.stdout.write(dumps(facts) + "\n")
        sys.stdout.flush()
    else:
        if usual not in (0, settings.port):
            console.say(f"Port {usual} is taken, so it is {settings.port} this time.")
        for folder in settings.folders:
            if not folder.exists():
                console.say(
                    f"'{folder}' does not exist yet; what `lmscope demo` makes there will show up."
                )
        console.say(f"Serving {', '.join(folders)} at {address} (Ctrl-C stops it).")
        if settings.token or settings.write_token:
            console.say(f"Readers open it once as {address}?token=TOKEN.")
    if opens and not webbrowser.open(address):
        console.say(f"No browser was found here. Open {address} yourself.")
