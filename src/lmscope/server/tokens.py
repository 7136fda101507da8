"""Tokens: who may read and who may write, shown in a header or in a cookie."""

import hashlib
import hmac
from collections.abc import Callable
from enum import IntEnum
from http.cookies import CookieError, SimpleCookie

from lmscope.server.settings import ServeSettings


class Access(IntEnum):
    """What a request may do."""

    NOTHING = 0
    READ = 1
    WRITE = 2


class Tokens:
    """Compares tokens in constant time; a cookie holds a value made from a token, never the token."""

    def __init__(self, settings: ServeSettings) -> None:
        """The tokens of a server."""
        # Cookies do not tell ports apart, so two servers of one machine need two names.
        self.cookie_name = f"lmscope-{settings.port}"
        self._open = Access.WRITE
        self._tokens: list[tuple[bytes, Access]] = []
        if settings.write_token is not None:
            self._open = Access.READ
            self._tokens.append((settings.write_token.encode(), Access.WRITE))
        if settings.token is not None:
            self._tokens.append((settings.token.encode(), self._open))
            self._open = Access.NOTHING

    def access(self, authorization: str | None, cookie: str | None) -> Access:
        """What the headers `Authorization` and `Cookie` allow."""
        scheme, _, shown = (authorization or "").partition(" ")
        granted = self.of_token(shown.strip()) if scheme.lower() == "bearer" else Access.NOTHING
        return max(self._open, granted, self._of_cookie(cookie))

    def of_token(self, shown: str) -> Access:
        """What a token allows."""
        return self._of(shown, bytes)

    def cookie(self, shown: str) -> str:
        """The `Set-Cookie` header that stands for a token."""
        value = _session(shown.encode())
        return f"{self.cookie_name}={value.decode()}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"

    def _of_cookie(self, header: str | None) -> Access:
        if not header or not self._tokens:
            return Access.NOTHING
        try:
            found = SimpleCookie(header).get(self.cookie_name)
        except CookieError:
            return Access.NOTHING
        return Access.NOTHING if found is None else self._of(found.value, _session)

    def _of(self, shown: str, form: Callable[[bytes], bytes]) -> Access:
        granted = Access.NOTHING
        for token, access in self._tokens:  # all of them, so that time tells nothing
            if hmac.compare_digest(_digest(shown.encode("utf-8", "replace")), _digest(form(token))):
                granted = max(granted, access)
        return granted


def _session(token: bytes) -> bytes:
    return hmac.new(token, b"lmscope session", hashlib.sha256).hexdigest().encode()


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()
