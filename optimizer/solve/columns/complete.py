"""Every plan that a better answer could hold, so that a solver over them proves what the prices alone cannot.

A plan that costs more than its workload's cheapest by over (best known − bound), at the prices of the bound, is in no
better answer: the bound of the others and its own cost already exceed the best known. What remains is often few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.serving_config import BoolArray, FloatArray, IntArray
from optimizer.solve.columns.blocks import Blocks
from optimizer.solve.columns.plans import Plans
from optimizer.solve.columns.pricing import TOLERANCE

MOST_STEPS = 10_000
"""Of the enumeration of one workload's plans in one format: some ten milliseconds."""
MOST_HALVINGS = 12
"""Of the slack of a workload that has too many plans."""
_Counts = tuple[tuple[int, int], ...]
"""Candidates with their replicas."""


def all_plans(
    blocks: Blocks,
    price: FloatArray,
    least: FloatArray,
    slack: float,
    which: BoolArray,
    most: float = np.inf,
    each: float = np.inf,
) -> tuple[Plans, FloatArray] | None:
    """Every plan of some workloads [W] within `slack` USD per hour of its `least` [W] at the prices.

    Also the slack [W] up to which each workload's plans are complete: less where they are too many, or more than
    `each`, and 0 for the others.
    Left out are plans with a replica that is not needed, and plans that take more of the same slots than another.
    None where there are more than `most`.
    """
    inst = blocks.inst
    here = np.flatnonzero(which[inst.workload_of_candidate[inst.candidate_of_load]] & ~inst.is_split)
    workload = inst.workload_of_candidate[inst.candidate_of_load[here]]
    loads = here[np.lexsort((-inst.carried[here], inst.choice_of_load[here], workload))]
    candidate = inst.candidate_of_load[loads]
    workload, choice = inst.workload_of_candidate[candidate], inst.choice_of_load[loads]
    unit = blocks.unit(price)[candidate]
    starts = np.flatnonzero((np.diff(workload, prepend=-1) != 0) | (np.diff(choice, prepend=-2) != 0))
    spans: dict[int, list[tuple[int, int]]] = {}
    for first, last in zip(starts.tolist(), np.append(starts, len(loads))[1:].tolist(), strict=True):
        spans.setdefault(int(workload[first]), []).append((first, last))
    complete = np.zeros(blocks.n_workloads)
    found: list[tuple[int, _Counts]] = []
    for w, of_workload in spans.items():
        groups = []
        for first, last in of_workload:
            one = first + _unbeaten(blocks, candidate[first:last])
            groups.append(_Group(candidate[one].tolist(), unit[one], inst.carried[loads[one]]))
        complete[w], plans = _within(groups, float(least[w]), slack, each)
        found += [(w, plan) for plan in plans]
        if len(found) > most:
            return None
    return _as_plans(found), complete


def _within(groups: Sequence[_Group], least: float, slack: float, most: float) -> tuple[float, list[_Counts]]:
    """The slack tried last, each half of the one before, and all plans within it."""
    for _ in range(MOST_HALVINGS):
        parts = [group.plans((least + slack) * (1 + TOLERANCE)) for group in groups]
        found = [plan for part in parts if part is not None for plan in part]
        if None not in parts and len(found) <= most:
            return slack, found
        slack /= 2
    return 0.0, []


def _unbeaten(blocks: Blocks, candidates: IntArray) -> IntArray:
    """Of candidates with most capacity first, those that take fewer of their slots than all before them."""
    which, slot, amount = (values.tolist() for values in blocks.taken.by(candidates))
    slots: list[list[int]] = [[] for _ in candidates]
    amounts: list[list[float]] = [[] for _ in candidates]
    for i, row, taken in zip(which, slot, amount, strict=True):
        slots[i].append(row)
        amounts[i].append(taken)
    fewest: dict[tuple[int, ...], list[list[float]]] = {}
    kept = []
    for i, rows in enumerate(map(tuple, slots)):
        before = fewest.setdefault(rows, [])
        if not any(all(a <= b for a, b in zip(one, amounts[i], strict=True)) for one in before):
            before.append(amounts[i])
            kept.append(i)
    return np.array(kept, np.int64)


@dataclass(frozen=True, slots=True)
class _Group:
    """Candidates of one workload in one model and format, the most capable first."""

    candidate: list[int]
    price: FloatArray
    carried: FloatArray

    def plans(self, limit: float) -> list[_Counts] | None:
        """All counts that carry everything for at most `limit`; None when that takes too many steps."""
        k = len(self.candidate)
        found: list[_Counts] = []
        cheapest = np.minimum.accumulate((self.price / self.carried)[::-1])[::-1].tolist()
        prices, shares = self.price.tolist(), self.carried.tolist()
        stack: list[tuple[int, float, float, _Counts]] = [(0, 1.0, 0.0, ())]
        for _ in range(MOST_STEPS):
            if not stack:
                return found
            i, left, cost, chosen = stack.pop()
            if i == k or cost + cheapest[i] * left > limit:
                continue
            stack.append((i + 1, left, cost, chosen))
            count = 0
            while left > TOLERANCE and cost + cheapest[i] * left <= limit:
                count, left, cost = count + 1, left - shares[i], cost + prices[i]
                plan = (*chosen, (self.candidate[i], count))
                if left > TOLERANCE:
                    stack.append((i + 1, left, cost, plan))
                elif cost <= limit:
                    found.append(plan)
        return None


def _as_plans(found: Sequence[tuple[int, _Counts]]) -> Plans:
    entries = [(p, k, n) for p, (_, plan) in enumerate(found) for k, n in plan]
    plan, candidate, count = np.array(entries, np.int64).reshape(-1, 3).T
    return Plans(np.array([w for w, _ in found], np.int64), plan, candidate, count)
