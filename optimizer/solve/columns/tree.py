"""The bound of whole servers: where the master splits a count, two branches, with less or with more, may not.

Each branch has the supply between other limits, and prices and a bound of its own. Workloads are the same in all of
them, so what they answered to other prices counts in every branch. The least bound of the branches that are left is a
bound of the whole.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from optimizer.serving_config import FloatArray
from optimizer.solve.columns.blocks import Blocks
from optimizer.solve.columns.dual import Dual, Master, maximise
from optimizer.solve.columns.oracle import Oracle

SPLIT = 1e-6
"""Of a count, by which more than rounding makes it other than whole."""


@dataclass(frozen=True, slots=True)
class Branch:
    """The supply between some limits, and the bound there."""

    blocks: Blocks
    dual: Dual

    @property
    def split(self) -> int | None:
        """The count of which the master splits what costs most; None where all are whole."""
        counts, supply = self.dual.supply, self.blocks.supply
        away = np.abs(counts - np.rint(counts))
        if away.max(initial=0.0) <= SPLIT:
            return None
        return int(np.argmax(np.where(away > SPLIT, away * (supply.cost + SPLIT), 0.0)))

    def within(self, lower: FloatArray, upper: FloatArray) -> Blocks:
        """The blocks with other limits of the supply."""
        return replace(self.blocks, supply=replace(self.blocks.supply, lower=lower, upper=upper))


class Tree:
    """The branches that are left."""

    def __init__(self, root: Branch, oracle: Oracle, master: Master) -> None:
        self._oracle, self._master = oracle, master
        self._left = [(root.dual.bound_usd_per_hour, 0, root)]
        self._n_met = 1
        self._closed = np.inf

    @property
    def bound_usd_per_hour(self) -> float:
        """No plan costs less."""
        return min(self._closed, self._left[0][0] if self._left else np.inf)

    @property
    def lowest(self) -> Branch | None:
        """The branch of the least bound; None when none is left."""
        return self._left[0][2] if self._left else None

    def close(self, bound_usd_per_hour: float) -> None:
        """Nothing in the lowest branch costs less than that."""
        heapq.heappop(self._left)
        self._closed = min(self._closed, bound_usd_per_hour)

    def part(self, split: int, goon: Callable[[float], bool]) -> None:
        """The lowest branch in two, with a count on either side; `goon(bound)` says when a bound is high enough."""
        branch = self._left[0][2]
        count, supply = branch.dual.supply[split], branch.blocks.supply
        lower, upper = supply.lower.copy(), supply.upper.copy()
        lower[split], upper[split] = np.ceil(count), np.floor(count)
        parts = []
        for limits in ((supply.lower, upper), (lower, supply.upper)):
            blocks = branch.within(*limits)
            dual = maximise(blocks, self._oracle, self._master, goon, branch.dual.price)
            bound = max(dual.bound_usd_per_hour, branch.dual.bound_usd_per_hour)
            met = branch.dual.plans + dual.plans
            parts.append(Branch(blocks, replace(dual, bound_usd_per_hour=bound, plans=met)))
        heapq.heappop(self._left)
        for one in parts:
            heapq.heappush(self._left, (one.dual.bound_usd_per_hour, self._n_met, one))
            self._n_met += 1
