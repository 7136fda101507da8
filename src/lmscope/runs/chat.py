"""Chat: requests to a chat-completions server over HTTP, and what its refusals mean."""

import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from lmscope.core.errors import LmscopeError, did_you_mean
from lmscope.runs.endpoint_config import EndpointConfig

_TRY_AGAIN: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_LARGEST_ANSWER: Final = 16 * 2**20
_LONGEST_REMARK: Final = 240
_KEPT: Final = "the answers so far are kept"


class EndpointError(LmscopeError):
    """A server of a language model cannot be reached, refuses, or speaks another protocol."""


class AnswerError(EndpointError):
    """A model gave no answer that can be used to one question; others may still be asked."""


@dataclass(frozen=True)
class Reply:
    """What the model wrote.

    Attributes:
        content: Its words; empty where it refused.
        refusal: Why it refused, in its words; empty where it did not.
        end: Why it stopped, as the server says it: `stop`, `length`.
        prompt_tokens: As counted by the server; None where it does not say.
        answer_tokens: Likewise.
    """

    content: str
    refusal: str
    end: str
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


@dataclass(frozen=True)
class Failure:
    """A try that failed and may be made again.

    Attributes:
        reason: As a part of a sentence.
        is_lost: The request went out and nothing came back, so it may have been worked on.
        wait_s: What the server asks for; None where it does not say.
        limits_rate: The server answers others, or answered before: it is not away.
    """

    reason: str
    is_lost: bool = False
    wait_s: float | None = None
    limits_rate: bool = False


class Chat:
    """Sends requests to a server's chat completions.

    The standard library speaks HTTP here. A redirect is refused, as it would carry the key to
    another host; a server on this machine is never asked through a proxy.

    Args:
        config: The server and how long to wait for it.
        key: Sent as a bearer token; None: none is.
        wait: Called with seconds between tries.
    """

    def __init__(
        self, config: EndpointConfig, key: str | None, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self.config = config
        self._key = key
        self._wait = wait
        self._opener = _opener(config)

    def body(
        self, messages: Sequence[Mapping[str, str]], name: str, schema: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A request in the form that it is sent in.

        Args:
            messages: With `role` and `content`.
            name: Of the answer's form.
            schema: Of the answer.
        """
        config = self.config
        body = {
            "model": config.model,
            "messages": list(messages),
            config.answer_tokens_field: config.answer_tokens,
            **config.options,
        }
        if config.answer_format == "json_schema":
            described = {"name": name, "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": described}
        elif config.answer_format == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def once(self, body: Mapping[str, Any]) -> Reply | Failure:
        """Send a request once.

        Raises:
            EndpointError: The server refuses it for good, or does not speak this protocol.
        """
        found = self._exchange("/chat/completions", json.dumps(body).encode())
        if isinstance(found, Failure):
            return found
        status, waited, content = found
        values = _object(content)
        if status == 200 and "choices" not in values and "error" in values:
            status = _error_code(values["error"])  # some gateways say so in the body only
        if status == 200:
            return self._read(values, content)
        return self._refused(status, waited, content)

    def pause(self, failure: Failure, number: int, seed: str) -> None:
        """Wait before the next try.

        Args:
            failure: Of this try.
            number: Of this try, from 1.
            seed: Hex digits; they spread the waits of many questions.

        Raises:
            EndpointError: This was the last try, or the server asks for too long a wait.
        """
        retries, place = self.config.retries, f"'{self.config.base_url}'"
        if (failure.wait_s or 0) > retries.longest_wait_s:
            raise EndpointError(
                f"The endpoint {place} asks to wait {failure.wait_s:,.0f} s ({failure.reason}): start "
                f"again later, or raise retries.longest_wait_s; {_KEPT}."
            )
        if number >= retries.n_tries:
            tries = f"{number} {'try' if number == 1 else 'tries'}"
            if failure.limits_rate:
                raise EndpointError(
                    f"The endpoint {place} still turns requests away after {tries} "
                    f"({failure.reason}): start again later; {_KEPT}."
                )
            raise EndpointError(
                f"The endpoint {place} cannot be reached after {tries} ({failure.reason}): start the "
                f"server or correct base_url, and start again; {_KEPT}."
            )
        wait_s = failure.wait_s
        if wait_s is None:
            spread = 0.5 + int(seed[:8], 16) / 2**33  # 0.5 to 1
            wait_s = min(retries.first_wait_s * 2 ** (number - 1), retries.longest_wait_s) * spread
        self._wait(wait_s)

    def _exchange(
        self, path: str, content: bytes | None
    ) -> tuple[int, float | None, bytes] | Failure:
        """Status, what wait is asked for, and what came back."""
        headers = {"Content-Type": "application/json", "User-Agent": "lmscope"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        request = Request(self.config.base_url + path, data=content, headers=headers)
        timeout_s, limit = self.config.timeout_s, time.monotonic() + self.config.timeout_s
        try:
            try:
                response: Any = self._opener.open(request, timeout=timeout_s)
            except HTTPError as error:
                response = error
            with response:
                waited = _asked_wait(response.headers)
                return response.status, waited, _read_within(response, limit)
        except URLError as error:
            return self._unsent(error.reason)
        except TimeoutError:
            return Failure(f"no answer within {timeout_s:g} s", is_lost=True)
        except (OSError, HTTPException) as error:
            return Failure(self._clean(str(error) or type(error).__name__), is_lost=True)

    def _unsent(self, reason: str | BaseException) -> Failure:
        """A failure before the request went out."""
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise EndpointError(
                f"The endpoint '{self.config.base_url}' shows a certificate that is not trusted here: "
                f"{self._clean(reason.verify_message)}. Correct base_url, or install the certificate."
            )
        if isinstance(reason, socket.gaierror):
            return Failure(f"its name is not known: {self._clean(str(reason.strerror))}")
        said = getattr(reason, "strerror", None) or str(reason)
        return Failure(self._clean(said))

    def _read(self, values: Mapping[str, Any], content: bytes) -> Reply:
        try:
            choice = values["choices"][0]
            message = choice["message"]
            usage = values.get("usage") or {}
            return Reply(
                content=_words(message.get("content")),
                refusal=_words(message.get("refusal")),
                end=str(choice.get("finish_reason") or "stop"),
                prompt_tokens=_count(usage.get("prompt_tokens")),
                answer_tokens=_count(usage.get("completion_tokens")),
            )
        except (LookupError, TypeError, AttributeError):
            raise EndpointError(
                f"The endpoint '{self.config.base_url}' gives no chat completion but "
                f'"{self._remark(content)}": base_url must be the address without '
                "/chat/completions, which often ends in /v1."
            ) from None

    def _refused(self, status: int, waited: float | None, content: bytes) -> Failure:
        """A failure to be tried again.

        Raises:
            EndpointError: It would fail again.
        """
        remark, place = self._remark(content), f"'{self.config.base_url}'"
        said = f'status {status}: "{remark}"' if remark else f"status {status}"
        if status in (401, 403):
            key = self.config.key_env
            what = (
                f"the key in '{key}'"
                if key
                else "requests without a key: name its variable in key_env"
            )
            raise EndpointError(f"The endpoint {place} does not accept {what} ({said}).")
        if status == 402 or "insufficient_quota" in content.decode(errors="replace"):
            raise EndpointError(
                f"The account at {place} has no credit left ({said}): fill it up and start again; {_KEPT}."
            )
        if status in _TRY_AGAIN:
            return Failure(said, wait_s=waited, limits_rate=True)
        if status == 404:
            raise EndpointError(
                f"The endpoint {place} does not know the model '{self.config.model}', or base_url is "
                f"wrong ({said}).{did_you_mean(self.config.model, self._models())}"
            )
        if 300 <= status < 400:
            raise EndpointError(
                f"The endpoint {place} points to another address ({said}): put that one into base_url."
            )
        raise EndpointError(
            f"The endpoint {place} refuses the request ({said}). If it knows no JSON schemas, set "
            "answer_format to json_object or text; what it takes otherwise goes into options."
        )

    def _models(self) -> list[str]:
        """Models that the server names; none where it does not."""
        found = self._exchange("/models", None)
        if isinstance(found, Failure):
            return []
        models = _object(found[2]).get("data")
        if not isinstance(models, list):
            return []
        return [self._clean(str(model["id"])) for model in models if _has_id(model)]

    def _remark(self, content: bytes) -> str:
        """What the server says in an error, as one short line."""
        error = _object(content).get("error", content.decode(errors="replace"))
        if isinstance(error, Mapping):
            error = error.get("message", error)
        return self._clean(str(error))

    def _clean(self, text: str) -> str:
        """The text without the key, control characters and line breaks, cut to a line."""
        if self._key is not None:
            text = text.replace(self._key, "(key)")
        words = "".join(c if c.isprintable() else " " for c in text).split()
        line = " ".join(words)
        return line if len(line) <= _LONGEST_REMARK else line[: _LONGEST_REMARK - 3] + "..."


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _opener(config: EndpointConfig) -> OpenerDirector:
    return build_opener(_NoRedirect(), *([ProxyHandler({})] if config.is_loopback else []))


def _read_within(response: Any, limit: float) -> bytes:
    """The whole content; a server that sends it drop by drop runs into the same time limit."""
    parts, size = [], 0
    while part := response.read1(65536):
        parts.append(part)
        size += len(part)
        if size > _LARGEST_ANSWER:
            raise HTTPException(f"more than {_LARGEST_ANSWER >> 20} MiB came back")
        if time.monotonic() > limit:
            raise TimeoutError
    return b"".join(parts)


def _asked_wait(headers: Message) -> float | None:
    """Seconds that the server asks to wait: a number or a date; None where it says nothing."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        said = (headers.get(name) or "").strip()
        try:
            wait_s = float(said) * unit_s
        except ValueError:
            continue
        if 0 <= wait_s < float("inf"):
            return wait_s
    try:
        moment = parsedate_to_datetime(headers.get("retry-after") or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def _object(content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _error_code(error: Any) -> int:
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 502


def _words(content: Any) -> str:
    """A message's content: a text, parts with texts, or nothing."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    return content if isinstance(content, str) else ""


def _count(value: Any) -> int | None:
    """A count of tokens; servers that do not count say nothing, or 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _has_id(model: Any) -> bool:
    return isinstance(model, Mapping) and "id" in model
