"""What a refused request answers: one envelope with a code, a sentence and a hint."""

import re
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from lmscope.core.errors import ArtifactError, LmscopeError
from lmscope.server.responses import Json
from lmscope.server.schemas.common import Failure, FailureEnvelope


class RefusedError(LmscopeError):
    """A request that cannot be answered as it was asked."""

    code: str = "wrong_input"
    status: int = 422
    headers: Mapping[str, str] = {}


class NotFound(RefusedError):  # noqa: N818 - named by what the client reads
    """Nothing of that name is served."""

    code, status = "not_found", 404


class WrongInput(RefusedError):  # noqa: N818
    """The request is well formed but cannot be done."""

    code, status = "wrong_input", 422


class Forbidden(RefusedError):  # noqa: N818
    """The request came from elsewhere, or without the right token."""

    code, status = "forbidden", 403


class Damaged(RefusedError):  # noqa: N818
    """A file that the answer needs is damaged."""

    code, status = "damaged", 424


class Busy(RefusedError):  # noqa: N818
    """Too much is waiting already."""

    code, status, headers = "busy", 429, {"Retry-After": "5"}


class ReadOnly(RefusedError):  # noqa: N818
    """This server changes nothing."""

    code, status = "read_only", 403


class WorkerGone(RefusedError):  # noqa: N818
    """The process with the model ended before it answered."""

    code, status, headers = "worker_gone", 503, {"Retry-After": "5"}


class TimedOut(RefusedError):  # noqa: N818
    """The answer took longer than a request may."""

    code, status, headers = "timeout", 503, {"Retry-After": "5"}


_CODES: Final = {
    400: "wrong_input",
    401: "unauthorised",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "wrong_type",
    421: "wrong_host",
}
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"])")
INTERNAL: Final = "The server failed on this request; its log says why."
"""All that a client is told of a defect."""


def envelope(
    status: int, code: str, message: str, hint: str | None = None, headers: Any = None
) -> Json:
    """The body of a refusal."""
    body = FailureEnvelope(error=Failure(code=code, message=message, hint=hint))
    return Json(body, status_code=status, headers={"Cache-Control": "no-store", **(headers or {})})


def refusal(error: LmscopeError) -> Json:
    """What a failure that a user can cause answers."""
    message, hint = split(str(error))
    if isinstance(error, RefusedError):
        return envelope(error.status, error.code, message, hint, error.headers)
    if isinstance(error, ArtifactError):
        return envelope(Damaged.status, Damaged.code, message, hint)
    return envelope(WrongInput.status, WrongInput.code, message, hint)


def split(sentence: str) -> tuple[str, str | None]:
    """What was found and what to do: the first sentence and the rest, when there is a rest."""
    first, *rest = _SENTENCE_END.split(sentence.strip(), maxsplit=1)
    return first, rest[0] if rest else None


def install(app: FastAPI) -> None:
    """Let the application answer every failure with the envelope."""
    app.add_exception_handler(LmscopeError, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_wrong_input)
    app.add_exception_handler(HTTPException, _on_http)


async def _on_refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, LmscopeError)
    return refusal(error)


async def _on_wrong_input(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    what = first["msg"].removeprefix("Value error, ")
    return envelope(422, "wrong_input", f"'{where[:200]}' is wrong: {what[:500]}.")


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "refused")
    message, hint = str(error.detail), None
    if error.status_code == 404:
        message, hint = f"There is no '{request.url.path[:200]}'.", "See /api/openapi.json."
    if error.status_code == 405:
        message = f"{request.method} is not possible at '{request.url.path[:200]}'."
    return envelope(error.status_code, code, message, hint, error.headers)
