"""The web app's files: a table of what the bundle holds, never a path made from a request."""

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

SHIPPED: Final = Path(__file__).parent / "static"
_HASHED: Final = re.compile(r"^/assets/.+-[\w-]{8}\.\w+$")
_PAGES: Final = re.compile(
    r"^/(?:|(?:suites|models|runs)/[^/]+|jobs|dictionaries/[^/]+(?:/features/\d+)?|search|compare)$"
)
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class _File:
    body: bytes
    media_type: str
    etag: str
    is_hashed: bool


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
        if self._changed() != self._stamp:
            self._files, self._stamp = self._read(), self._changed()
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

    def _changed(self) -> int:
        return (self._folder / "index.html").stat().st_mtime_ns


def wants_json(request: Request) -> bool:
    """Whether a program asks for data and not a browser for a page."""
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


def _file(path: Path, root: Path) -> _File:
    body = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    name = f"/{path.relative_to(root).as_posix()}"
    return _File(body, kind or "application/octet-stream", tag, bool(_HASHED.match(name)))


def _send(file: _File, request: Request, status: int = 200) -> Response:
    lasting = "public, max-age=31536000, immutable" if file.is_hashed else "no-cache"
    headers = {"ETag": file.etag, "Cache-Control": lasting, "Vary": "Accept"}
    if status == 200 and file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.body, status, headers, file.media_type)
