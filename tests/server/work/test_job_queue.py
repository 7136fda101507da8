"""Jobs one after the other, against a small process that stands in for the one of a job."""

import asyncio
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from lmscope.server.failures import Busy, NotFound, ReadOnly, WorkerGone
from lmscope.server.settings import ServeSettings
from lmscope.server.work.order import Order
from lmscope.server.work.queue import ENDED, MAX_WAITING, JobQueue

STAND_IN = """
import json, os, signal, sys, threading
def say(**values):
    os.write(1, (json.dumps(values) + "\\n").encode())
order = json.loads(sys.stdin.readline())
does, root = order["values"]["does"], order["root"]
say(run=root + "/run-" + does)
say(phase="train", done=1, total=4, rate=2.0, left_s=1.5)
if does in ("wait", "stubborn"):
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: does == "wait" and stopped.set())
    open(os.path.join(root, "ready"), "w").close()
    stopped.wait()
    say(end="cancelled")
elif does == "fail":
    say(end="failed", message="The text cannot be read.")
elif does == "vanish":
    os.kill(os.getpid(), signal.SIGKILL)
elif does == "watch":
    sys.stdin.read()
else:
    say(end="done")
"""
COMMAND = (sys.executable, "-c", STAND_IN)


@contextmanager
def queue(command=COMMAND, **settings):
    found = JobQueue(ServeSettings(**settings), command)
    try:
        yield found
    finally:
        asyncio.run(found.close())


def order(root: Path, does: str = "work") -> Order:
    return Order("train", f"Train {does}", "lmscope train", root, {"does": does})


async def until(found: JobQueue, job_id: str, *states: str):
    async with asyncio.timeout(60):
        while (job := found.job(job_id)).state not in states:
            await asyncio.sleep(0.01)
    return job


def ended(found: JobQueue, job_id: str):
    return asyncio.run(until(found, job_id, *ENDED))


def ready(root: Path) -> None:
    async def wait():
        async with asyncio.timeout(60):
            while not (root / "ready").exists():
                await asyncio.sleep(0.01)

    asyncio.run(wait())


def test_a_job_tells_its_run_and_how_far_it_is_and_ends(tmp_path):
    with queue() as found:
        started = found.start(order(tmp_path))
        assert started.state in ("waiting", "running")
        job = ended(found, started.id)
        assert job.state == "done"
        assert job.folder == tmp_path / "run-work"
        assert vars(job.progress) == {
            "phase": "train",
            "done": 1,
            "total": 4,
            "rate": 2.0,
            "left_s": 1.5,
        }
        assert found.jobs() == [job]


def test_jobs_run_one_after_the_other_in_the_order_they_came(tmp_path):
    with queue() as found:
        first = found.start(order(tmp_path, "wait"))
        second = found.start(order(tmp_path))
        ready(tmp_path)
        assert found.job(second.id).state == "waiting"
        assert not found.is_free
        found.cancel(first.id)
        assert ended(found, first.id).state == "cancelled"
        assert ended(found, second.id).state == "done"
        assert [job.id for job in found.jobs()] == [second.id, first.id]


def test_a_failed_job_says_why_and_the_next_one_runs(tmp_path):
    with queue() as found:
        failed = ended(found, found.start(order(tmp_path, "fail")).id)
        assert (failed.state, failed.message) == ("failed", "The text cannot be read.")
        gone = ended(found, found.start(order(tmp_path, "vanish")).id)
        assert gone.state == "failed"
        assert "without a word (signal 9)" in gone.message
        assert ended(found, found.start(order(tmp_path)).id).state == "done"


def test_a_waiting_job_that_is_cancelled_never_starts(tmp_path):
    with queue() as found:
        first = found.start(order(tmp_path, "wait"))
        second = found.start(order(tmp_path))
        ready(tmp_path)
        assert found.cancel(second.id).state == "cancelled"
        found.cancel(first.id)
        ended(found, first.id)
        assert found.job(second.id).folder is None
        assert found.cancel(first.id).state == "cancelled"


def test_a_job_that_goes_on_saving_is_ended_when_it_is_cancelled_again(tmp_path):
    with queue() as found:
        job = found.start(order(tmp_path, "stubborn"))
        ready(tmp_path)
        assert found.cancel(job.id).state == "running"
        found.cancel(job.id)
        assert ended(found, job.id).state == "cancelled"


def test_more_than_may_wait_are_refused(tmp_path):
    with queue() as found:
        first = found.start(order(tmp_path, "wait"))
        ready(tmp_path)
        for _ in range(MAX_WAITING):
            found.start(order(tmp_path))
        with pytest.raises(Busy, match=f"{MAX_WAITING} jobs wait already"):
            found.start(order(tmp_path))
        found.cancel(first.id)


def test_closing_stops_the_running_job_and_drops_the_others(tmp_path):
    with queue() as found:
        jobs = [found.start(order(tmp_path, "wait")), found.start(order(tmp_path))]
        ready(tmp_path)
        asyncio.run(found.close())
        assert [found.job(job.id).state for job in jobs] == ["cancelled", "cancelled"]
        with pytest.raises(WorkerGone, match="stopping"):
            found.start(order(tmp_path))


def test_a_process_that_cannot_be_started_is_told_and_the_queue_goes_on(tmp_path):
    with queue(command=("/nowhere/python",)) as found:
        for _ in range(2):
            job = ended(found, found.start(order(tmp_path)).id)
            assert job.state == "failed"
            assert "could not be started: No such file" in job.message


def test_a_read_only_server_starts_and_stops_nothing(tmp_path):
    with queue(read_only=True) as found:
        with pytest.raises(ReadOnly, match="starts no jobs"):
            found.start(order(tmp_path))
        with pytest.raises(ReadOnly, match="stops no jobs"):
            found.cancel("1")


def test_a_job_that_is_not_there_is_told(tmp_path):
    with queue() as found, pytest.raises(NotFound, match="There is no job '7'"):
        found.job("7")


def test_old_jobs_are_forgotten_and_running_ones_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("lmscope.server.work.queue.MAX_REMEMBERED", 2)
    with queue() as found:
        for _ in range(3):
            ended(found, found.start(order(tmp_path)).id)
        last = found.start(order(tmp_path))
        assert [job.id for job in found.jobs()] == ["4", "3"]
        ended(found, last.id)


def test_a_job_whose_server_is_killed_ends_too(tmp_path):
    """Its stdin ends with the server; nothing else tells it."""
    script = f"""
import os, signal, sys
from pathlib import Path
from lmscope.server.settings import ServeSettings
from lmscope.server.work.order import Order
from lmscope.server.work.queue import JobQueue
found = JobQueue(ServeSettings(), (sys.executable, "-c", {STAND_IN!r}))
job = found.start(Order("train", "t", "c", Path({str(tmp_path)!r}), {{"does": "watch"}}))
while found.job(job.id).folder is None:
    pass
print(found._running[1].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

    async def go():
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
        )
        pid = int(await server.stdout.readline())
        await server.wait()
        async with asyncio.timeout(60):
            while Path(f"/proc/{pid}/cmdline").exists() and _is_running(pid):
                await asyncio.sleep(0.01)

    asyncio.run(go())


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_the_stand_in_reads_what_a_job_reads(tmp_path):
    assert json.loads(order(tmp_path).line())["values"] == {"does": "work"}
