"""Ahead: makes the next thing while the present one is used; the same things in the same order."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Ahead(Generic[T]):
    """Calls `make` one call ahead, in one thread of its own, on a CUDA device on a stream of its own.

    Everything that `make` touches is left alone by others until `close`: a model that is read ahead
    must not be run elsewhere meanwhile.

    Args:
        make: Makes the next thing; None after the last.
        tensors: The tensors of a thing, for their memory to be kept until they are used.
        device: Where `make` works.
    """

    def __init__(
        self,
        make: Callable[[], T | None],
        tensors: Callable[[T], Iterable[Tensor]],
        device: torch.device,
    ) -> None:
        self._make = make
        self._tensors = tensors
        self._device = device
        self._side: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._side = torch.cuda.Stream(device)
            self._side.wait_stream(torch.cuda.current_stream(device))
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
        self._next: Future[tuple[T | None, torch.cuda.Event | None]] = self._submit()

    def take(self) -> T | None:
        """The next thing; raises what making it raised."""
        made, done = self._next.result()
        if made is not None:
            if done is not None:
                current = torch.cuda.current_stream(self._device)
                current.wait_event(done)
                for tensor in self._tensors(made):
                    tensor.record_stream(current)
            self._next = self._submit()
        return made

    def close(self) -> None:
        """Wait for the thread and drop what it made."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _submit(self) -> Future[tuple[T | None, torch.cuda.Event | None]]:
        return self._worker.submit(self._run)

    def _run(self) -> tuple[T | None, torch.cuda.Event | None]:
        if self._side is None:
            return self._make(), None
        with torch.cuda.device(self._device), torch.cuda.stream(self._side):
            made = self._make()
            done = torch.cuda.Event()
            done.record(self._side)
        return made, done
