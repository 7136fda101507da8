"""Listens, answers until it is told to stop, and stops cleanly."""

import socket
from collections.abc import Callable

import uvicorn

from lmscope.server.addresses import listen, port_of, refuse_open_doors
from lmscope.server.app import create_app
from lmscope.server.guard import Stop
from lmscope.server.settings import ServeSettings

GRACE_S = 5
"""Seconds that requests have to end once the server is told to stop."""


def serve(
    settings: ServeSettings,
    *,
    port_is_fixed: bool = False,
    on_start: Callable[[ServeSettings], None] = lambda _settings: None,
) -> None:
    """Answer requests until SIGINT or SIGTERM.

    Args:
        settings: What is served, where, to whom.
        port_is_fixed: Whether a taken port is an error; otherwise the next free one is taken.
        on_start: Called with the settings, the bound port among them, when requests are answered.

    Raises:
        AddressError: The server cannot listen where it was told to, or must not.
        ArtifactError: The web app's files are missing.
    """
    refuse_open_doors(settings)
    sockets = listen(settings, port_is_fixed=port_is_fixed)
    try:
        bound = settings.model_copy(update={"port": port_of(sockets)})
        app = create_app(bound)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=True,
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=GRACE_S,
        )
        server = _Server(config, app.state.stop, lambda: on_start(bound))
        server.run(sockets)
    except KeyboardInterrupt:
        # uvicorn stopped cleanly and hands the signal on; a server is ended no other way.
        return
    finally:
        for one in sockets:
            one.close()


class _Server(uvicorn.Server):
    """Says when it answers, and ends event streams before it waits for requests to end."""

    def __init__(self, config: uvicorn.Config, stop: Stop, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop, self._on_start = stop, on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stop.say()
        await super().shutdown(sockets)
