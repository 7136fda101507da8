"""The process with the model, in this process: the same code, the same lines, no pipes."""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest
from starlette.testclient import TestClient

from lmscope.server.app import create_app
from lmscope.server.live.process import Worker
from lmscope.server.live.protocol import line, read_line, refusal_of
from lmscope.server.schemas.live import WorkerState
from lmscope.server.settings import ServeSettings


class Within:
    """Answers as the process does."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.worker = Worker(lambda text: self.said.append(read_line(text)))

    def answer(self, kind: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        request = {"request": 1, "kind": kind, "payload": payload}
        self.worker.do(read_line(line(request)))
        found = self.said[-1]
        if "refused" in found:
            raise refusal_of(found)
        assert "answer" in found, found
        return found["value"]

    async def ask(self, kind: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        return self.answer(kind, payload)

    def state(self) -> WorkerState:
        return WorkerState(state="ready", model=None, dictionaries=[], waiting=0, memory_bytes=None)

    async def close(self) -> None:
        """Nothing to end."""


@pytest.fixture(scope="session")
def within() -> Within:
    return Within()


@pytest.fixture
def served(within):
    """`served(root)`: a client of a server of a folder, whose model answers in this process."""
    clients = []

    def served(root, **settings) -> TestClient:
        app = create_app(ServeSettings(folders=(root,), **settings))
        app.state.context.live = within
        client = TestClient(app, base_url="http://127.0.0.1:8710", headers={"X-Lmscope": "1"})
        clients.append(client)
        return client

    yield served
    for client in clients:
        with closing(client):
            client.app.state.context.library.close()
