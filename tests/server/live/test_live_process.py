"""The real process with the miniature model: it survives nothing and forgets nothing."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from lmscope.server.context import Context
from lmscope.server.library.library import Library
from lmscope.server.live.child import COMMAND
from lmscope.server.live.client import LiveModel
from lmscope.server.live.protocol import line, read_line
from lmscope.server.schemas.live import ProbeRequest
from lmscope.server.settings import ServeSettings
from lmscope.server.views.live import probe
from lmscope.server.work.queue import JobQueue

N_REQUESTS = 100


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_killed_process_answers_again_and_a_hundred_requests_take_no_memory(small_library):
    async def go():
        live = LiveModel(ServeSettings())
        with closing(Library([small_library.root])) as library:
            context = Context(ServeSettings(), library, live, JobQueue(ServeSettings()))

            async def ask():
                request = ProbeRequest(text="the sea", dictionaries=[small_library.narrow])
                (found,) = (await probe(context, request)).probed
                return found.model_dump(exclude={"elapsed_s"})

            try:
                first = await ask()
                asked = asyncio.ensure_future(ask())
                await asyncio.sleep(0)
                os.kill(live._process.pid, signal.SIGKILL)
                assert await asked == first
                assert live.state().n_restarts == 1
                await asyncio.gather(*(ask() for _ in range(10)))
                before = live.state().memory_bytes
                for _ in range(N_REQUESTS):
                    assert await ask() == first
                assert live.state().memory_bytes - before < 8 * 2**20
                assert live.state().model == str(small_library.model)
            finally:
                await live.close()

    asyncio.run(go())


def test_the_process_ends_at_once_when_nobody_is_left_to_ask():
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert read_line(process.stdout.readline())["state"] == "ready"
        process.stdin.write(line({"request": 1, "kind": "nothing of this kind", "payload": {}}))
        process.stdin.flush()
        told = [read_line(process.stdout.readline()) for _ in range(3)]
        assert told[-1] == {"defect": 1, "message": "KeyError: 'nothing of this kind'"}
        process.send_signal(signal.SIGINT)  # Ctrl-C is for the server
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(30) == 0
