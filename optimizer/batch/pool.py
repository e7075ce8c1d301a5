"""Processes that work off tasks, and go on when one of them is killed or hangs.

A task that goes down with its worker is given once more, to another process; if it does so again it is reported and not
tried a third time. Each worker has one task at a time, so a slow one holds nothing up and nothing piles up anywhere.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from optimizer.errors import GpuplanError

MOST_TRIES = 2
MOST_FAILED_STARTS = 3
"""Workers in a row that end before their first word; then something is wrong with all of them."""
POLL_S = 0.25
"""How often deadlines and the wish to stop are looked at while no worker reports."""
READY = "ready"

Work = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Done:
    """A task and what the work returned."""

    task: Any
    reply: Any


@dataclass(frozen=True, slots=True)
class Lost:
    """A task that took its worker down each time."""

    task: Any
    kind: Literal["crashed", "hung"]
    message: str


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    is_ready: bool = False
    task: Any = None
    is_busy: bool = False
    since: float = field(default_factory=time.monotonic)


class Pool:
    """Workers that each call `make` once, and then what it returned with each task. All of it travels by pickle."""

    def __init__(self, make: Callable[[], Work], n_workers: int, task_limit_s: float) -> None:
        self._make, self._n_workers, self._task_limit_s = make, n_workers, task_limit_s
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._again: deque[Any] = deque()
        self._tries: dict[Any, int] = {}
        self._failed_starts = 0
        self._stopping = False

    def stop(self) -> None:
        """Hand out nothing more; what is in flight is finished and reported."""
        self._stopping = True

    @property
    def n_in_flight(self) -> int:
        """Tasks that a worker has now."""
        return sum(worker.is_busy for worker in self._workers)

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the workers there are now."""
        return tuple(worker.process.pid or 0 for worker in self._workers)

    def run(self, tasks: Iterable[Any]) -> Iterator[Done | Lost | None]:
        """Every task, in the order they end; None when nothing has happened for a moment.

        Raises:
            GpuplanError: workers do not start.
        """
        source = iter(tasks)
        try:
            while self._hand_out(source):
                waiting = {
                    worker.connection: worker for worker in self._workers if worker.is_busy or not worker.is_ready
                }
                told = wait(list(waiting), POLL_S)
                for connection in told:
                    yield from self._hear(waiting[connection])  # type: ignore[index]
                yield from self._end_the_hung()
                if not told:
                    yield None
        finally:
            self._close()

    def _hand_out(self, source: Iterator[Any]) -> bool:
        """Give every free worker a task; whether there is anything left to wait for."""
        while len(self._workers) < self._n_workers and not self._stopping:
            self._workers.append(self._started())
        for worker in self._workers:
            if worker.is_busy or not worker.is_ready or self._stopping:
                continue
            task = self._again.popleft() if self._again else next(source, None)
            if task is None:
                break
            worker.task, worker.is_busy, worker.since = task, True, time.monotonic()
            with contextlib.suppress(OSError):  # a worker that is gone is noticed when it is heard
                worker.connection.send(task)
        starting = not self._stopping and all(not worker.is_ready for worker in self._workers)
        return bool(self.n_in_flight or starting or (self._again and not self._stopping))

    def _started(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._make), daemon=True)
        process.start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        return _Worker(process, ours)

    def _hear(self, worker: _Worker) -> Iterator[Done | Lost]:
        try:
            reply = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._gone(worker, "crashed")
            return
        if not worker.is_ready:
            worker.is_ready, self._failed_starts = True, 0
            return
        task, worker.task, worker.is_busy = worker.task, None, False
        self._tries.pop(task, None)
        yield Done(task, reply)

    def _gone(self, worker: _Worker, kind: Literal["crashed", "hung"]) -> Iterator[Lost]:
        """Bury a worker; its task is given again or reported."""
        self._workers.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.connection.close()
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                raise GpuplanError(f"workers do not start (exit code {worker.process.exitcode}); see the lines above")
        if not worker.is_busy:
            return
        self._tries[worker.task] = self._tries.get(worker.task, 0) + 1
        if self._tries[worker.task] < MOST_TRIES:
            self._again.append(worker.task)
            return
        del self._tries[worker.task]
        reason = f"ended with code {worker.process.exitcode}" if kind == "crashed" else "did not answer"
        after = "" if kind == "crashed" else f" within {self._task_limit_s:g} s"
        yield Lost(worker.task, kind, f"the worker {reason}{after}, {MOST_TRIES} times")

    def _end_the_hung(self) -> Iterator[Lost]:
        now = time.monotonic()
        for worker in [w for w in self._workers if w.is_busy and now - w.since > self._task_limit_s]:
            yield from self._gone(worker, "hung")

    def _close(self) -> None:
        for worker in self._workers:
            if worker.is_busy:
                worker.process.kill()
            worker.connection.close()
        for worker in self._workers:
            worker.process.join()
        self._workers.clear()


def _serve(connection: Connection, make: Callable[[], Work]) -> None:
    """A worker's life; it ends when the driver's end of the pipe does, however that came about."""
    for ignored in (signal.SIGINT, signal.SIGTERM):  # the driver decides when to stop
        signal.signal(ignored, signal.SIG_IGN)
    work = make()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send(READY)
        while True:
            connection.send(work(connection.recv()))
