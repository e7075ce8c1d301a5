"""Every plan that a better answer could hold, so that a solver over them proves what the prices alone cannot.

A plan that costs more than its workload's cheapest by over (best known − bound), at the prices of the bound, is in no
better answer: the bound of the others and its own cost already exceed the best known. What remains is often few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.serving_config import BoolArray, FloatArray, IntArray
from optimizer.solve.columns.blocks import Blocks
from optimizer.solve.columns.plans import Plans
from optimizer.solve.columns.pricing import TOLERANCE

_Counts = tuple[tuple[int, int], ...]
"""Candidates with their replicas."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much an enumeration may take."""

    plans: float = math.inf
    """Of all workloads."""
    each: float = math.inf
    """Plans of one workload."""
    steps: int = 10_000
    """For one workload: some ten milliseconds."""
    halvings: int = 12
    """Of the slack of a workload that has too many plans, or takes too many steps."""
    short: float = math.inf
    """Workloads that are left with less than the whole slack."""


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates of one workload of one request class in one model and format, the most capable first.

    None carries as little as one before it and takes as many of the same slots.
    """

    workload: int
    candidate: IntArray
    carried: FloatArray

    def most_replicas(self, price: FloatArray, limit: float) -> FloatArray:
        """Of each candidate, that a plan may hold if it needs them all and costs no more than `limit`.

        A plan of candidates that cost p[k] and carry c[k] costs at least ρ + (p[k] − ρ · c[k]) · n[k], where ρ is the
        least of p / c: of many candidates none is near enough.
        """
        rho = float((price / self.carried).min())
        room, extra = limit * (1 + TOLERANCE) - rho, price - rho * self.carried
        if room < 0:
            return np.zeros(len(price))
        within = np.divide(room, extra, out=np.full(len(price), np.inf), where=extra > 0)
        most: FloatArray = np.minimum(np.floor(within + TOLERANCE), np.ceil(1.0 / self.carried - TOLERANCE))
        return most

    def plans(self, price: FloatArray, limit: float, most_steps: int) -> tuple[list[_Counts], int] | None:
        """All counts that carry everything for at most `limit`, and the steps that took; None where too many."""
        k = len(self.candidate)
        found: list[_Counts] = []
        cheapest = np.minimum.accumulate((price / self.carried)[::-1])[::-1].tolist()
        candidates, prices, shares = self.candidate.tolist(), price.tolist(), self.carried.tolist()
        stack: list[tuple[int, float, float, _Counts]] = [(0, 1.0, 0.0, ())]
        for step in range(most_steps):
            if not stack:
                return found, step
            i, left, cost, chosen = stack.pop()
            if i == k or cost + cheapest[i] * left > limit:
                continue
            stack.append((i + 1, left, cost, chosen))
            count = 0
            while left > TOLERANCE and cost + cheapest[i] * left <= limit:
                count, left, cost = count + 1, left - shares[i], cost + prices[i]
                plan = (*chosen, (candidates[i], count))
                if left > TOLERANCE:
                    stack.append((i + 1, left, cost, plan))
                elif cost <= limit:
                    found.append(plan)
        return None


def groups_of(blocks: Blocks) -> list[Group]:
    """Of all workloads of one request class, in their order."""
    inst = blocks.inst
    here = np.flatnonzero(~inst.is_split)
    workload = inst.workload_of_candidate[inst.candidate_of_load[here]]
    order = np.lexsort((-inst.carried[here], inst.choice_of_load[here], workload))
    loads, workload = here[order], workload[order]
    candidate, choice = inst.candidate_of_load[loads], inst.choice_of_load[loads]
    starts = np.flatnonzero((np.diff(workload, prepend=-1) != 0) | (np.diff(choice, prepend=-2) != 0))
    groups = []
    for first, last in zip(starts.tolist(), np.append(starts, len(loads))[1:].tolist(), strict=True):
        one = first + _unbeaten(blocks, candidate[first:last])
        groups.append(Group(int(workload[first]), candidate[one], inst.carried[loads[one]]))
    return groups


def all_plans(
    groups: Sequence[Group],
    unit: FloatArray,
    least: FloatArray,
    slack: float,
    which: BoolArray,
    effort: Effort,
) -> tuple[Plans, FloatArray] | None:
    """Every plan of some workloads [W] within `slack` USD per hour of its `least` [W], replicas priced at `unit` [K].

    Also the slack [W] up to which each workload's plans are complete; 0 for the others.
    Left out are plans with a replica that is not needed, and plans that take more of the same slots than another.
    None where that takes more than the effort allows.
    """
    of_workload: dict[int, list[Group]] = {}
    for group in groups:
        if which[group.workload]:
            of_workload.setdefault(group.workload, []).append(group)
    complete = np.zeros(len(which))
    found: list[tuple[int, _Counts]] = []
    n_short = 0
    for w, its_groups in of_workload.items():
        complete[w], plans = _within(its_groups, unit, float(least[w]), slack, effort)
        n_short += complete[w] < slack
        found += [(w, plan) for plan in plans]
        if len(found) > effort.plans or n_short > effort.short:
            return None
    return _as_plans(found), complete


def _within(
    groups: Sequence[Group], unit: FloatArray, least: float, slack: float, effort: Effort
) -> tuple[float, list[_Counts]]:
    """The slack tried last, each half of the one before, and all plans within it."""
    for _ in range(1 + effort.halvings):
        found: list[_Counts] = []
        steps = effort.steps
        for group in groups:
            answer = group.plans(unit[group.candidate], (least + slack) * (1 + TOLERANCE), steps)
            if answer is None:
                break
            found += answer[0]
            steps -= answer[1]
            if len(found) > effort.each:
                break
        else:
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


def _as_plans(found: Sequence[tuple[int, _Counts]]) -> Plans:
    entries = [(p, k, n) for p, (_, plan) in enumerate(found) for k, n in plan]
    plan, candidate, count = np.array(entries, np.int64).reshape(-1, 3).T
    return Plans(np.array([w for w, _ in found], np.int64), plan, candidate, count)
