"""The web app's files: a table of what the bundle holds, never a path made from a request."""

import gzip
import hashlib
import mimetypes
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from lmscope.core.errors import ArtifactError
from lmscope.server.responses import is_known

SHIPPED: Final = Path(__file__).parent / "static"
_HASHED: Final = re.compile(r"^/assets/.+-[\w-]{8}\.\w+$")
_PAGES: Final = re.compile(
    r"^/(?:|(?:suites|models|runs)/[^/]+|jobs|dictionaries/[^/]+(?:/features/\d+)?|graphs(?:/[^/]+/[^/]+)?|graphs/compare"
    r"|othello(?:/[^/]+)?|search|compare)$"
)
_NEVER: Final = re.compile(r";q=0(\.0*)?$")
_WORTH_SQUEEZING: Final = 1024
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class _File:
    body: bytes
    media_type: str
    etag: str
    is_hashed: bool
    squeezed: bytes | None
    """With gzip, where that is worth it."""


class Bundle:
    """The files of the built web app, held in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read the bundle.

        Args:
            folder: Where it was built; absent: the one that the package ships, or in development
                the folder that `LMSCOPE_WEB` names.

        Raises:
            ArtifactError: There is no bundle.
        """
        self._folder = folder or Path(os.environ.get("LMSCOPE_WEB") or SHIPPED)
        self._files, self._stamp = self._read(), self._changed()

    def answer(self, request: Request) -> Response:
        """The file at an address; the app's page for the address of a page; its JSON if that is asked for."""
        stamp = self._changed()
        # In the middle of a build there is no page: then the one before goes on.
        if stamp not in (None, self._stamp):
            self._files, self._stamp = self._read(), stamp
        path = request.url.path
        found = self._files.get(path)
        if found is not None and path != "/index.html":
            return _send(found, request)
        if wants_json(request):
            twin = "/api/home" if path == "/" else f"/api{path}"
            query = f"?{request.url.query}" if request.url.query else ""
            return RedirectResponse(twin + query, status_code=307, headers={"Vary": "Accept"})
        status = 200 if _PAGES.match(path) else 404
        return _send(self._files["/index.html"], request, status)

    def _read(self) -> dict[str, _File]:
        root = self._folder.resolve()
        if not (root / "index.html").is_file():
            raise ArtifactError(
                f"'{self._folder}' holds no web app: install lmscope from a wheel, or build it with `make web`."
            )
        paths = (path for path in sorted(root.rglob("*")) if path.is_file())
        return {
            f"/{path.relative_to(root).as_posix()}": _file(path, root)
            for path in paths
            if path.resolve().is_relative_to(root)
        }

    def _changed(self) -> int | None:
        page = self._folder / "index.html"
        return page.stat().st_mtime_ns if page.is_file() else None


def wants_json(request: Request) -> bool:
    """Whether a program asks for data and not a browser for a page."""
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


def _file(path: Path, root: Path) -> _File:
    body = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    name = f"/{path.relative_to(root).as_posix()}"
    squeezed = gzip.compress(body, 9, mtime=0) if len(body) > _WORTH_SQUEEZING else None
    kind = kind or "application/octet-stream"
    return _File(body, kind, tag, bool(_HASHED.match(name)), squeezed)


def _send(file: _File, request: Request, status: int = 200) -> Response:
    lasting = "public, max-age=31536000, immutable" if file.is_hashed else "no-cache"
    headers = {"ETag": file.etag, "Cache-Control": lasting, "Vary": "Accept, Accept-Encoding"}
    if status == 200 and is_known(request.headers.get("if-none-match"), file.etag):
        return Response(status_code=304, headers=headers)
    if file.squeezed is not None and _takes_gzip(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
        return Response(file.squeezed, status, headers, file.media_type)
    return Response(file.body, status, headers, file.media_type)


def _takes_gzip(accepted: str) -> bool:
    ways = [way.replace(" ", "").lower() for way in accepted.split(",")]
    return any(
        way == "gzip" or (way.startswith("gzip;") and not _NEVER.search(way)) for way in ways
    )
