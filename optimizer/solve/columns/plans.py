"""Plans of workloads: which candidates, how many replicas of each, and the slots that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.serving_config import BoolArray, FloatArray, IntArray
from optimizer.solve.columns.blocks import Blocks

HASH_SEED = 0
ROUNDING = 1e-9
"""Relative, of sums of slots."""


@dataclass(frozen=True, slots=True)
class Plans:
    """Plan p serves `workload[p]`; entry e says that plan `plan[e]` has `count[e]` replicas of `candidate[e]`."""

    workload: IntArray  # [P]
    plan: IntArray  # [E] ascending
    candidate: IntArray  # [E]
    count: IntArray  # [E] ≥ 1

    def __len__(self) -> int:
        return len(self.workload)

    def take(self, which: IntArray | BoolArray) -> Plans:
        """Some of the plans, in their order; a plan that is named twice is kept once."""
        kept = np.zeros(len(self), bool)
        kept[which] = True
        number = np.cumsum(kept) - 1
        here = kept[self.plan]
        return Plans(self.workload[kept], number[self.plan[here]], self.candidate[here], self.count[here])

    def cost(self, usd_per_replica: FloatArray) -> FloatArray:
        """[P] at a price for a replica of each candidate [K]."""
        weights = usd_per_replica[self.candidate] * self.count
        return np.bincount(self.plan, weights=weights, minlength=len(self)).astype(np.float64)

    def slots(self, blocks: Blocks) -> tuple[IntArray, IntArray, FloatArray]:
        """(plan, row of the supply, slots) taken in all, each pair once."""
        rows = len(blocks.supply.bound)
        which, slot, amount = blocks.taken.by(self.candidate)
        cell, entry = np.unique(self.plan[which] * rows + slot, return_inverse=True)
        weights = amount * self.count[which]
        taken = np.bincount(entry, weights=weights, minlength=len(cell)).astype(np.float64)
        return cell // rows, cell % rows, taken

    def distinct(self, blocks: Blocks) -> Plans:
        """Of the plans of a workload that take the same slots, the first: to the supply they are one."""
        plan, row, taken = self.slots(blocks)
        weight = np.random.default_rng(HASH_SEED).integers(1, 2**63, size=len(blocks.supply.bound), dtype=np.uint64)
        key = np.zeros(len(self), np.uint64)
        np.add.at(key, plan, weight[row] * taken.astype(np.uint64))
        order = np.lexsort((key, self.workload))
        same = (np.diff(self.workload[order]) == 0) & (np.diff(key[order]) == 0)
        return self.take(order[np.concatenate([[True], ~same])[: len(order)]])

    def lean(self, blocks: Blocks) -> Plans:
        """Without plans that take more slots than there are, or of every slot as many as another of their workload.

        None of them is needed: whatever serves with one of these serves with the other. Of equal ones one is kept.
        """
        plan, row, slots = self.slots(blocks)
        kept = np.ones(len(self), bool)
        kept[plan[slots > blocks.supply.most()[row] * (1 + ROUNDING)]] = False
        first = np.searchsorted(plan, np.arange(len(self) + 1))
        order = np.argsort(self.workload, kind="stable")
        ends = np.flatnonzero(np.diff(self.workload[order], append=-1)) + 1
        for of_workload in np.split(order, ends[:-1]):
            these = of_workload[kept[of_workload]]
            size = first[these + 1] - first[these]
            entry = np.repeat(first[these] - np.cumsum(size) + size, size) + np.arange(size.sum())
            rows, column = np.unique(row[entry], return_inverse=True)
            taken = np.zeros((len(these), len(rows)))
            taken[np.repeat(np.arange(len(these)), size), column] = slots[entry]
            kept[these[_beaten(taken)]] = False
        return self.take(kept)

    def in_order(self) -> Plans:
        """The same plans in the order of their workloads."""
        order = np.argsort(self.workload, kind="stable")
        number = np.argsort(order, kind="stable")[self.plan]
        entries = np.argsort(number, kind="stable")
        return Plans(self.workload[order], number[entries], self.candidate[entries], self.count[entries])


def _beaten(taken: FloatArray) -> BoolArray:
    """[n] which rows [n, slots] are nowhere less than another one that is kept."""
    beaten = np.zeros(len(taken), bool)
    order = np.argsort(taken.sum(axis=1), kind="stable")  # whatever beats a row comes before it
    taken = taken[order]
    for i in range(len(taken)):
        if not beaten[i]:
            beaten[i + 1 :] |= (taken[i + 1 :] >= taken[i]).all(axis=1)
    back: BoolArray = beaten[np.argsort(order)]
    return back


def join(parts: Sequence[Plans]) -> Plans:
    """All the plans, in that order."""
    starts = np.cumsum([0, *(len(part) for part in parts)])
    return Plans(
        np.concatenate([part.workload for part in parts]),
        np.concatenate([part.plan + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.candidate for part in parts]),
        np.concatenate([part.count for part in parts]),
    )


def equal_replicas(blocks: Blocks, candidates: IntArray, carried: FloatArray) -> Plans:
    """For each of these candidates as many replicas as carry the whole demand of its workload."""
    each = np.arange(len(candidates))
    count = np.ceil(1.0 / carried - 1e-9).astype(np.int64)
    return Plans(blocks.inst.workload_of_candidate[candidates], each, candidates, count)


def plans_of(blocks: Blocks, n_replicas: IntArray) -> Plans | None:
    """The plan of each workload in replica counts [K]; None where a workload's replicas do not carry its demand.

    Only workloads of one request class can be judged by counts alone; with others there is no telling.
    """
    inst = blocks.inst
    if inst.is_split.any():
        return None
    used = np.flatnonzero(n_replicas)
    workload = inst.workload_of_candidate[used]
    carried = np.zeros(len(n_replicas))
    carried[inst.candidate_of_load] = inst.carried
    total = np.bincount(workload, weights=carried[used] * n_replicas[used], minlength=blocks.n_workloads)
    if (total < 1.0 - 1e-9).any():
        return None
    return Plans(np.arange(blocks.n_workloads), workload, used, n_replicas[used]).in_order()
