"""A scenario in, a verified layout out: what joins the parts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from catalog import Catalog, load_catalog
from optimizer.alternatives import find_alternatives
from optimizer.assemble import Assembled, assemble
from optimizer.assumptions import assumptions
from optimizer.candidates import Candidates, Ratings, build_candidates, build_candidates_on
from optimizer.errors import NotSupportedYet, SolverError
from optimizer.explain import explain_infeasible, stress
from optimizer.files import write_file
from optimizer.formulation import Instance, build_instance
from optimizer.kept import Kept
from optimizer.layout import Layout, PeriodPlan, ServedLevel, Status
from optimizer.plan_notes import Infeasibility
from optimizer.preferred import preferred
from optimizer.scenario import Scenario, scenario_catalog, with_own_entries
from optimizer.solve import (
    Answer,
    Backend,
    Level,
    Limits,
    Method,
    SolverName,
    State,
    program_text,
    solve,
    solve_program,
    solve_served,
    try_solvers,
)
from optimizer.verification import verify
from optimizer.warm_start import warm_start
from optimizer.workers import Engine, Processes, processors

BEYOND = {
    "engine": "no runs of this engine",
    "generation": "no runs on this generation of cards",
    "pair": "no runs of this engine on this generation of cards",
    "weights": "no runs with weights of this width",
    "pipeline": "no serving runs with pipeline stages",
    "concurrency": "runs with fewer requests in flight only",
}
"""What was not measured, by `ReplicaGroup.extrapolated`."""
Progress = Callable[[str], None]
EXPLANATION_SHARE = 0.035
"""Share of the time limit that the explanation of an infeasible scenario may take of a processor: 2.1 s by default."""
STRESS_SHARE = 0.25
"""Share of the time limit that each solve under stress may take."""
MANY_TO_RATE = 1000
"""Workloads from which on rating them takes some times what it takes to start processes that share the work."""
FIRST_SHARE = 0.9
"""Share of the time that the first solver may take to find a plan; the rest is for the other one if it finds none."""


def optimize(
    scenario: Scenario,
    catalog: Catalog | None = None,
    time_limit_s: float = 60.0,
    gap: float = 0.001,
    threads: int = 1,
    seed: int = 0,
    *,
    solver: SolverName = "scip",
    method: Method | None = None,
    start: Layout | None = None,
    write_program: Path | None = None,
    alternatives: int = 0,
    stressed: bool = False,
    ratings: Ratings | None = None,
    truths: Kept[Any] | None = None,
    engine: Engine | None = None,
    progress: Progress = lambda _message: None,
    backend: Backend = solve_program,
) -> Layout:
    """The best layout of a scenario, proven to a relative `gap`, or the proof that there is none.

    Best is cheapest, or with `objective: served` what serves the most demand by priority and is then cheapest.
    The time limit counts from the call. An answer is always a Layout: `optimal` when proven, `feasible` with its bound
    when time ran out, `infeasible` with an explanation, `no_plan` when nothing was found in time. Ctrl-C ends the solve
    early; the layout then carries a warning that starts with "interrupted". Where a solver fails, finds nothing or
    gives a plan that does not verify, the other one is asked and a warning says so. `backend` runs the solvers.
    `alternatives` is how many next best plans of other structures to find in the time that is left. With `stressed` the
    plan says what it does at higher demand and lower speed; each solve for that has a quarter of the time limit.

    `method` None takes the whole program at once (`plain`) while that is fast, and plans of single workloads
    (`columns`) beyond. `start` is an earlier plan from which the solver begins; it need not fit the scenario any more.

    `ratings`, given to one call after another, keeps what they share, and `truths` what `verify` computes of the same
    replicas: no plan changes by it, a sweep over prices is only faster. `engine` rates workloads, and prices those of
    several request classes for columns, in workers; without it, `threads` processes rate where workloads are many. No
    plan changes by that either.

    Raises:
        NotSupportedYet: the scenario uses a key that this version checks but does not solve.
        SolverError: no solver gave an answer that verifies.
    """
    started = time.perf_counter()
    if faults := scenario.unsupported():
        raise NotSupportedYet(faults)
    catalog = catalog or load_catalog()
    scenario = with_own_entries(scenario, catalog)
    limits = Limits(gap, time_limit_s, seed)
    asked = _Asked(
        limits, threads, solver, backend, method, start, alternatives, stressed, ratings, truths, engine, progress
    )
    run = _Run(scenario, scenario_catalog(scenario, catalog), started, asked)
    try:
        return run.solve(write_program)
    except KeyboardInterrupt:
        return run.layout("no_plan", warnings=("interrupted before a plan was found",))


@dataclass(frozen=True, slots=True)
class _Asked:
    """How to solve, as `optimize` was asked."""

    limits: Limits
    """The time is that of the whole call."""
    threads: int
    solver: SolverName
    backend: Backend
    method: Method | None
    start: Layout | None
    alternatives: int
    stressed: bool
    ratings: Ratings | None
    truths: Kept[Any] | None
    engine: Engine | None
    progress: Progress


class _Run:
    """One call of `optimize`."""

    def __init__(self, scenario: Scenario, catalog: Catalog, started: float, asked: _Asked) -> None:
        self.scenario, self.catalog, self.started, self.asked = scenario, catalog, started, asked

    def limits(self, share: float = 1.0) -> Limits:
        """What was asked for, with a share of the time that is left."""
        return replace(self.asked.limits, time_limit_s=self.time_left_s * share)

    @property
    def time_left_s(self) -> float:
        return self.started + self.asked.limits.time_limit_s - time.perf_counter()

    def solve(self, write_program: Path | None) -> Layout:
        self.asked.progress("rating candidates")
        candidates = self._candidates()
        inst = build_instance(self.scenario, self.catalog, candidates)
        if write_program is not None:
            write_file(write_program, program_text(inst, "mps" if write_program.suffix == ".mps" else "lp"))
        if self.time_left_s <= 0:
            return self.layout("no_plan", warnings=(self._too_late(),))
        if np.setdiff1d(np.arange(len(inst.demand_names)), np.append(inst.demand_of_load, inst.droppable_demands)).size:
            return self._infeasible(candidates)
        self.asked.progress(f"solving {len(inst.candidate_names):,} candidates on {len(inst.offer_names)} offers")
        tried = try_solvers(self.asked.solver, lambda solver: self._attempt(candidates, inst, solver))
        if tried.result is None:
            return self.layout("no_plan", warnings=tried.warnings)
        if tried.result.status == "infeasible":
            return self._infeasible(candidates, tried.result.solver, tried.warnings)
        layout = tried.result.model_copy(update={"warnings": (*tried.result.warnings, *tried.warnings)})
        if self.asked.alternatives:
            layout = self._with_alternatives(layout)
        return self._with_stress(layout) if self.asked.stressed else layout

    def _too_late(self) -> str:
        words = "the time limit ran out before the program was ready"
        kept = "; the silicon tables made so far are kept: solve again"
        return words + kept if self.scenario.performance == "silicon" else words

    def _candidates(self) -> tuple[Candidates, ...]:
        engine = self.asked.engine
        if engine is None and self.asked.threads > 1 and len(self.scenario.workloads) >= MANY_TO_RATE:
            engine = Processes(min(self.asked.threads, processors()))
        if engine is not None and self.asked.ratings is None:
            return build_candidates_on(engine, self.scenario, self.catalog)
        return build_candidates(self.scenario, self.catalog, ratings=self.asked.ratings)

    def _with_alternatives(self, layout: Layout) -> Layout:
        """The plan with its alternatives, all of them verified."""
        if layout.cost is None or not layout.workloads_served:
            return layout
        asked = self.asked
        found = find_alternatives(
            layout,
            self.scenario,
            self.catalog,
            asked.alternatives,
            self.limits(),
            solver=asked.solver,
            backend=asked.backend,
            progress=asked.progress,
        )
        layout = layout.model_copy(update={"alternatives": found})
        if problems := verify(layout, self.scenario, self.catalog):
            raise SolverError(f"an alternative does not verify: {'; '.join(problems[:3])}")
        return layout

    def _with_stress(self, layout: Layout) -> Layout:
        """The plan with what it does under stress."""
        if layout.cost is None or not layout.workloads_served:
            return layout
        found = stress(
            layout,
            self.scenario,
            self.catalog,
            time_limit_s=max(1.0, STRESS_SHARE * self.asked.limits.time_limit_s),
            progress=self.asked.progress,
            backend=self.asked.backend,
        )
        return layout.model_copy(update={"stress": found})

    def _attempt(self, candidates: Sequence[Candidates], inst: Instance, solver: SolverName) -> Layout | None:
        """The verified plan of one solver, `infeasible` without reasons, or None when it found nothing in its time."""
        levels: tuple[Level, ...] = ()
        if inst.is_droppable.any():
            served = solve_served(inst, self._share_of(solver), solver, self._tick, self.asked.backend)
            if served is None:
                return None
            inst, answer, levels = served.inst, served.answer, served.levels
        else:
            answer = self._cheapest(inst, solver)
        if answer.outcome == "infeasible":
            return self.layout("infeasible", solver=answer.solver)
        if answer.decision is None:
            if not answer.interrupted:
                return None
            return self.layout("no_plan", solver=answer.solver, warnings=_warnings(answer, {}))
        in_use, decision = preferred(self.scenario, self.catalog, candidates, inst, answer.decision)
        parts = assemble(
            self.scenario, self.catalog, in_use, inst, decision, answer.bound_usd_per_hour, self.asked.ratings
        )
        layout = self.layout(
            "optimal" if answer.outcome == "optimal" else "feasible",
            parts=parts,
            levels=levels,
            solver=answer.solver,
            warnings=[*_warnings(answer, parts.extrapolated), *_not_rated(candidates)],
        )
        self.asked.progress("verifying")
        if problems := verify(layout, self.scenario, self.catalog, truths=self.asked.truths):
            raise SolverError(f"{answer.solver}'s plan does not verify: {'; '.join(problems[:3])}")
        return layout

    def _share_of(self, solver: SolverName) -> Limits:
        """The first solver leaves some time to the other one."""
        return self.limits(FIRST_SHARE if solver == self.asked.solver else 1.0)

    def _cheapest(self, inst: Instance, solver: SolverName) -> Answer:
        """By the method asked for; where that failed, the other solver gets the whole program."""
        asked = self.asked
        return solve(
            inst,
            self._share_of(solver),
            method=asked.method if solver == asked.solver else "plain",
            solver=solver,
            progress=lambda state: asked.progress(self._words(state)),
            start=None if asked.start is None else warm_start(inst, asked.start),
            backend=asked.backend,
            engine=asked.engine,
        )

    def _tick(self) -> None:
        self.asked.progress(self._seconds())

    def _seconds(self) -> str:
        return f"solving, {time.perf_counter() - self.started:.0f} s"

    def _words(self, state: State) -> str:
        """How far the solver is, for people."""
        bound = f"at least ${state.bound_usd_per_hour:,.2f}/h"
        if math.isinf(state.usd_per_hour):
            return f"{self._seconds()}: no plan yet, {bound}"
        return f"{self._seconds()}: ${state.usd_per_hour:,.2f}/h, {bound}, gap {state.gap:.2%}"

    def _infeasible(
        self,
        candidates: Sequence[Candidates],
        solver: str | None = None,
        warnings: Sequence[str] = (),
    ) -> Layout:
        time_limit_s = max(1.0, EXPLANATION_SHARE * self.asked.limits.time_limit_s)
        found = explain_infeasible(
            self.scenario, self.catalog, candidates, time_limit_s=time_limit_s, backend=self.asked.backend
        )
        return self.layout("infeasible", infeasible=found, solver=solver, warnings=warnings)

    def layout(
        self,
        status: Status,
        *,
        parts: Assembled | None = None,
        levels: Sequence[Level] = (),
        infeasible: Infeasibility | None = None,
        solver: str | None = None,
        warnings: Sequence[str] = (),
    ) -> Layout:
        cost, first = (parts.cost, parts.periods[0]) if parts else (None, None)
        return Layout(
            scenario=self.scenario.name,
            status=status,
            gap=_gap(cost.usd_per_hour, cost.bound_usd_per_hour) if cost else None,
            solve_seconds=round(time.perf_counter() - self.started, 3),
            solver=solver or self.asked.solver,
            cost=cost,
            servers=first.servers if first else (),
            workloads=first.workloads if first else (),
            served=tuple(ServedLevel(**asdict(level)) for level in levels),
            purchases=first.purchases if first else (),
            commitments=first.commitments if first else (),
            periods=parts.periods if parts and self.scenario.has_orders else (),
            futures=parts.futures if parts else (),
            infeasible=infeasible,
            warnings=tuple(warnings),
            assumptions=assumptions(self.scenario, self.catalog, _all_periods(parts)) if parts else (),
            catalog_version=self.catalog.shipped_version,
            scenario_sha256=self.scenario.sha256,
            inputs=self.scenario.canonical(),
        )


def _all_periods(parts: Assembled) -> list[PeriodPlan]:
    """Of every future."""
    return [plan for future in parts.futures for plan in future.periods] or list(parts.periods)


def _gap(usd_per_hour: float, bound_usd_per_hour: float) -> float:
    return 0.0 if math.isclose(usd_per_hour, 0.0) else (usd_per_hour - bound_usd_per_hour) / usd_per_hour


def _not_rated(candidates: Sequence[Candidates]) -> list[str]:
    """What the performance model that was asked for knows nothing of."""
    return [
        f"{c.workload}: {n:,} of {c.n_evaluated:,} configurations are not in the silicon tables and were left out"
        for c in candidates
        if (n := c.rejected.get("silicon tables", 0))
    ]


def _warnings(answer: Answer, extrapolated: Mapping[str, tuple[str, ...]]) -> list[str]:
    warnings = ["interrupted; this is the best plan so far"] if answer.interrupted else []
    warnings += answer.warnings
    warnings += [
        f"{name}: predicted outside the measured range ({', '.join(BEYOND[one] for one in departures)}); "
        "measure and `gpuplan calibrate` before you buy"
        for name, departures in extrapolated.items()
    ]
    return warnings
