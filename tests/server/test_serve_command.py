"""`lmscope serve` as a process of its own: it says where it is, answers many, and stops cleanly."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from lmscope.cli.main import main
from lmscope.core.shipped import RUNS

TOKEN = "t" * 20
WAIT_S = 60


class Served:
    def __init__(self, process, said):
        self.process, self.url, self.port = process, said["url"], said["port"]

    def get(self, path, **headers):
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def stop(self, sign=signal.SIGTERM):
        self.process.send_signal(sign)
        return self.process.wait(WAIT_S)


@contextmanager
def serving(*words, environment=None):
    command = [sys.executable, "-m", "lmscope", "serve", *map(str, words), "--json"]
    given = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    with subprocess.Popen(
        command, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield Served(process, json.loads(line))
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(scope="module")
def server(small_library):
    with serving(small_library.root, "--port", "0") as found:
        yield found


def test_it_says_where_it_answers_and_answers_there(server):
    assert server.url == f"http://127.0.0.1:{server.port}/"
    assert server.get("/healthz") == (200, b'{"status":"ok"}')
    status, page = server.get("/", Accept="text/html")
    assert status == 200
    assert b'<div id="root">' in page
    assert json.loads(server.get("/api/home")[1])["dictionaries"]


def test_no_file_outside_is_reached_over_the_wire(server):
    for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/assets/..\\x"):
        status, body = server.get(path)
        assert status == 400
        assert b"root:" not in body
    assert server.get("/", Host="evil.example")[0] == 421


def test_a_hundred_clients_at_once_are_all_answered(server, small_library):
    pages = ("/api/home", f"/api/dictionaries/{small_library.narrow}/features/3", "/api/live")
    barrier = threading.Barrier(100, timeout=WAIT_S)

    def client(i):
        connection = HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
        barrier.wait()
        found = []
        for j in range(5):
            connection.request("GET", pages[(i + j) % len(pages)])
            answer = connection.getresponse()
            answer.read()
            found.append(answer.status)
        connection.close()
        return found

    with ThreadPoolExecutor(100) as pool:
        statuses = [status for found in pool.map(client, range(100)) for status in found]
    assert statuses == [200] * 500


def test_many_requests_on_one_connection_leave_no_file_open(server, small_library):
    def n_open():
        return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("This system does not tell which files a process holds.")
    page = f"/api/dictionaries/{small_library.narrow}/features/5"
    connection = HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    counts = []
    for _ in range(2):
        for _ in range(100):
            connection.request("GET", page)
            assert connection.getresponse().read()
        counts.append(n_open())
    connection.close()
    assert counts[1] <= counts[0]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(small_library, sign):
    with serving(small_library.root, "--port", "0") as server:
        assert server.get("/api/home")[0] == 200
        assert server.stop(sign) == 0
        assert server.process.stderr.read() == ""
        with pytest.raises(ConnectionRefusedError):
            server.get("/healthz")


def test_a_taken_port_gives_way_only_where_none_was_asked_for(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", str(tmp_path), "--port", str(port)]) == 1
    assert f"Port {port} is taken" in capsys.readouterr().err


def test_a_public_address_without_a_token_starts_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("LMSCOPE_TOKEN", raising=False)
    assert main(["serve", str(tmp_path), "--host", "0.0.0.0"]) == 1
    said = capsys.readouterr().err
    assert "token" in said
    assert len(said.strip().splitlines()) == 1


def test_a_token_in_the_environment_is_asked_for(tmp_path):
    with serving(tmp_path, "--port", "0", environment={"LMSCOPE_TOKEN": TOKEN}) as server:
        assert server.get("/api/home")[0] == 401
        assert server.get("/api/home", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_a_short_token_is_refused_and_not_shown(tmp_path, capsys):
    assert main(["serve", str(tmp_path), "--token", "secret"]) == 2
    said = capsys.readouterr().err
    assert "--token must have 16" in said
    assert "secret" not in said.replace("secrets", "")


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert main(["serve", str(tmp_path / "none")]) == 1
    assert "There is nothing at" in capsys.readouterr().err


def test_a_missing_web_framework_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "lmscope.server.listening", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", str(tmp_path)]) == 1
    assert "pip install 'lmscope[server]'" in capsys.readouterr().err


def test_people_are_told_the_address_the_folder_and_how_to_stop(tmp_path, monkeypatch, capsys):
    from lmscope.cli import serve as command
    from lmscope.server.settings import ServeSettings

    opened = []
    monkeypatch.setattr(command.webbrowser, "open", lambda url: bool(opened.append(url)))
    settings = ServeSettings(folders=(tmp_path / "runs",), port=8712, token=TOKEN)
    command._announce(settings, usual=8710, opens=True, as_json=False)
    said = capsys.readouterr().err
    for part in ("Port 8710 is taken", "does not exist yet", "http://127.0.0.1:8712/", "Ctrl-C"):
        assert part in said
    assert TOKEN not in said
    assert "No browser was found" in said
    assert opened == ["http://127.0.0.1:8712/"]


def test_what_comes_with_lmscope_is_served_where_nothing_is_named(monkeypatch, capsys):
    from lmscope.cli import serve as command

    asked = []
    monkeypatch.setattr(command, "_server", lambda: lambda settings, **_: asked.append(settings))
    assert main(["serve"]) == 0
    folders = asked[0].folders
    assert folders[0].name == "runs"
    assert [folder.name for folder in folders[1:]] == [*RUNS]
    assert (folders[1] / "run.json").is_file()
    command._announce(asked[0], usual=8710, opens=False, as_json=False)
    assert (
        "Serving runs, garden (comes with lmscope), othello-mini (comes with lmscope), "
        in capsys.readouterr().err
    )
