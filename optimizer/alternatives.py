"""The best plans that are of another kind: each does without something that every better one uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from catalog import Catalog
from optimizer.assemble import assemble
from optimizer.candidates import build_candidates, on_offer
from optimizer.explain import as_served, structure_of
from optimizer.formulation import Program, build_instance, build_program, giving_up, lay_out
from optimizer.layout import Alternative, Layout, PeriodPlan, WorkloadPlan
from optimizer.scenario import Scenario
from optimizer.solve import Backend, Limits, Solution, SolverName, check_solution, decide, try_solvers


def find_alternatives(
    layout: Layout,
    scenario: Scenario,
    catalog: Catalog,
    how_many: int,
    limits: Limits,
    *,
    solver: SolverName,
    backend: Backend,
    progress: Callable[[str], None],
) -> tuple[Alternative, ...]:
    """Up to so many cheapest other plans, in order; fewer where there are none or the time is over.

    The kind of a plan is its *structure*: the set of (workload, offer, model and weight format, degrees) that it uses,
    in whatever period, and however demand turns out.
    Each alternative is the cheapest that does without at least one of them of the plan and of every alternative before.
    It serves what the plan serves. `limits` hold for all together.

    Raises:
        SolverError: both solvers failed.
    """
    deadline = time.perf_counter() + limits.time_limit_s
    asked = as_served(layout, scenario)
    candidates = build_candidates(asked, catalog, every_structure=True)
    inst = build_instance(asked, catalog, candidates)
    var, offers = lay_out(inst), list(asked.inventory)
    program = build_program(inst, var)
    rows = [(c.workload, offers[s], spec) for c in candidates for s, spec in zip(c.offer, c.specs, strict=True)]
    kinds = np.array([_kind(workload, offer, spec.structure) for workload, offer, spec in rows])
    every = np.tile(kinds, inst.horizon.n_states)
    columns_of = {name: var.n_replicas[every == name] for name in dict.fromkeys(kinds.tolist())}
    structures = [structure(plan for _, _, period in layout.states() for plan in period.workloads)]
    found: list[Alternative] = []
    while len(found) < how_many and structures[-1]:
        progress(f"alternative {len(found) + 1} of {how_many}")
        other = giving_up(program, structures, columns_of)

        def attempt(name: SolverName, other: Program = other) -> Solution | None:
            solution = backend(
                other,
                solver=name,
                gap=limits.gap,
                time_limit_s=max(0.0, deadline - time.perf_counter()),
                seed=limits.seed,
            )
            check_solution(other, solution, name)
            return None if solution.outcome == "no_plan" else solution

        solution = try_solvers(solver, attempt).result
        if solution is None or solution.values is None:
            break
        decision = decide(inst, var, solution.values)
        parts = assemble(asked, catalog, candidates, inst, decision, solution.bound)
        periods = tuple(_whole(layout.periods or (layout,), parts.periods))
        futures = tuple(
            future.model_copy(update={"periods": tuple(_whole(wanted.periods, future.periods))})
            for wanted, future in zip(layout.futures, parts.futures, strict=True)
        )
        everywhere = [future.periods for future in futures] or [periods]
        structures.append(structure(plan for all_of in everywhere for one in all_of for plan in one.workloads))
        found.append(
            Alternative(
                status="optimal" if solution.outcome == "optimal" else "feasible",
                gives_up=tuple(sorted(structures[0] - structures[-1])),
                uses_instead=tuple(sorted(structures[-1] - structures[0])),
                cost=parts.cost,
                servers=periods[0].servers,
                workloads=periods[0].workloads,
                purchases=periods[0].purchases,
                commitments=periods[0].commitments,
                periods=periods if layout.periods else (),
                futures=futures,
            )
        )
    return tuple(found)


def structure(workloads: Iterable[WorkloadPlan]) -> frozenset[str]:
    """The kinds of replicas that serve workloads."""
    return frozenset(_kind(plan.name, g.offer, structure_of(g)) for plan in workloads for g in plan.replica_groups)


def _kind(workload: str, offer: str, of_replica: str) -> str:
    return f"{workload}: {on_offer(of_replica, offer)}"


def _whole(wanted: Sequence[Layout | PeriodPlan], periods: Sequence[PeriodPlan]) -> Iterator[PeriodPlan]:
    """Every workload of the plan, with what an alternative plans in each period for those that are served."""
    for asked, planned in zip(wanted, periods, strict=True):
        groups = {plan.name: plan.replica_groups for plan in planned.workloads}
        workloads = (plan.model_copy(update={"replica_groups": groups.get(plan.name, ())}) for plan in asked.workloads)
        yield planned.model_copy(update={"workloads": tuple(workloads)})
