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
from optimizer.solve.columns.blocks import Blocks, Supply
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
    supply: FloatArray  # [Y] what the master buys, perhaps split
    is_short: bool
    """The master lacks slots even so: perhaps nothing serves everything."""


def maximise(
    blocks: Blocks, oracle: Oracle, master: Master, goon: Callable[[float], bool], price: FloatArray | None = None
) -> Dual:
    """The bound as far as the master closes it, or until `goon(bound)`, asked after every round, says no.

    It is infinite where the limits of the supply leave nothing.
    `price` [rows of the supply] is where to begin. The `master` may know answers of the same workloads already.
    """
    price = best_price = _first_prices(blocks) if price is None else price
    best, least = -np.inf, np.zeros(blocks.n_workloads)
    supply, is_short = blocks.supply.lower, True
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
        mixed = master.solve(blocks.supply)
        if mixed is None:
            return Dual(np.inf, price, priced.least, tuple(met), supply, is_short)
        supply, is_short = mixed.supply, mixed.shortage > SHORTAGE
        if mixed.usd_per_hour - best <= CONVERGED * abs(mixed.usd_per_hour) or idle > MOST_IDLE or not goon(best):
            break
        price = SMOOTHING * best_price + (1 - SMOOTHING) * mixed.price
    return Dual(best, best_price, least, tuple(met), supply, is_short)


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


@dataclass(frozen=True, slots=True)
class Mixed:
    """What the master makes of the answers that it knows."""

    usd_per_hour: float
    price: FloatArray  # [rows of the supply]
    supply: FloatArray  # [Y]
    shortage: float
    """Slots that are missing."""


class Master:
    """minimise cost · y + shortage  subject to  slots taken by the groups ≤ slots given, a mean of answers a group."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        n = blocks.n_workloads
        self._n_groups = min(n, MOST_GROUPS)
        self._group = np.arange(n) * self._n_groups // max(n, 1)
        self._known: set[tuple[int, bytes]] = set()
        self._group_of_answer: list[int] = []
        self._taken: list[FloatArray] = []  # of each answer, from each row of the supply
        # Short of slots, the master may buy them at more than any server costs.
        self._dear = 10.0 * float(blocks.supply.cost.max(initial=1.0)) + 1.0
        self._may_lack = np.unique(blocks.taken.slot)

    def add(self, plans: Plans) -> None:
        """One more answer of every workload; of equal ones of a group the first counts."""
        rows = len(self._blocks.supply.bound)
        which, slot, amount = self._blocks.taken.by(plans.candidate)
        cell = self._group[plans.workload[plans.plan[which]]] * rows + slot
        weights = amount * plans.count[which]
        taken = np.bincount(cell, weights=weights, minlength=self._n_groups * rows).astype(np.float64)
        for group, of_group in enumerate(taken.reshape(-1, rows)):
            key = (group, of_group.tobytes())
            if key not in self._known:
                self._known.add(key)
                self._group_of_answer.append(group)
                self._taken.append(of_group)

    def solve(self, supply: Supply) -> Mixed | None:
        """With a supply that differs from that of the blocks in its limits at most; None where they leave nothing.

        Raises:
            SolverError: GLOP gave no answer.
        """
        n_groups, n_rows, n_y = self._n_groups, len(supply.bound), len(supply.cost)
        taken = np.array(self._taken)
        answer, slot = np.nonzero(taken)
        n_answers, n_short, floors = len(taken), len(self._may_lack), np.flatnonzero(supply.lower)
        first_answer, first_short, first_floor = n_y, n_y + n_answers, n_rows + n_groups
        missing = first_short + np.arange(n_short)
        program = Program.from_entries(
            objective=np.concatenate([supply.cost, np.zeros(n_answers), np.full(n_short, self._dear)]),
            upper=np.concatenate([supply.upper, np.full(n_answers, np.inf), np.full(n_short, np.inf)]),
            is_integer=np.zeros(n_y + n_answers + n_short, bool),
            row_bounds=(
                np.concatenate([np.full(n_rows, -np.inf), np.ones(n_groups), supply.lower[floors]]),
                np.concatenate([supply.bound, np.full(n_groups + len(floors), np.inf)]),
            ),
            entries=(
                np.concatenate([
                    supply.row, slot, self._may_lack, n_rows + np.array(self._group_of_answer),
                    first_floor + np.arange(len(floors)),
                ]),
                np.concatenate([
                    supply.column, first_answer + answer, missing, first_answer + np.arange(n_answers), floors,
                ]),
                np.concatenate([
                    supply.coefficient, taken[answer, slot], np.full(n_short, -1.0), np.ones(n_answers + len(floors)),
                ]),
            ),
        )  # fmt: skip
        solution = solve_program(program, solver="glop")
        if solution.outcome == "infeasible":
            return None
        if solution.row_duals is None or solution.values is None:
            raise SolverError(f"GLOP could not solve the master: {solution.outcome}")
        price = np.maximum(0.0, -solution.row_duals[:n_rows])
        return Mixed(solution.objective, price, solution.values[:n_y], float(solution.values[missing].sum()))
