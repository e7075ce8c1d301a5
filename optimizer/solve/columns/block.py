"""The rows and columns of one workload, cut from the program of all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from optimizer.errors import SolverError
from optimizer.formulation import Program, build_program
from optimizer.serving_config import FloatArray, IntArray
from optimizer.solve.backend import solve_program
from optimizer.solve.columns.blocks import OF_WORKLOADS, Blocks
from optimizer.solve.columns.plans import Plans


@dataclass(frozen=True, slots=True)
class WorkloadBlock:
    """What only one workload's variables appear in; the counts of its candidates are the first columns."""

    workload: int
    program: Program
    candidates: IntArray

    def cheapest(self, unit: FloatArray) -> tuple[float, Plans]:
        """What no plan undercuts, and a plan, at a price for a replica of each candidate [K].

        Raises:
            SolverError: nothing serves the workload; such an instance must have been refused before.
        """
        objective = np.zeros(len(self.program.upper))
        objective[: len(self.candidates)] = unit[self.candidates]
        solution = solve_program(replace(self.program, objective=objective), solver="scip")
        if solution.interrupted:
            raise KeyboardInterrupt
        if solution.values is None:
            raise SolverError(f"workload {self.workload} has no plan whatever the servers: {solution.outcome}")
        return solution.bound, self.plan(solution.values)

    def within(self, most: FloatArray) -> WorkloadBlock:
        """The block with no more replicas of each of its candidates than `most` [K] says."""
        p, n = self.program, len(self.candidates)
        upper = p.upper.copy()
        upper[:n] = np.minimum(upper[:n], most[self.candidates])
        kept = np.ones(len(upper), bool)
        kept[:n] = upper[:n] > 0
        number, entries = np.cumsum(kept) - 1, kept[p.column]
        program = replace(
            p,
            objective=p.objective[kept],
            upper=upper[kept],
            is_integer=p.is_integer[kept],
            row=p.row[entries],
            column=number[p.column[entries]],
            coefficient=p.coefficient[entries],
        )
        return WorkloadBlock(self.workload, program, self.candidates[kept[:n]])

    def plan(self, values: FloatArray) -> Plans:
        """The plan in a solution's values of this block's columns."""
        counts = np.rint(values[: len(self.candidates)]).astype(np.int64)
        used = np.flatnonzero(counts)
        return Plans(np.array([self.workload]), np.zeros(len(used), np.int64), self.candidates[used], counts[used])


def workload_blocks(blocks: Blocks, workloads: IntArray) -> list[WorkloadBlock]:
    """The blocks of some workloads."""
    if not len(workloads):
        return []
    inst, var = blocks.inst, blocks.var
    whole = build_program(inst, var, OF_WORKLOADS)
    owner = np.full(var.n_columns, -1)
    owner[var.n_replicas] = inst.workload_of_candidate
    owner[var.load_share] = inst.workload_of_candidate[inst.candidate_of_load[inst.is_split]]
    owner[var.uses_format] = inst.workload_of_choice
    owner_of_entry = owner[whole.column]
    cut = []
    for w in workloads.tolist():
        columns, entries = np.flatnonzero(owner == w), owner_of_entry == w
        rows, row = np.unique(whole.row[entries], return_inverse=True)
        program = Program(
            objective=np.zeros(len(columns)),
            upper=whole.upper[columns],
            is_integer=whole.is_integer[columns],
            row_lower=whole.row_lower[rows],
            row_upper=whole.row_upper[rows],
            row=row,
            column=np.searchsorted(columns, whole.column[entries]),
            coefficient=whole.coefficient[entries],
        )
        cut.append(WorkloadBlock(w, program, np.flatnonzero(inst.workload_of_candidate == w)))
    return cut
