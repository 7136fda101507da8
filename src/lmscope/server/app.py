"""The server as an ASGI application."""

from fastapi import FastAPI

from lmscope import __version__
from lmscope.server.routes import dictionaries, features, home, live, runs, search, work
from lmscope.server.schemas.common import FailureEnvelope

ROUTERS = (home, runs, dictionaries, features, search, live, work)


def create_app() -> FastAPI:
    """The application."""
    app = FastAPI(
        title="lmscope",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"model": FailureEnvelope, "description": "Refused, and why."}},
    )
    for module in ROUTERS:
        app.include_router(module.router, prefix="/api")
    return app
