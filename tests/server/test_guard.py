"""The guard before an application that says what reached it."""

import asyncio
import json
import logging
from dataclasses import dataclass, field

import pytest

from lmscope.server.guard import HEADERS, Guard, Stop
from lmscope.server.settings import ServeSettings

READ, WRITE = "r" * 20, "w" * 20
JSON = {"content-type": "application/json", "x-lmscope": "1"}


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_over: bool = False

    @property
    def error(self) -> dict:
        return json.loads(self.body)["error"]


@dataclass
class Inside:
    """The application behind the guard."""

    requests: list[tuple[str, bytes]] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope, receive, send):
        body = (await receive())["body"]
        self.requests.append((scope["path"], body))
        if scope["path"] == "/defect":
            raise RuntimeError("the secret of the house")
        start = {"type": "http.response.start", "status": 200, "headers": [(b"x-inside", b"1")]}
        if scope["path"].startswith("/late"):
            await self.released.wait()
        await send(start)
        if scope["path"] == "/half":
            raise RuntimeError("broke in the middle")
        if scope["path"].endswith("/stream"):
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            self.released.set()
            await asyncio.Event().wait()
        await send({"type": "http.response.body", "body": b"inside"})


def scope_of(raw, method="GET", headers=None, query=b""):
    given = {"host": "127.0.0.1:8710"} | (headers or {})
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": raw.decode("latin-1"),
        "raw_path": raw,
        "query_string": query,
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items() if v is not None],
    }


async def respond(guard, scope, chunks=(b"",)):
    answer = Answer()
    waiting = list(chunks)

    async def receive():
        if not waiting:
            await asyncio.Event().wait()
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message):
        assert not answer.is_over, "nothing follows the end of an answer"
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            answer.body += message.get("body", b"")
            answer.is_over = not message.get("more_body")

    await guard(scope, receive, send)
    return answer


def ask(raw=b"/x", method="GET", headers=None, query=b"", chunks=(b"",), **settings):
    async def run():
        guard = Guard(Inside(), ServeSettings(**settings), Stop())
        return await respond(guard, scope_of(raw, method, headers, query), chunks)

    return asyncio.run(run())


def write(body=b"{}", headers=None, method="PUT", **settings):
    given = JSON | {"content-length": str(len(body))} | (headers or {})
    return ask(method=method, headers=given, chunks=(body,), **settings)


def test_a_plain_request_passes_and_its_answer_carries_every_safe_header():
    answer = ask()
    assert (answer.status, answer.body) == (200, b"inside")
    assert answer.headers["x-inside"] == "1"
    assert {
        name.lower(): value for name, value in HEADERS.items()
    }.items() <= answer.headers.items()
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"headers": {"host": "evil.example"}}, 421),
        ({"headers": {"origin": "http://evil.example"}}, 403),
        ({"raw": b"/../x"}, 400),
        ({"token": READ}, 401),
    ],
)
def test_refusals_carry_the_safe_headers_and_never_allow_another_origin(request_, status):
    answer = ask(**request_)
    assert answer.status == status
    assert {name.lower() for name in HEADERS} <= answer.headers.keys()
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8710", "localhost", "127.0.0.1:8711", "", None]
)
def test_a_foreign_host_is_misdirected(host):
    answer = ask(headers={"host": host})
    assert (answer.status, answer.error["code"]) == (421, "wrong_host")


def test_two_host_headers_are_misdirected():
    scope = scope_of(b"/x")
    scope["headers"].append((b"host", b"127.0.0.1:8710"))
    guard = Guard(Inside(), ServeSettings(), Stop())
    assert asyncio.run(respond(guard, scope)).status == 421


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1:9999",
        "https://localhost",
        "http://[",
        "file://",
    ],
)
def test_a_foreign_origin_is_refused_whatever_it_asks(method, origin):
    answer = ask(method=method, headers=JSON | {"origin": origin})
    assert (answer.status, answer.error["code"]) == (403, "forbidden")


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8710", "http://localhost:8710"])
def test_its_own_pages_may_write(origin):
    assert write(headers={"origin": origin, "sec-fetch-site": "same-origin"}).status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_pages_of_other_sites_may_not_load_anything(site):
    assert ask(headers={"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}).status == 403
    frame = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    assert ask(headers={"sec-fetch-site": site} | frame).status == 403


def test_a_link_from_another_site_opens_a_page_but_posts_nothing():
    link = {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    assert ask(headers=link).status == 200
    assert write(headers=link, method="POST").status == 403


@pytest.mark.parametrize(
    "raw",
    [
        b"/../etc/passwd",
        b"/assets/../../x",
        b"/assets/..",
        b"/./x",
        b"/%2e%2e/x",
        b"/%2E%2e/x",
        b"/a%2fb",
        b"/a%5cb",
        b"/a\\b",
        b"/a%00b",
        b"/a%0d%0ab",
        b"/a%7Fb",
        b"/a\x00b",
        b"//evil.example",
        b"/a//b",
        b"/a b",
        b"http://evil.example/x",
        b"C:/x",
        b"",
    ],
)
def test_addresses_with_tricks_reach_nothing(raw):
    answer = ask(raw)
    assert (answer.status, answer.error["code"]) == (400, "wrong_input")


def test_dots_within_names_are_no_trick():
    assert ask(b"/dictionaries/a..b.12.ff/features/1").status == 200


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/json",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_only_json_is_written(method, kind):
    answer = write(headers={"content-type": kind}, method=method)
    assert (answer.status, answer.error["code"]) == (415, "wrong_type")


@pytest.mark.parametrize("value", [None, "", "0", "true"])
def test_writes_need_the_header_that_other_sites_cannot_send(value):
    answer = write(headers={"x-lmscope": value})
    assert (answer.status, answer.error["code"]) == (403, "forbidden")


def test_a_json_write_arrives_whole():
    async def run():
        inside = Inside()
        guard = Guard(inside, ServeSettings(), Stop())
        headers = JSON | {
            "transfer-encoding": "chunked",
            "content-type": "application/json; charset=utf-8",
        }
        chunks = (b'{"a"', b": 1", b"}")
        answer = await respond(guard, scope_of(b"/x", "PUT", headers), chunks)
        return answer.status, inside.requests

    assert asyncio.run(run()) == (200, [("/x", b'{"a": 1}')])


def test_a_delete_needs_no_body():
    assert ask(method="DELETE", headers={"x-lmscope": "1"}).status == 200


@pytest.mark.parametrize(
    "body",
    [b"{", b"NaN", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": "\\ud800"}', b"\xff", b"[" * 5000],
)
def test_what_is_not_quite_json_is_refused(body):
    answer = write(body)
    assert (answer.status, answer.error["code"]) == (422, "wrong_input")
    assert "not JSON" in answer.error["message"]


def test_a_body_may_be_exactly_as_large_as_the_limit():
    body = b'"' + b"a" * 98 + b'"'
    assert write(body, max_body_bytes=100).status == 200
    assert write(body, max_body_bytes=99).status == 413


def test_an_oversize_body_is_refused_by_its_length_before_it_is_read():
    answer = ask(method="PUT", headers=JSON | {"content-length": str(2**20 + 1)}, chunks=())
    assert (answer.status, answer.error["code"]) == (413, "too_large")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_an_oversize_body_is_refused_when_it_comes_in_chunks(method):
    headers = JSON | {"transfer-encoding": "chunked"}
    answer = ask(method=method, headers=headers, chunks=[b" " * 1000] * 200, max_body_bytes=100_000)
    assert answer.status == 413


def test_a_body_that_never_comes_is_given_up():
    answer = ask(method="PUT", headers=JSON | {"content-length": "5"}, chunks=(), timeout_s=0.01)
    assert (answer.status, answer.error["code"]) == (408, "timeout")


def test_read_only_refuses_writes_but_not_questions_to_the_model():
    answer = write(read_only=True)
    assert (answer.status, answer.error["code"]) == (403, "read_only")
    assert ask(b"/api/live/probe", "POST", JSON, read_only=True).status == 200


def test_without_the_token_nothing_is_shown():
    answer = ask(token=READ)
    assert (answer.status, answer.error["code"]) == (401, "unauthorised")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert ask(token=READ, headers={"authorization": f"Bearer {WRITE}"}).status == 401
    assert ask(token=READ, headers={"authorization": f"Bearer {READ}"}).status == 200
    page = ask(token=READ, headers={"accept": "text/html"})
    assert (page.status, page.headers["content-type"]) == (401, "text/plain; charset=utf-8")


def test_whether_the_server_is_well_needs_no_token_but_a_right_host():
    assert ask(b"/healthz", token=READ).status == 200
    assert ask(b"/healthz", headers={"host": "evil.example"}).status == 421


def test_the_write_token_is_apart():
    both = {"token": READ, "write_token": WRITE}
    reader, writer = ({"authorization": f"Bearer {token}"} for token in (READ, WRITE))
    assert ask(headers=reader, **both).status == 200
    assert (
        write(headers=reader, **both).error["message"].startswith("Writing needs the write token")
    )
    assert write(headers=writer, **both).status == 200
    assert ask(b"/api/live/probe", "POST", JSON | reader, **both).status == 200
    assert write(write_token=WRITE).status == 403


def test_a_token_in_the_address_becomes_a_cookie_and_leaves_the_address():
    query = f"a=1&token={READ}&b=%26".encode()
    answer = ask(b"/search", query=query, token=READ)
    assert (answer.status, answer.headers["location"]) == (303, "/search?a=1&b=%26")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert READ not in cookie
    shown = {"cookie": cookie.partition(";")[0]}
    assert ask(headers=shown, token=READ).status == 200
    assert ask(headers=shown, token="s" * 20).status == 401


def test_a_link_on_another_site_with_the_token_opens_a_page_that_goes_on_with_the_cookie():
    link = {
        "sec-fetch-site": "cross-site",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
    }
    raw, query = b'/x"><script>', f'token={READ}&a="><script>'.encode()
    answer = ask(raw, headers=link, query=query, token=READ)
    assert answer.status == 200
    assert "set-cookie" in answer.headers
    assert b'url=/x%22%3E%3Cscript%3E?a=%22%3E%3Cscript%3E"' in answer.body
    assert READ.encode() not in answer.body
    assert b"<script" not in answer.body


@pytest.mark.parametrize("token", ["", WRITE, "x"])
def test_a_wrong_token_in_the_address_makes_no_cookie(token):
    answer = ask(query=f"token={token}".encode(), token=READ)
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


def test_a_token_in_the_address_of_a_write_does_not_count():
    answer = ask(method="PUT", headers=JSON, query=f"token={READ}".encode(), token=READ)
    assert answer.status == 401


def test_a_defect_is_logged_and_tells_the_client_nothing(caplog):
    with caplog.at_level(logging.ERROR, logger="lmscope.server"):
        answer = ask(b"/defect")
    assert (answer.status, answer.error["code"]) == (500, "internal")
    assert b"secret" not in answer.body
    assert {name.lower() for name in HEADERS} <= answer.headers.keys()
    assert "the secret of the house" in caplog.text


def test_a_defect_in_the_middle_of_an_answer_ends_it(caplog):
    with caplog.at_level(logging.CRITICAL, logger="lmscope.server"):
        answer = ask(b"/half")
    assert answer.is_over


def test_a_page_that_takes_too_long_is_given_up():
    answer = ask(b"/late", timeout_s=0.01)
    assert (answer.status, answer.error["code"]) == (503, "timeout")
    assert answer.headers["retry-after"] == "5"


def test_streams_have_no_time_limit_and_end_when_the_server_is_told_to_stop():
    async def run():
        inside, stop = Inside(), Stop()
        guard = Guard(inside, ServeSettings(timeout_s=0.01), stop)
        asked = asyncio.ensure_future(respond(guard, scope_of(b"/api/runs/a/stream")))
        await inside.released.wait()
        done, _ = await asyncio.wait({asked}, timeout=0.05)
        assert not done
        stop.say()
        return await asyncio.wait_for(asked, 5)

    answer = asyncio.run(run())
    assert (answer.status, answer.is_over, answer.body) == (200, True, b"data: 1\n\n")


def test_a_stream_that_is_asked_for_after_the_stop_is_refused():
    async def run():
        stop = Stop()
        stop.say()
        guard = Guard(Inside(), ServeSettings(), stop)
        return await asyncio.wait_for(respond(guard, scope_of(b"/api/runs/a/stream")), 5)

    answer = asyncio.run(run())
    assert (answer.status, answer.error["code"]) == (503, "stopping")


def test_websockets_are_closed():
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    guard = Guard(Inside(), ServeSettings(), Stop())
    asyncio.run(guard({"type": "websocket", "headers": []}, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]
