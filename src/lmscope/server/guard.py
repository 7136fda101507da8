"""Guard: what every request passes before anything reads it, and what every answer carries."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from html import escape
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lmscope.core.errors import LmscopeError
from lmscope.server.addresses import HostNames
from lmscope.server.failures import INTERNAL, RefusedError, TimedOut, envelope, refusal
from lmscope.server.settings import ServeSettings
from lmscope.server.tokens import Access, Tokens

logger = logging.getLogger("lmscope.server")

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self'; style-src 'self'; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Stand on every answer, refusals included."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_TRICKS: Final = re.compile(rb"%2e|%2f|%5c|%[01].|%7f|\\|[\x00-\x20\x7f]|//", re.IGNORECASE)
_DOTS: Final = re.compile(rb"(?:^|/)\.{1,2}(?:/|$)")
_ASKS_THE_MODEL: Final = re.compile(r"/api/live/|/api/graphs/[^/]+/[^/]+/scores$")
"""A POST there computes and changes nothing, so reading rights do."""
_SLOW: Final = re.compile(
    r"/api/live/|/api/compare|/api/graphs/(?:trace|compare|[^/]+/[^/]+/(?:scores|tests|supernodes))$|.*/map$"
)
"""What may wait for the model."""


class _Refused(RefusedError):  # noqa: N818
    """A request that the guard does not let through."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers


class Stop:
    """That the server is told to end; event streams wait for it, each in its own loop."""

    def __init__(self) -> None:
        self.is_said, self._waiting = False, set[asyncio.Event]()

    def say(self) -> None:
        """End all streams; called from the loop that they run in."""
        self.is_said = True
        for event in self._waiting:
            event.set()

    async def wait(self) -> None:
        """Return when it is said."""
        event = asyncio.Event()
        if self.is_said:
            return
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.discard(event)


class Guard:
    """Refuses requests from elsewhere, without a token, too large, too slow or of a strange form."""

    def __init__(
        self,
        app: ASGIApp,
        settings: ServeSettings,
        stop: "Stop",
    ) -> None:
        """Stand before an application.

        Args:
            app: The application.
            settings: Names, tokens and limits; `port` is the one that was bound.
            stop: Said when the server is told to end.
        """
        self._app, self._settings, self._stop = app, settings, stop
        self._hosts, self._tokens = HostNames(settings), Tokens(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(send)
        try:
            early = self._check(scope)
            if early is None:
                body = await self._body(scope, receive)
                await self._run(scope, _replay(body, receive), answer)
            else:
                await early(scope, receive, answer)
        except LmscopeError as error:
            await answer.instead(refusal(error), scope, receive)

    def _check(self, scope: Scope) -> Response | None:
        headers, method = Headers(scope=scope), scope["method"]
        raw = scope.get("raw_path") or scope["path"].encode()
        if not raw.startswith(b"/") or _TRICKS.search(raw) or _DOTS.search(raw):
            raise _Refused(
                400, "wrong_input", "This address has a form that no page of this server has."
            )
        self._check_source(scope, headers)
        if scope["path"] == "/healthz":
            return None
        answer = self._check_token(scope, headers)
        if answer is None and method not in _SAFE:
            _check_write(headers, method)
        return answer

    def _check_source(self, scope: Scope, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            raise _Refused(
                421,
                "wrong_host",
                f"This server does not answer to the name '{', '.join(hosts)[:200]}'. "
                "Open the address that `lmscope serve` printed, or start it with --allow-host NAME:PORT.",
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit_netloc(origin) not in self._hosts:
            raise _Refused(403, "forbidden", f"A page of '{origin[:200]}' may not use this server.")
        site = headers.get("sec-fetch-site", "none")
        is_link = (
            scope["method"] in ("GET", "HEAD")
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
        )
        if site not in ("none", "same-origin") and not is_link:
            raise _Refused(403, "forbidden", "A page of another site may not use this server.")

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["method"] in ("GET", "HEAD"):
            query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            if any(key == "token" for key, _ in query):
                return self._exchange(scope["path"], query, headers)
        access = self._tokens.access(headers.get("authorization"), headers.get("cookie"))
        if access is Access.NOTHING:
            if "text/html" in headers.get("accept", ""):
                return PlainTextResponse(
                    "This server asks for a token. Open the address with ?token= and the token behind it.\n",
                    status_code=401,
                    headers={"Cache-Control": "no-store"},
                )
            raise _unauthorised()
        is_write = scope["method"] not in _SAFE and not _ASKS_THE_MODEL.match(scope["path"])
        if is_write and self._settings.read_only:
            raise _Refused(403, "read_only", "This server was started with --read-only.")
        if is_write and access < Access.WRITE:
            raise _Refused(403, "forbidden", "Writing needs the write token of this server.")
        return None

    def _exchange(self, path: str, query: list[tuple[str, str]], asked: Headers) -> Response:
        """A right token in the address becomes a cookie, and the address forgets it."""
        shown = next(value for key, value in query if key == "token")
        if self._tokens.of_token(shown) is Access.NOTHING:
            raise _unauthorised()
        rest = urlencode([(key, value) for key, value in query if key != "token"])
        address = quote(path) + (f"?{rest}" if rest else "")
        headers = {"Set-Cookie": self._tokens.cookie(shown), "Cache-Control": "no-store"}
        if asked.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return RedirectResponse(address, status_code=303, headers=headers)
        # After a link on another site a redirect would not carry a strict cookie; a page of our own does.
        page = f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(address)}">'
        return HTMLResponse(page, headers=headers)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        headers, limit = Headers(scope=scope), self._settings.max_body_bytes
        length = headers.get("content-length", "0")
        if scope["method"] in _SAFE and length == "0" and "transfer-encoding" not in headers:
            return b""
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                while True:
                    message = await receive()
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise _too_large(limit)
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            raise _Refused(408, "timeout", "The request did not arrive in time.") from None
        _check_json(bytes(body))
        return bytes(body)

    async def _run(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        """Let the application answer, but neither for ever nor beyond the server's stop."""
        path = scope["path"]
        is_stream = path.startswith("/api/") and path.endswith("/stream")
        slow = _SLOW.match(path) is not None
        limit = self._settings.live_timeout_s if slow else self._settings.timeout_s
        if is_stream and self._stop.is_said:
            raise _stopping()
        task = asyncio.ensure_future(self._app(scope, receive, answer))
        stop = asyncio.ensure_future(self._stop.wait()) if is_stream else None
        try:
            await asyncio.wait(
                {task} if stop is None else {task, stop},
                timeout=None if is_stream else limit,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if task.done():
                await self._finish(task, scope, receive, answer)
            elif stop is not None:
                await answer.instead(refusal(_stopping()), scope, receive)
            else:
                error = TimedOut(f"The answer took longer than {limit:g} s. Try it again later.")
                await answer.instead(refusal(error), scope, receive)
        finally:
            for one in (task, stop):
                if one is not None:
                    one.cancel()

    async def _finish(
        self, task: "asyncio.Future[None]", scope: Scope, receive: Receive, answer: "_Answer"
    ) -> None:
        error = task.exception()
        if error is None:
            return
        logger.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
        await answer.instead(envelope(500, "internal", INTERNAL), scope, receive)


class _Answer:
    """Sends one answer with the guard's headers; what comes after its end is dropped."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_started, self._is_over = False, False

    async def __call__(self, message: Message) -> None:
        if self._is_over:
            return
        if message["type"] == "http.response.start":
            self._is_started = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-cache")
        elif not message.get("more_body"):
            self._is_over = True
        await self._send(message)

    async def instead(self, response: Response, scope: Scope, receive: Receive) -> None:
        """Answer this where nothing was sent yet; otherwise break off."""
        if self._is_started:
            await self.end()
            return
        await response(scope, receive, self)
        self._is_over = True

    async def end(self) -> None:
        """End the answer where it stands."""
        if self._is_started and not self._is_over:
            await self({"type": "http.response.body", "body": b"", "more_body": False})
        self._is_over = True


def urlsplit_netloc(origin: str) -> str:
    """Name and port of an origin; empty for `null` and whatever is none."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc if parts.scheme in ("http", "https") else ""


def _check_write(headers: Headers, method: str) -> None:
    if headers.get("x-lmscope") != "1":
        raise _Refused(
            403,
            "forbidden",
            "Writing needs the header `X-Lmscope: 1`, which no other site can send.",
        )
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if kind != "application/json" and (method != "DELETE" or has_body):
        raise _Refused(
            415,
            "wrong_type",
            f"'{kind[:100]}' is not taken. Send `Content-Type: application/json`.",
        )


def _check_json(body: bytes) -> None:
    """Stricter than Python's own reader: no NaN, no half of a character."""
    if not body:
        return
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _Refused(422, "wrong_input", f"The body is not JSON: {error}.") from None


def _unauthorised() -> _Refused:
    return _Refused(
        401,
        "unauthorised",
        "This server asks for a token. Send `Authorization: Bearer TOKEN`, or open the address with ?token=TOKEN once.",
        **{"WWW-Authenticate": "Bearer"},
    )


def _stopping() -> _Refused:
    return _Refused(503, "stopping", "The server was told to stop.")


def _too_large(limit: int) -> _Refused:
    # The connection ends, so that nobody goes on sending what is thrown away.
    message = f"A request may have {limit} bytes."
    return _Refused(413, "too_large", message, Connection="close")


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """The body that was read already, then whatever follows: that the client went away."""
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
