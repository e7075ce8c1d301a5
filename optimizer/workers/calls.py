"""The same work on many parts, in their order, given out to an engine's workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from optimizer.errors import GpuplanError
from optimizer.workers.pool import Done, Engine, Lost, Make, Pool, Work


class Calls:
    """One work for many parts at a time, by workers that stay warm between the calls; ends with the context."""

    def __init__(self, engine: Engine, make: Make) -> None:
        self.n_workers = engine.n_workers
        self._pool = Pool(engine, _Caught(make), math.inf)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(self._pool)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def __call__(self, parts: Iterable[Any]) -> list[Any]:
        """What the work returns for each part, in order.

        Raises:
            GpuplanError: what the work raised; a part took its workers down.
        """
        replies: dict[int, Any] = {}
        for event in self._pool.run(_Part(i, part) for i, part in enumerate(parts)):
            if isinstance(event, Lost):
                raise GpuplanError(event.message)
            if isinstance(event, Done):
                if isinstance(event.reply, _Raised):
                    raise event.reply.error
                replies[event.task.number] = event.reply
        return [replies[i] for i in range(len(replies))]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    number: int
    given: Any


@dataclass(frozen=True, slots=True)
class _Raised:
    error: GpuplanError


@dataclass(frozen=True, slots=True)
class _Caught:
    """Makes work whose errors travel home as an answer."""

    make: Make

    def __call__(self) -> Callable[[_Part], Any]:
        work: Work = self.make()

        def answer(part: _Part) -> Any:
            try:
                return work(part.given)
            except GpuplanError as error:
                return _Raised(error)

        return answer
