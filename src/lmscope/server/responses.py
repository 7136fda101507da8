"""Answers as JSON: numbers that are not finite are null, unchanged pages cost nothing."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class Json(JSONResponse):
    """A JSON answer written by orjson: NaN and infinities become null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of a schema object or of plain values."""
        return to_bytes(content)


def to_bytes(content: Any) -> bytes:
    """JSON of a schema object or of plain values; arrays of numpy are lists."""
    if isinstance(content, BaseModel):
        return content.model_dump_json().encode()
    return orjson.dumps(content, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} has no JSON.")


def sealed(request: Request, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that changes only with the files behind it: asked again, it is a 304.

    Args:
        request: What was asked, with the `If-None-Match` of an earlier answer.
        content: A schema object or plain values.
        headers: Further headers.
    """
    body = to_bytes(content)
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    more = {"ETag": tag, "Cache-Control": "no-cache", **(headers or {})}
    if is_known(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=more)
    return Response(body, media_type="application/json", headers=more)


def is_known(header: str | None, tag: str) -> bool:
    """Whether `If-None-Match` names this tag: the client has the answer already."""
    known = [one.strip() for one in (header or "").split(",")]
    return tag in known or "*" in known
