"""The server's side of the pipes, against a small process that stands in for the one with the model."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from lmscope.core.errors import DataError
from lmscope.server.failures import Busy, TimedOut, WorkerGone
from lmscope.server.live.child import ModelProcess, ProcessEnded
from lmscope.server.live.client import LiveDefect, LiveModel
from lmscope.server.settings import ServeSettings

T = TypeVar("T")
STAND_IN = """
import json, os, signal, sys, threading
def say(**values):
    print(json.dumps(values), flush=True)
say(state="ready", model="m", dictionaries=["d"])
for line in sys.stdin:
    asked = json.loads(line)
    number, payload = asked["request"], asked["payload"]
    kind = payload.get("do")
    say(state="busy", model="m", dictionaries=["d"])
    if kind == "die" and not os.path.exists(payload["once"]):
        open(payload["once"], "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "die_always":
        os._exit(3)
    if kind == "hang":
        threading.Event().wait()
    say(state="ready", model="m", dictionaries=["d"])
    if kind == "refuse":
        say(refused=number, error="DataError", message="No text. Give some.")
    elif kind == "defect":
        say(defect=number, message="KeyError: 'x'")
    else:
        say(answer=number - 1, value="of a request that nobody waits for")
        say(answer=number, value={"pid": os.getpid(), **payload})
"""
COMMAND = (sys.executable, "-c", STAND_IN)


@asynccontextmanager
async def served(timeout_s: float = 60.0, max_waiting: int = 16):
    live = LiveModel(ServeSettings(live_timeout_s=timeout_s), COMMAND, max_waiting=max_waiting)
    try:
        yield live
    finally:
        await live.close()


def run(ask: Callable[[LiveModel], Awaitable[T]], **options) -> T:
    async def go():
        async with served(**options) as live:
            return await ask(live)

    return asyncio.run(go())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_nothing_runs_before_it_is_asked_and_nothing_after_it_is_closed():
    async def ask(live):
        assert live.state().state == "off"
        assert live.state().memory_bytes is None
        found = await live.ask("probe", {"x": 1})
        state = live.state()
        assert (state.state, state.model, state.dictionaries) == ("ready", "m", ["d"])
        assert state.waiting == 0
        assert state.n_restarts == 0
        if sys.platform == "linux":
            assert state.memory_bytes > 2**20
        return found

    found = run(ask)
    assert found["x"] == 1
    assert not is_alive(found["pid"])


def test_one_process_answers_all_requests_each_with_its_own():
    async def ask(live):
        return await asyncio.gather(*(live.ask("probe", {"x": i}) for i in range(10)))

    found = run(ask)
    assert [one["x"] for one in found] == list(range(10))
    assert len({one["pid"] for one in found}) == 1


def test_a_process_that_is_killed_while_it_is_asked_is_started_again_and_answers(tmp_path):
    async def ask(live):
        found = await live.ask("probe", {"do": "die", "once": str(tmp_path / "died")})
        assert live.state().n_restarts == 1
        return found

    assert is_alive(os.getpid())
    assert run(ask)["once"] == str(tmp_path / "died")


def test_a_process_that_is_killed_between_requests_is_started_again():
    async def ask(live):
        first = await live.ask("probe", {})
        os.kill(first["pid"], signal.SIGKILL)
        second = await live.ask("probe", {})
        assert live.state().n_restarts == 1
        assert first["pid"] != second["pid"]

    run(ask)


def test_a_process_that_ends_twice_is_refused_with_a_sentence_and_the_next_question_starts_it_anew():
    async def ask(live):
        with pytest.raises(WorkerGone, match=r"ended twice before it answered \(exit code 3\)"):
            await live.ask("probe", {"do": "die_always"})
        state = live.state()
        assert state.state == "failed"
        assert "ended twice" in state.message
        await live.ask("probe", {})
        assert live.state().state == "ready"

    run(ask)


def test_what_the_process_refuses_is_the_same_error_here():
    async def ask(live):
        with pytest.raises(DataError, match=r"^No text. Give some.$"):
            await live.ask("probe", {"do": "refuse"})
        with pytest.raises(LiveDefect, match="KeyError"):
            await live.ask("probe", {"do": "defect"})
        return await live.ask("probe", {"still": "there"})

    assert run(ask)["still"] == "there"


def test_an_answer_that_takes_too_long_is_given_up_and_its_process_ended():
    async def ask(live):
        before = (await live.ask("probe", {}))["pid"]
        with pytest.raises(TimedOut, match="longer than 2 s and was stopped"):
            await live.ask("probe", {"do": "hang"})
        assert not is_alive(before)
        assert (await live.ask("probe", {}))["pid"] != before

    run(ask, timeout_s=2.0)


def test_more_than_may_wait_are_refused_and_the_others_are_answered():
    async def ask(live):
        await live.ask("probe", {})
        found = await asyncio.gather(
            *(live.ask("probe", {"x": i}) for i in range(20)), return_exceptions=True
        )
        refused = [one for one in found if isinstance(one, Busy)]
        assert len(refused) + len([one for one in found if isinstance(one, dict)]) == 20
        assert len(refused) >= 20 - 5
        assert live.state().waiting == 0

    run(ask, max_waiting=3)


def test_closing_ends_a_process_that_hangs_and_refuses_who_waits():
    async def ask(live):
        pid = (await live.ask("probe", {}))["pid"]
        hanging = asyncio.ensure_future(live.ask("probe", {"do": "hang"}))
        waiting = asyncio.ensure_future(live.ask("probe", {}))
        while live.state().state != "busy":
            assert not hanging.done()
            await asyncio.sleep(0.01)
        await live.close()
        assert not is_alive(pid)
        found = await asyncio.gather(hanging, waiting, return_exceptions=True)
        assert isinstance(found[0], WorkerGone)
        assert isinstance(found[1], asyncio.CancelledError)
        with pytest.raises(WorkerGone, match="stopping"):
            await live.ask("probe", {})

    run(ask)


def test_how_a_process_ended_is_told():
    heard = threading.Event()
    process = ModelProcess(lambda _report: heard.set(), COMMAND)
    assert heard.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ProcessEnded, match="signal 9"):
        process.ask("probe", {}, 30.0)
    process.stop()
    assert not process.is_running
