"""Workers that are processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from optimizer.workers.pool import READY, Make, WorkerGoneError

STARTED = "started"
"""A process's first word, upon which it is told what to make."""


@dataclass(frozen=True, slots=True)
class Processes:
    """So many processes at a time, each with an interpreter of its own."""

    n_workers: int

    def starter(self, make: Make) -> Callable[[], _Process]:
        """How a process is started."""
        return lambda: _Process(make)

    def told(self, workers: Sequence[_Process], within_s: float) -> Sequence[_Process]:
        """Those whose pipe has a word or has ended."""
        of_connection = {worker.connection: worker for worker in workers}
        return [of_connection[one] for one in wait(list(of_connection), within_s)]  # type: ignore[index]


class _Process:
    """A process behind a pipe; the end of the one is the end of the other."""

    def __init__(self, make: Make) -> None:
        self._make = make
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        # What is large goes through our pipe, whose other end we do not hold: a process that dies on starting ends it.
        self.process: BaseProcess = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _no_main():
            self.process.start()
        theirs.close()

    def give(self, task: Any) -> None:
        with contextlib.suppress(OSError):  # one that is gone is noticed when it is heard
            self.connection.send(task)

    def hear(self) -> Any:
        try:
            said = self.connection.recv()
            if said == STARTED:
                self.connection.send(self._make)
            return said
        except (EOFError, OSError):
            self.end()
            raise WorkerGoneError(f"ended with code {self.process.exitcode}") from None

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """A process that starts meanwhile does not import the program that starts it, which may well do so again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve(connection: Connection) -> None:
    """A worker's life; it ends when the driver's end of the pipe does, however that came about."""
    for ignored in (signal.SIGINT, signal.SIGTERM):  # the driver decides when to stop
        signal.signal(ignored, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(STARTED)
        make: Make = connection.recv()
        work = make()
        connection.send(READY)
        while True:
            connection.send(work(connection.recv()))
