"""Listens, answers until it is told to stop, and stops cleanly."""

import uvicorn

from lmscope.server.app import create_app
from lmscope.server.settings import ServeSettings


def serve(settings: ServeSettings) -> None:
    """Answer requests until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host or "127.0.0.1",
        port=settings.port,
        log_level="warning",
    )
    uvicorn.Server(config).run()
