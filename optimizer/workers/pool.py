"""Workers that work off tasks, and what happens when one of them is killed or hangs; whoever runs them.

A task that goes down with its worker is given once more, to another one; if it does so again it is reported and not
tried a third time. Each worker has one task at a time, so a slow one holds nothing up and nothing piles up anywhere.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from optimizer.errors import GpuplanError

MOST_TRIES = 2
MOST_MOVES = 5
"""Nodes that may be lost under a task before it is suspected of it."""
MOST_FAILED_STARTS = 3
"""Workers in a row that end before their first word; then something is wrong with all of them."""
POLL_S = 0.25
"""How often deadlines and the wish to stop are looked at while no worker reports."""
READY = "ready"
"""What a worker says before its first reply; what it says before that is of no account."""

Work = Callable[[Any], Any]
Make = Callable[[], Work]


class WorkerGoneError(Exception):
    """A worker is no more; the message says what became of it, as in `the worker …`."""

    def __init__(self, message: str, *, with_its_node: bool = False) -> None:
        """`with_its_node`: the machine went, so that nothing speaks against the task."""
        super().__init__(message)
        self.with_its_node = with_its_node


class Worker(Protocol):
    """Somebody who calls `make` once, and then what it returned with each task."""

    def give(self, task: Any) -> None:
        """Hand a task over; a worker that is gone is noticed when it is heard."""

    def hear(self) -> Any:
        """What it has said: READY at last, then a reply a task. WorkerGoneError where it will say nothing more."""

    def end(self) -> None:
        """End it at once, whatever it does."""


class Engine(Protocol):
    """What workers run on: processes of this machine, or a cluster."""

    @property
    def n_workers(self) -> int:
        """At a time."""

    def starter(self, make: Make) -> Callable[[], Worker]:
        """How a worker is started; `make` and all that passes later travels by pickle."""

    def told(self, workers: Sequence[Any], within_s: float) -> Sequence[Any]:
        """Those of them that have something to be heard, or that are gone; waits for the first."""


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


@dataclass(eq=False, slots=True)
class _Place:
    """One of the places for workers, with who is there."""

    worker: Worker
    is_ready: bool = False
    task: Any = None
    is_busy: bool = False
    since: float = field(default_factory=time.monotonic)


class Pool:
    """The workers of an engine for one kind of work; they stay from one `run` to the next, and end with the context."""

    def __init__(self, engine: Engine, make: Make, task_limit_s: float, most_workers: int | None = None) -> None:
        self._engine, self._task_limit_s = engine, task_limit_s
        self._start = engine.starter(make)
        self._n_workers = engine.n_workers if most_workers is None else min(engine.n_workers, most_workers)
        self._places: list[_Place] = []
        self._again: deque[Any] = deque()
        self._fallen: dict[Any, Counter[str]] = defaultdict(Counter)
        """Workers that went down over a task, and nodes that were lost under it."""
        self._failed_starts = 0
        self._stopping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for place in self._places:
            place.worker.end()
        self._places.clear()

    def stop(self) -> None:
        """Hand out nothing more; what is in flight is finished and reported."""
        self._stopping = True

    @property
    def n_in_flight(self) -> int:
        """Tasks that a worker has now."""
        return sum(place.is_busy for place in self._places)

    def run(self, tasks: Iterable[Any]) -> Iterator[Done | Lost | None]:
        """Every task, in the order they end; None when nothing has happened for a moment.

        Raises:
            GpuplanError: workers do not start.
        """
        source = iter(tasks)
        while self._hand_out(source):
            waiting = {id(place.worker): place for place in self._places if place.is_busy or not place.is_ready}
            told = self._engine.told([place.worker for place in waiting.values()], POLL_S)
            for worker in told:
                yield from self._hear(waiting[id(worker)])
            yield from self._end_the_hung()
            if not told:
                yield None

    def _hand_out(self, source: Iterator[Any]) -> bool:
        """Give every free worker a task; whether there is anything left to wait for."""
        while len(self._places) < self._n_workers and not self._stopping:
            self._places.append(_Place(self._start()))
        for place in self._places:
            if place.is_busy or not place.is_ready or self._stopping:
                continue
            task = self._again.popleft() if self._again else next(source, None)
            if task is None:
                break
            place.task, place.is_busy, place.since = task, True, time.monotonic()
            place.worker.give(task)
        starting = not self._stopping and all(not place.is_ready for place in self._places)
        return bool(self.n_in_flight or starting or (self._again and not self._stopping))

    def _hear(self, place: _Place) -> Iterator[Done | Lost]:
        try:
            reply = place.worker.hear()
        except WorkerGoneError as gone:
            yield from self._gone(place, "crashed", str(gone), "node" if gone.with_its_node else "worker")
            return
        if not place.is_ready:
            if isinstance(reply, str) and reply == READY:
                place.is_ready, self._failed_starts = True, 0
            return
        task, place.task, place.is_busy = place.task, None, False
        self._fallen.pop(task, None)
        yield Done(task, reply)

    def _gone(
        self, place: _Place, kind: Literal["crashed", "hung"], how: str, lost: Literal["worker", "node"] = "worker"
    ) -> Iterator[Lost]:
        """Bury a worker; its task is given again or reported."""
        self._places.remove(place)
        place.worker.end()
        if not place.is_ready and lost == "worker":
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                raise GpuplanError(f"workers do not start: the last {how}")
        if not place.is_busy:
            return
        fallen = self._fallen[place.task]
        fallen[lost] += 1
        if fallen["worker"] < MOST_TRIES and fallen["node"] < MOST_MOVES:
            self._again.append(place.task)
            return
        del self._fallen[place.task]
        yield Lost(place.task, kind, f"the worker {how}, {fallen[lost]} times")

    def _end_the_hung(self) -> Iterator[Lost]:
        now = time.monotonic()
        for place in [one for one in self._places if one.is_busy and now - one.since > self._task_limit_s]:
            yield from self._gone(place, "hung", f"did not answer within {self._task_limit_s:g} s")
