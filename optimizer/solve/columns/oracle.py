"""The cheapest plan of every workload at given prices, each workload by the method that suits it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import numpy as np

from optimizer.serving_config import FloatArray
from optimizer.solve.columns.block import WorkloadBlock, workload_blocks
from optimizer.solve.columns.blocks import Blocks, Taken
from optimizer.solve.columns.plans import Plans, join
from optimizer.solve.columns.pricing import Pricing
from optimizer.workers import Calls, Engine

PARTS_PER_WORKER = 4
"""So that none waits long for the last."""
_Answer = tuple[int, float, Plans]
"""Of a workload what no plan undercuts, and a plan."""


@dataclass(frozen=True, slots=True)
class Priced:
    """A plan of each workload, in order, and what no plan of it can undercut."""

    least: FloatArray  # [W] USD per hour at the prices
    plans: Plans


class Oracle:
    """Knapsacks for workloads of one request class, all at once; a small program for each workload of several.

    With an engine, its workers solve the programs; they hold them until the context ends.
    """

    def __init__(self, blocks: Blocks, engine: Engine | None = None) -> None:
        inst = blocks.inst
        self._blocks = blocks
        self.has_several = np.zeros(blocks.n_workloads, bool)  # [W] request classes
        self.has_several[inst.workload_of_candidate[inst.candidate_of_load[inst.is_split]]] = True
        self._pricing = Pricing(blocks, ~self.has_several)
        programs = workload_blocks(blocks, np.flatnonzero(self.has_several))
        self._programs = _Programs(tuple(programs), blocks.taken)
        self._calls = Calls(engine, self._programs) if engine is not None and programs else None

    def __enter__(self) -> Self:
        if self._calls is not None:
            self._calls.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._calls is not None:
            self._calls.__exit__(*error)

    def run(self, price: FloatArray) -> Priced:
        """At the prices [rows of the supply] ≥ 0."""
        least = np.zeros(self._blocks.n_workloads)
        lowest, plans = self._pricing.run(price)
        least[plans.workload] = lowest
        parts = [plans]
        for workload, lowest_usd, plan in self._of_programs(price):
            least[workload] = lowest_usd
            parts.append(plan)
        return Priced(least, join(parts).in_order())

    def _of_programs(self, price: FloatArray) -> Iterable[_Answer]:
        every = range(len(self._programs.programs))
        if self._calls is None:
            return self._programs.cheapest((price, every))
        n_parts = min(len(every), PARTS_PER_WORKER * self._calls.n_workers)
        return chain.from_iterable(self._calls((price, every[i::n_parts]) for i in range(n_parts)))


@dataclass(frozen=True, slots=True)
class _Programs:
    """The small programs with what turns prices of slots into prices of their replicas, as a worker has them."""

    programs: tuple[WorkloadBlock, ...]
    taken: Taken

    def __call__(self) -> Callable[[tuple[FloatArray, range]], list[_Answer]]:
        return self.cheapest

    def cheapest(self, asked: tuple[FloatArray, range]) -> list[_Answer]:
        """At prices [rows of the supply], of some of the programs."""
        price, some = asked
        unit = self.taken.unit(price)
        return [(self.programs[i].workload, *self.programs[i].cheapest(unit)) for i in some]
