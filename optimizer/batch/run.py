"""A batch from its items to its results: who solves what, what is kept, and how it ends."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

from catalog import Catalog
from optimizer.batch.items import Items
from optimizer.batch.results import Results, opened
from optimizer.batch.row import Made, Settings
from optimizer.batch.work import Job, Problem, Solved, Task, Unchanged
from optimizer.workers import Engine, Lost, Pool

HANG_FACTOR, HANG_GRACE_S = 3.0, 30.0
"""A scenario gets its time limit; explaining why there is no plan may take as long again, and loading and verifying are
not under it. A worker that is silent for three limits and half a minute is stuck."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The i-th of n parts of a batch, from 1; every n-th item."""

    i: int = 1
    n: int = 1

    @property
    def tag(self) -> str:
        """What its files carry in their names; nothing when it is the whole."""
        return "" if self.n == 1 else f"{self.i}of{self.n}"

    def indices(self, n_items: int) -> range:
        """The items of this part."""
        return range(self.i - 1, n_items, self.n)


@dataclass(slots=True)
class State:
    """How far a batch is."""

    n_items: int
    started: float = field(default_factory=time.monotonic)
    counts: Counter[str] = field(default_factory=Counter)
    """By status of the row, `error` and `unchanged`."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Of all rows at the end, those of earlier runs included."""
    worst_gap: float = 0.0
    """Largest gap of a plan found in this run."""
    interrupted: bool = False
    damaged: tuple[Path, ...] = ()
    """Parts of an earlier run that could not be read and were set aside."""
    n_dropped: int = 0
    """Rows of an earlier run whose scenarios are no longer there."""

    @property
    def n_done(self) -> int:
        return self.counts.total()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def per_second(self) -> float:
        return self.n_done / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None before the first is done."""
        return (self.n_items - self.n_done) / self.per_second if self.n_done else None

    def data(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "scenarios": self.n_items,
            "done": self.n_done,
            "counts": dict(sorted(self.counts.items())),
            "rows": dict(sorted(self.statuses.items())),
            "worst_gap": self.worst_gap,
            "scenarios_per_s": round(self.per_second, 3),
            "seconds": round(self.seconds, 3),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
            "interrupted": self.interrupted,
            "damaged_parts": [path.name for path in self.damaged],
            "dropped_rows": self.n_dropped,
        }


def run_batch(
    items: Items,
    catalog: Catalog,
    folder: Path,
    settings: Settings,
    *,
    engine: Engine,
    shard: Shard | None = None,
    resume: bool = False,
    keep_plans: bool = True,
    progress: Callable[[State], None] = lambda _state: None,
) -> State:
    """Solve every item of the shard on an engine and keep the results in `folder`; how it went.

    Ctrl-C or SIGTERM lets what is in flight finish and ends with `interrupted`; a second one ends at once. Either way,
    as after a crash, `resume` goes on where it stopped: it solves what has no row, what had an error, and what has
    changed since (scenario, catalog, version or settings).

    Raises:
        InputError: the folder cannot be written, or holds results and `resume` is not given.
        GpuplanError: workers do not start.
    """
    shard = shard or Shard()
    indices = shard.indices(len(items))
    made = Made(catalog.version, version("gpuplan"), settings.text)
    state = State(len(indices))
    with opened(folder, items.axes, shard.tag, resume=resume) as results:
        state.damaged = tuple(results.damaged)
        job = Job(items, catalog, settings, made, keep_plans)
        task_limit_s = HANG_FACTOR * settings.time_limit_s + HANG_GRACE_S
        tasks = (Task(index, results.known(items.name(index))) for index in indices)
        with Pool(engine, job, task_limit_s, max(1, len(indices))) as pool, _stopping(pool, state):
            for event in pool.run(tasks):
                if event is not None:
                    _keep(event.task, _reply(event, items), results, state)
                progress(state)
        if not state.interrupted:
            state.n_dropped = results.drop_all_but({items.name(index) for index in indices})
        results.flush()
        state.statuses = results.statuses()
    return state


def _reply(event: Any, items: Items) -> Any:
    if isinstance(event, Lost):
        return Problem(items.name(event.task.index), event.kind, event.message)
    return event.reply


def _keep(task: Task, reply: Any, results: Results, state: State) -> None:
    match reply:
        case Solved(row=row):
            results.add(reply)
            state.counts[row.status] += 1
            state.worst_gap = max(state.worst_gap, row.gap or 0.0)
        case Problem():
            results.add_error(reply)
            state.counts["error"] += 1
        case Unchanged():
            state.counts["unchanged"] += 1
        case _:
            raise AssertionError(f"task {task.index} got {reply!r}")


@contextmanager
def _stopping(pool: Pool, state: State) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the pool, the second time at once; only where signals can be handled."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        if state.interrupted:
            raise KeyboardInterrupt(number)
        state.interrupted = True
        pool.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
