"""The process that holds the model: reads requests from stdin, one at a time, answers on stdout.

It ends when stdin closes, also in the middle of a request: no server, no model in memory.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any, BinaryIO, Final

import torch

from lmscope.core.errors import BudgetError, LmscopeError
from lmscope.server.live.answers import Probing, steer_answer
from lmscope.server.live.benches import Benches
from lmscope.server.live.circuits import Circuits
from lmscope.server.live.claims import claim_answer
from lmscope.server.live.directions import Comparisons
from lmscope.server.live.players import game_answer
from lmscope.server.live.protocol import Report, error_name, line, read_line, report_line
from lmscope.server.live.score_panel import score_answer

_log = logging.getLogger("lmscope.server.live")
_NO_MEMORY: Final = "The machine has not got the memory for this: give less text, or serve fewer dictionaries at once."


class Worker:
    """Answers requests.

    Args:
        say: Writes a line.
    """

    def __init__(self, say: Callable[[bytes], None]) -> None:
        self._say = say
        self._benches = Benches(self._tell)
        comparisons, circuits = Comparisons(), Circuits(self._benches)
        self._answers: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "probe": lambda payload: Probing(self._benches, payload).answer(),
            "steer": lambda payload: steer_answer(self._benches, payload),
            "compare": comparisons.compare,
            "map": comparisons.map,
            "claim": lambda payload: claim_answer(circuits, payload),
            "scores": lambda payload: score_answer(circuits, payload),
            "trace": circuits.trace,
            "game": lambda payload: game_answer(self._benches, payload),
        }

    def do(self, request: Mapping[str, Any]) -> None:
        """Answer one request, or say why not."""
        number = request["request"]
        self._benches.report("busy")
        try:
            value = self._answers[request["kind"]](request["payload"])
        except LmscopeError as error:
            found = {"refused": number, "error": error_name(error), "message": str(error)}
        except (MemoryError, torch.OutOfMemoryError):
            found = {"refused": number, "error": BudgetError.__name__, "message": _NO_MEMORY}
        # The process goes on: one defect must not cost the model in memory.
        except Exception as error:  # noqa: BLE001
            _log.exception("A request failed")
            found = {"defect": number, "message": f"{type(error).__name__}: {error}"}
        else:
            found = {"answer": number, "value": value}
        self._benches.report("ready")
        self._say(line(found))

    def ready(self) -> None:
        """Say that requests can come."""
        self._benches.report("ready")

    def _tell(self, report: Report) -> None:
        self._say(report_line(report))


def main() -> None:
    """Answer requests until stdin closes."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is for the server, which then closes stdin
    answers = _own_stdout()

    def say(text: bytes) -> None:
        answers.write(text)
        answers.flush()

    requests: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    worker = Worker(say)
    worker.ready()
    while True:
        worker.do(read_line(requests.get()))


def _own_stdout() -> BinaryIO:
    """The stream of answers; whatever a library prints goes to stderr from now on."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _listen(source: BinaryIO, requests: "SimpleQueue[bytes]") -> None:
    for text in source:
        requests.put(text)
    os._exit(0)  # at once: a long request has nobody left to hear its answer


if __name__ == "__main__":
    main()
