"""The program over a chosen set of plans: one plan a workload, and the servers for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from optimizer.errors import SolverError
from optimizer.formulation import Program
from optimizer.serving_config import BoolArray, FloatArray, IntArray
from optimizer.solve.backend import solve_program
from optimizer.solve.columns.block import WorkloadBlock
from optimizer.solve.columns.blocks import Blocks, Supply
from optimizer.solve.columns.plans import Plans, join

INTEGRALITY_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Opened:
    """A workload that is not held to known plans: its own rows stand in the program."""

    block: WorkloadBlock
    unit: FloatArray  # [candidates of the block] what a replica costs at the prices of the bound
    least: float
    """No plan of the workload costs less at those prices: a row that makes the relaxation as tight as the bound is."""


@dataclass(frozen=True, slots=True)
class Restricted:
    """minimise cost · y  subject to  slots of the chosen plans + matrix · y ≤ bound − taken,  one plan a workload."""

    blocks: Blocks
    plans: Plans
    opened: tuple[Opened, ...]
    program: Program
    """Its columns are the supply's, then one a plan, then those of the opened workloads."""

    @classmethod
    def over(
        cls,
        blocks: Blocks,
        plans: Plans,
        taken: FloatArray | None = None,
        opened: Sequence[Opened] = (),
        most_usd_per_hour: float = np.inf,
    ) -> Restricted:
        """The program over plans of some workloads and opened others; the rest take `taken` [rows of the supply].

        With `most_usd_per_hour` it has no solutions that cost more.
        """
        supply = blocks.supply
        n_rows, n_y, n_plans = len(supply.bound), len(supply.cost), len(plans)
        workloads, of_plan = np.unique(plans.workload, return_inverse=True)
        plan, row, slots = plans.slots(blocks)
        parts = [
            _Part(
                np.concatenate([supply.row, row, n_rows + of_plan]),
                np.concatenate([supply.column, n_y + plan, n_y + np.arange(n_plans)]),
                np.concatenate([supply.coefficient, slots, np.ones(n_plans)]),
                np.concatenate([np.full(n_rows, -np.inf), np.ones(len(workloads))]),
                np.concatenate([supply.bound - (0.0 if taken is None else taken), np.ones(len(workloads))]),
                np.concatenate([supply.upper, np.ones(n_plans)]),
                np.ones(n_y + n_plans, bool),
            ),
            _floors(supply, n_rows + len(workloads)),
        ]
        for one in opened:
            first_row, first_column = sum(len(p.lower) for p in parts), sum(len(p.upper) for p in parts)
            parts.append(_part_of(blocks, one, first_row, first_column))
        if np.isfinite(most_usd_per_hour):
            parts.append(_ceiling(supply, sum(len(p.lower) for p in parts), most_usd_per_hour))
        upper = np.concatenate([p.upper for p in parts])
        program = Program.from_entries(
            objective=np.concatenate([supply.cost, np.zeros(len(upper) - n_y)]),
            upper=upper,
            is_integer=np.concatenate([p.is_integer for p in parts]),
            row_bounds=(np.concatenate([p.lower for p in parts]), np.concatenate([p.row_upper for p in parts])),
            entries=(
                np.concatenate([p.row for p in parts]),
                np.concatenate([p.column for p in parts]),
                np.concatenate([p.coefficient for p in parts]),
            ),
        )
        return cls(blocks, plans, tuple(opened), program)

    def relaxed(self) -> FloatArray | None:
        """[plans] the share of each plan when plans and servers may be split; None when even that is infeasible."""
        relaxed = replace(self.program, is_integer=np.zeros_like(self.program.is_integer))
        values = solve_program(relaxed, solver="glop").values
        return None if values is None else values[len(self.blocks.supply.cost) :][: len(self.plans)]

    def whole(self, values: FloatArray) -> tuple[Plans, IntArray]:
        """The plans and the counts of the supply [Y] in a solution's values.

        Raises:
            SolverError: counts that are not whole numbers.
        """
        n_y, n_plans = len(self.blocks.supply.cost), len(self.plans)
        counts = values[self.program.is_integer]
        if np.abs(counts - np.rint(counts)).max(initial=0.0) > INTEGRALITY_TOLERANCE:
            raise SolverError("the solver returned counts that are not whole numbers")
        chosen = [self.plans.take(np.flatnonzero(np.rint(values[n_y : n_y + n_plans])))]
        first = n_y + n_plans
        for one in self.opened:
            chosen.append(one.block.plan(values[first : first + len(one.block.program.upper)]))
            first += len(one.block.program.upper)
        return join(chosen).in_order(), np.rint(values[:n_y]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows and columns of a program, numbered as in the whole of it."""

    row: IntArray
    column: IntArray
    coefficient: FloatArray
    lower: FloatArray  # of its rows
    row_upper: FloatArray
    upper: FloatArray  # of its columns
    is_integer: BoolArray


def _floors(supply: Supply, first_row: int) -> _Part:
    """The least counts of a supply that has some."""
    floors = np.flatnonzero(supply.lower)
    n, rows = len(floors), first_row + np.arange(len(floors))
    return _Part(rows, floors, np.ones(n), supply.lower[floors], np.full(n, np.inf), np.zeros(0), np.zeros(0, bool))


def _ceiling(supply: Supply, row: int, usd_per_hour: float) -> _Part:
    """What everything may cost: a row that tells a solver what need not be looked at."""
    paid = np.flatnonzero(supply.cost)
    none = np.zeros(0)
    rows = np.full(len(paid), row)
    return _Part(rows, paid, supply.cost[paid], np.array([-np.inf]), np.array([usd_per_hour]), none, none.astype(bool))


def _part_of(blocks: Blocks, one: Opened, first_row: int, first_column: int) -> _Part:
    """An opened workload: its own rows, what its replicas take of the slots, and the row of its least price."""
    p, candidates = one.block.program, one.block.candidates
    columns = first_column + np.arange(len(candidates))
    which, slot, amount = blocks.taken.by(candidates)
    last_row = first_row + len(p.row_lower)
    return _Part(
        row=np.concatenate([first_row + p.row, slot, np.full(len(candidates), last_row)]),
        column=np.concatenate([first_column + p.column, columns[which], columns]),
        coefficient=np.concatenate([p.coefficient, amount, one.unit]),
        lower=np.append(p.row_lower, one.least),
        row_upper=np.append(p.row_upper, np.inf),
        upper=p.upper,
        is_integer=p.is_integer,
    )
