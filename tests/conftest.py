"""What every test shares: one thread, and generated examples without a clock."""

import json
import os
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

# Triton reads this once, when it is first imported, and torch imports it on its way.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile(
    "lmscope", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("lmscope")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Sums have one order: results are comparable bit for bit, and parallel tests share cores."""
    torch.set_num_threads(1)


@pytest.fixture
def deterministic():
    """Within the test, torch refuses operations whose result may differ between calls."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


class ChatServer:
    """A language model's server on this machine that says what a test wants.

    Attributes:
        requests: Path, headers and body of each request.
        next: What is sent back next: a text as a chat completion, or (status, headers, body).
        answer: What is sent back when `next` is empty, from the body of the request.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.next: deque[Any] = deque()
        self.answer: Callable[[Any], Any] = lambda body: (500, {}, b"the test said nothing")
        self.usage: dict[str, int] | None = {"prompt_tokens": 100, "completion_tokens": 10}
        self.released = threading.Event()
        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.httpd.server_port}/v1"

    def completion(
        self, content: Any, end: str = "stop", **message: Any
    ) -> tuple[int, dict, bytes]:
        """A chat completion."""
        choice = {"message": {"content": content, **message}, "finish_reason": end}
        body = {"choices": [choice]} | ({"usage": self.usage} if self.usage else {})
        return 200, {}, json.dumps(body).encode()

    def respond(self, path: str, headers: dict[str, str], body: Any) -> tuple[int, dict, bytes]:
        self.requests.append((path, headers, body))
        said = self.next.popleft() if self.next else self.answer(body)
        if callable(said):
            said = said()
        return self.completion(said) if isinstance(said, str) else said


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(content) if content else None
            status, headers, answer = server.respond(self.path, dict(self.headers), body)
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            except OSError:
                pass  # the test's client gave up

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def chat_server():
    """A server of chat completions; see `ChatServer`."""
    server = ChatServer()
    thread = threading.Thread(target=server.httpd.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.released.set()
    server.httpd.shutdown()
    server.httpd.server_close()
    thread.join()
