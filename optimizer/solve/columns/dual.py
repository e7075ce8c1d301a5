"""The prices of slots that make the Lagrangian bound highest, by a stabilised master over groups of workloads.

For any prices p ≥ 0 of the supply's rows,

L(p) = Σ_w least_w(p) + min_{0 ≤ y ≤ upper} (cost + p · matrix) · y − p · bound

is a bound: no plan costs less. The master knows L only at the prices tried so far; it takes a mean of the workloads'
answers there, group by group, and its duals are the prices to try next, halfway (`smoothing`) from the best so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from optimizer.errors import SolverError
from optimizer.formulation import Program
from optimizer.serving_config import FloatArray
from optimizer.solve.backend import solve_program
from optimizer.solve.columns.blocks import Blocks
from optimizer.solve.columns.oracle import Oracle
from optimizer.solve.columns.plans import Plans

SMOOTHING = 0.5
"""Weight of the best prices so far against the master's; the share that Wentges proposes to start with."""
CONVERGED = 2e-5
"""Relative distance of bound and master at which further prices are not worth their while."""
MOST_GROUPS = 250
"""Of workloads that the master tells apart: more make it follow sooner, and slower to solve."""
MOST_ROUNDS = 200
MOST_IDLE = 8
"""Rounds without a better bound, after which it is taken to be as high as it gets."""
DEEPEST = 3
"""A slot needs a pattern, that a server, and that an order."""
SHORTAGE = 1e-6
"""Slots."""


@dataclass(frozen=True, slots=True)
class Dual:
    """The best bound, and what proves it."""

    bound_usd_per_hour: float
    price: FloatArray  # [rows of the supply]
    least: FloatArray  # [W] of the workloads at those prices
    plans: tuple[Plans, ...]
    """Met on the way, by round."""
    is_short: bool
    """The master lacks slots even so: perhaps nothing serves everything."""


def maximise(blocks: Blocks, oracle: Oracle, goon: Callable[[float], bool]) -> Dual:
    """The bound as far as the master closes it, or until `goon(bound)`, asked after every round, says no."""
    master = _Master(blocks)
    price = best_price = _first_prices(blocks)
    best, least = -np.inf, np.zeros(blocks.n_workloads)
    met: list[Plans] = []
    idle = 0
    for _ in range(MOST_ROUNDS):
        priced = oracle.run(price)
        met.append(priced.plans)
        bound = float(priced.least.sum()) + blocks.supply.least(price)
        idle = 0 if bound > best + CONVERGED * abs(best) else idle + 1
        if bound > best:
            best, best_price, least = bound, price, priced.least
        master.add(priced.plans)
        value, master_price, shortage = master.solve()
        if value - best <= CONVERGED * abs(value) or idle > MOST_IDLE or not goon(best):
            break
        price = SMOOTHING * best_price + (1 - SMOOTHING) * master_price
    return Dual(best, best_price, least, tuple(met), shortage > SHORTAGE)


def _first_prices(blocks: Blocks) -> FloatArray:
    """[rows] what the cheapest server that gives a slot costs, shared among the slots it gives.

    A server may need an order, and a pattern a server: what they need is paid for first.
    """
    supply = blocks.supply
    gives = supply.coefficient < 0
    row, column, amount = supply.row[gives], supply.column[gives], -supply.coefficient[gives]
    given = np.bincount(column, weights=amount, minlength=len(supply.cost))
    takes = np.where(gives, 0.0, supply.coefficient)
    price = np.zeros(len(supply.bound))
    for _ in range(DEEPEST):
        needed = np.bincount(supply.column, weights=takes * price[supply.row], minlength=len(supply.cost))
        cheapest = np.full(len(price), np.inf)
        np.minimum.at(cheapest, row, ((supply.cost + needed)[column]) / given[column])
        price = np.where(np.isfinite(cheapest), cheapest, 0.0)
    return price


class _Master:
    """minimise cost · y + shortage  subject to slots taken by the groups ≤ slots given, one answer a group."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        n = blocks.n_workloads
        self._n_groups = min(n, MOST_GROUPS)
        self._group = np.arange(n) * self._n_groups // max(n, 1)
        self._taken: list[FloatArray] = []  # per round [groups, rows]
        # Short of slots, the master may buy them at more than any server costs.
        self._dear = 10.0 * float(blocks.supply.cost.max(initial=1.0)) + 1.0
        self._may_lack = np.unique(blocks.taken.slot)

    def add(self, plans: Plans) -> None:
        """One more answer of every workload."""
        rows = len(self._blocks.supply.bound)
        which, slot, amount = self._blocks.taken.by(plans.candidate)
        cell = self._group[plans.workload[plans.plan[which]]] * rows + slot
        weights = amount * plans.count[which]
        taken = np.bincount(cell, weights=weights, minlength=self._n_groups * rows).astype(np.float64)
        self._taken.append(taken.reshape(-1, rows))

    def solve(self) -> tuple[float, FloatArray, float]:
        """The master's value, the price of every row of the supply, and how many slots are missing."""
        supply, n_groups = self._blocks.supply, self._n_groups
        n_rows, n_y = len(supply.bound), len(supply.cost)
        taken = np.concatenate(self._taken)
        answer, slot = np.nonzero(taken)
        n_answers, n_short = len(taken), len(self._may_lack)
        first_answer, first_short = n_y, n_y + n_answers
        every = np.arange(n_answers)
        program = Program.from_entries(
            objective=np.concatenate([supply.cost, np.zeros(n_answers), np.full(n_short, self._dear)]),
            upper=np.concatenate([supply.upper, np.full(n_answers, np.inf), np.full(n_short, np.inf)]),
            is_integer=np.zeros(n_y + n_answers + n_short, bool),
            row_bounds=(
                np.concatenate([np.full(n_rows, -np.inf), np.ones(n_groups)]),
                np.concatenate([supply.bound, np.full(n_groups, np.inf)]),
            ),
            entries=(
                np.concatenate([supply.row, slot, self._may_lack, n_rows + every % n_groups]),
                np.concatenate(
                    [supply.column, first_answer + answer, first_short + np.arange(n_short), first_answer + every]
                ),
                np.concatenate([supply.coefficient, taken[answer, slot], np.full(n_short, -1.0), np.ones(n_answers)]),
            ),
        )
        solution = solve_program(program, solver="glop")
        if solution.row_duals is None or solution.values is None:
            raise SolverError(f"GLOP could not solve the master: {solution.outcome}")
        shortage = float(solution.values[first_short:].sum())
        return solution.objective, np.maximum(0.0, -solution.row_duals[:n_rows]), shortage
