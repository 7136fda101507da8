"""The server as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response

from lmscope import __version__
from lmscope.server import failures
from lmscope.server.bundle import Bundle
from lmscope.server.context import Context
from lmscope.server.guard import Guard, Stop
from lmscope.server.responses import Json
from lmscope.server.routes import (
    dictionaries,
    features,
    graphs,
    home,
    live,
    othello,
    runs,
    search,
    work,
)
from lmscope.server.schemas.common import FailureEnvelope
from lmscope.server.settings import ServeSettings

ROUTERS = (home, runs, dictionaries, features, graphs, othello, search, live, work)


def create_app(settings: ServeSettings) -> FastAPI:
    """The application.

    Args:
        settings: What is served and to whom.

    Raises:
        ArtifactError: The web app's files are missing.
    """
    app = _routed()
    app.state.context, app.state.stop = Context.of(settings), Stop()
    failures.install(app)
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=4)
    app.add_middleware(Guard, settings=settings, stop=app.state.stop)
    bundle = Bundle()

    @app.get("/healthz", include_in_schema=False)
    async def health() -> Response:
        return Json({"status": "ok"})

    @app.api_route("/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request) -> Response:
        if request.url.path == "/api" or request.url.path.startswith("/api/"):
            raise HTTPException(404 if request.method == "GET" else 405)
        return bundle.answer(request)

    return app


def describe() -> dict[str, Any]:
    """The addresses and their answers as OpenAPI."""
    return _routed().openapi()


def _routed() -> FastAPI:
    app = FastAPI(
        title="lmscope",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=Json,
        lifespan=_lifespan,
        responses={"4XX": {"model": FailureEnvelope, "description": "Refused, and why."}},
    )
    for module in ROUTERS:
        app.include_router(module.router, prefix="/api")
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await app.state.context.close()
