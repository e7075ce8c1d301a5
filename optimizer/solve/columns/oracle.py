"""The cheapest plan of every workload at given prices, each workload by the method that suits it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.serving_config import FloatArray
from optimizer.solve.columns.block import WorkloadBlock, workload_blocks
from optimizer.solve.columns.blocks import Blocks
from optimizer.solve.columns.plans import Plans, join
from optimizer.solve.columns.pricing import Pricing


@dataclass(frozen=True, slots=True)
class Priced:
    """A plan of each workload, in order, and what no plan of it can undercut."""

    least: FloatArray  # [W] USD per hour at the prices
    plans: Plans


class Oracle:
    """Knapsacks for workloads of one request class, all at once; a small program for each workload of several."""

    def __init__(self, blocks: Blocks) -> None:
        inst = blocks.inst
        self._blocks = blocks
        self.has_several = np.zeros(blocks.n_workloads, bool)  # [W] request classes
        self.has_several[inst.workload_of_candidate[inst.candidate_of_load[inst.is_split]]] = True
        self._pricing = Pricing(blocks, ~self.has_several)
        self._programs: list[WorkloadBlock] = workload_blocks(blocks, np.flatnonzero(self.has_several))

    def run(self, price: FloatArray) -> Priced:
        """At the prices [rows of the supply] ≥ 0."""
        least = np.zeros(self._blocks.n_workloads)
        lowest, plans = self._pricing.run(price)
        least[plans.workload] = lowest
        parts = [plans]
        unit = self._blocks.slots_per_replica * price[self._blocks.slot_of_candidate]
        for one in self._programs:
            least[one.workload], plan = one.cheapest(unit)
            parts.append(plan)
        return Priced(least, join(parts).in_order())
