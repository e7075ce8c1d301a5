"""Solves variants of one scenario; what a variant does not touch is not computed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from catalog import Catalog
from optimizer.candidates import Candidates, build_candidates
from optimizer.errors import SolverError
from optimizer.formulation import Instance, Program, build_instance, build_program, lay_out
from optimizer.scenario import Scenario, changed, without_workloads
from optimizer.solve import Backend, Solution, SolverName, check_solution, solve_program, try_solvers

GAP = 0.001
"""Amounts named in an explanation are within this of the least."""
FASTEST: SolverName = "highs"
"""On programs of this size it answers several times as fast as SCIP (`make bench`)."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that could be otherwise in a scenario."""

    text: str
    """In the scenario's words: `ttft_p95 of chat 80 ms → 118 ms`."""
    apply: Callable[[Scenario], Scenario]
    rerated: tuple[str, ...] = ()
    """Workloads whose candidates the change concerns."""


class Resolver:
    """Solves a scenario with changes made, with candidates rated again only for workloads that a change concerns."""

    def __init__(
        self,
        scenario: Scenario,
        catalog: Catalog,
        candidates: Sequence[Candidates],
        *,
        solver: SolverName = FASTEST,
        time_limit_s: float = 10.0,
        backend: Backend = solve_program,
    ) -> None:
        self.scenario, self.catalog = scenario, catalog
        self.solver, self.time_limit_s, self.backend = solver, time_limit_s, backend
        self.candidates: Mapping[str, Candidates] = {c.workload: c for c in candidates}
        self.n_solves = 0

    def without(self, *names: str) -> Resolver:
        """The same for the scenario without some of its workloads."""
        if not names:
            return self
        scenario = without_workloads(self.scenario, *names)
        candidates = [self.candidates[name] for name in scenario.workloads]
        return Resolver(
            scenario,
            self.catalog,
            candidates,
            solver=self.solver,
            time_limit_s=self.time_limit_s,
            backend=self.backend,
        )

    def whole_instance(self) -> Instance:
        """The instance of the scenario as it is, whether or not each class has a candidate."""
        return build_instance(self.scenario, self.catalog, list(self.candidates.values()))

    def instance(self, change: Change | None = None) -> Instance | None:
        """The instance of the scenario with a change made; None when some class then has no candidate."""
        scenario = self.scenario if change is None else change.apply(self.scenario)
        rerated = () if change is None else change.rerated
        candidates = [
            self.rate(scenario, name) if name in rerated else self.candidates[name] for name in scenario.workloads
        ]
        inst = build_instance(scenario, self.catalog, candidates)
        return None if unservable(inst) else inst

    def rate(self, scenario: Scenario, name: str) -> Candidates:
        """The candidates of one workload of a scenario."""
        (candidates,) = build_candidates(changed(scenario, workloads={name: scenario.workloads[name]}), self.catalog)
        return candidates

    def is_feasible(self, change: Change | None = None) -> bool:
        """Whether some plan was found that meets every requirement."""
        inst = self.instance(change)
        return inst is not None and self.solve(anything(build_program(inst, lay_out(inst)))).values is not None

    def solve(self, program: Program, gap: float = GAP) -> Solution:
        """The answer of the first solver that gives one; `no_plan` when both found nothing in time."""
        self.n_solves += 1

        def attempt(solver: SolverName) -> Solution | None:
            solution = self.backend(program, solver=solver, gap=gap, time_limit_s=self.time_limit_s)
            check_solution(program, solution, solver)
            return None if solution.outcome == "no_plan" else solution

        try:
            found = try_solvers(self.solver, attempt).result
        except SolverError:
            found = None
        return found or Solution("no_plan", None, np.inf, 0.0)


def anything(program: Program) -> Program:
    """The program without an objective: any solution will do."""
    return replace(program, objective=np.zeros_like(program.objective))


def unservable(inst: Instance) -> tuple[str, ...]:
    """Workloads of which some class has no candidate at all, and that must be served."""
    lost = np.setdiff1d(np.arange(len(inst.demand_names)), np.append(inst.demand_of_load, inst.droppable_demands))
    return tuple(dict.fromkeys(inst.demand_names[d][0] for d in lost))
