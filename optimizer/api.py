"""A scenario in, a verified layout out: what joins the parts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from catalog import Catalog, load_catalog
from optimizer.assemble import Assembled, assemble
from optimizer.assumptions import assumptions
from optimizer.candidates import Candidates, Ratings, build_candidates
from optimizer.errors import NotSupportedYet, SolverError
from optimizer.explain import explain_infeasible
from optimizer.files import write_file
from optimizer.formulation import Instance, build_instance
from optimizer.layout import Infeasibility, Layout, Status
from optimizer.scenario import Scenario, scenario_catalog, with_own_entries
from optimizer.solve import Answer, Limits, SolverName, program_text, solve_plain
from optimizer.verification import verify

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
EXPLANATION_SHARE = 0.25
"""Share of the time limit that each solve of an explanation may take."""


def optimize(
    scenario: Scenario,
    catalog: Catalog | None = None,
    time_limit_s: float = 60.0,
    gap: float = 0.001,
    threads: int = 1,
    seed: int = 0,
    *,
    solver: SolverName = "scip",
    write_program: Path | None = None,
    ratings: Ratings | None = None,
    progress: Progress = lambda _message: None,
) -> Layout:
    """The cheapest layout of a scenario, proven to a relative `gap`, or the proof that there is none.

    The time limit counts from the call. An answer is always a Layout: `optimal` when proven, `feasible` with its bound
    when time ran out, `infeasible` with an explanation, `no_plan` when nothing was found in time. Ctrl-C ends the solve
    early; the layout then carries a warning that starts with "interrupted".

    `ratings`, given to one call after another, keeps what they share: no plan changes by it, a sweep over prices is
    only faster.

    Raises:
        NotSupportedYet: the scenario uses a key that this version checks but does not solve.
        SolverError: no solver gave an answer that verifies.
    """
    started = time.perf_counter()
    if faults := scenario.unsupported():
        raise NotSupportedYet(faults)
    catalog = catalog or load_catalog()
    scenario = with_own_entries(scenario, catalog)
    run = _Run(scenario, scenario_catalog(scenario, catalog), started, started + time_limit_s, solver, ratings)
    try:
        return run.solve(Limits(gap=gap, threads=threads, seed=seed), write_program, progress)
    except KeyboardInterrupt:
        return run.layout("no_plan", warnings=("interrupted before a plan was found",))


class _Run:
    """One call of `optimize`."""

    def __init__(
        self,
        scenario: Scenario,
        catalog: Catalog,
        started: float,
        deadline: float,
        solver: SolverName,
        ratings: Ratings | None,
    ) -> None:
        self.scenario, self.catalog, self.solver, self.ratings = scenario, catalog, solver, ratings
        self.started, self.deadline = started, deadline

    @property
    def time_left_s(self) -> float:
        return self.deadline - time.perf_counter()

    def solve(self, limits: Limits, write_program: Path | None, progress: Progress) -> Layout:
        progress("rating candidates")
        candidates = build_candidates(self.scenario, self.catalog, ratings=self.ratings)
        inst = build_instance(self.scenario, self.catalog, candidates)
        if write_program is not None:
            write_file(write_program, program_text(inst, "mps" if write_program.suffix == ".mps" else "lp"))
        if self.time_left_s <= 0:
            return self.layout("no_plan", warnings=("the time limit ran out before the program was ready",))
        if len(set(inst.demand_of_load.tolist())) < len(inst.demand_names):
            return self._infeasible(candidates, inst)
        progress(f"solving {len(inst.candidate_names):,} candidates on {len(inst.offer_names)} offers")
        answer = solve_plain(
            inst,
            Limits(limits.gap, self.time_left_s, limits.threads, limits.seed),
            self.solver,
            lambda: progress(f"solving, {time.perf_counter() - self.started:.0f} s"),
        )
        if answer.outcome == "infeasible":
            return self._infeasible(candidates, inst)
        if answer.decision is None:
            return self.layout("no_plan", solver=answer.solver, warnings=_warnings(answer, {}))
        parts = assemble(self.scenario, self.catalog, candidates, inst, answer.decision, answer.bound_usd_per_hour)
        layout = self.layout(
            "optimal" if answer.outcome == "optimal" else "feasible",
            parts=parts,
            solver=answer.solver,
            warnings=_warnings(answer, parts.extrapolated),
        )
        progress("verifying")
        if problems := verify(layout, self.scenario, self.catalog):
            raise SolverError(f"the plan does not verify: {'; '.join(problems[:3])}")
        return layout

    def _infeasible(self, candidates: Sequence[Candidates], inst: Instance) -> Layout:
        time_limit_s = max(1.0, EXPLANATION_SHARE * (self.deadline - self.started))
        found = explain_infeasible(self.scenario, candidates, inst, self.solver, time_limit_s)
        return self.layout("infeasible", infeasible=found)

    def layout(
        self,
        status: Status,
        *,
        parts: Assembled | None = None,
        infeasible: Infeasibility | None = None,
        solver: SolverName | None = None,
        warnings: Sequence[str] = (),
    ) -> Layout:
        cost, first = (parts.cost, parts.periods[0]) if parts else (None, None)
        return Layout(
            scenario=self.scenario.name,
            status=status,
            gap=_gap(cost.usd_per_hour, cost.bound_usd_per_hour) if cost else None,
            solve_seconds=round(time.perf_counter() - self.started, 3),
            solver=solver or self.solver,
            cost=cost,
            servers=first.servers if first else (),
            workloads=first.workloads if first else (),
            purchases=first.purchases if first else (),
            commitments=first.commitments if first else (),
            periods=parts.periods if parts and len(parts.periods) > 1 else (),
            infeasible=infeasible,
            warnings=tuple(warnings),
            assumptions=assumptions(self.scenario, self.catalog, parts.periods) if parts else (),
            catalog_version=self.catalog.shipped_version,
            scenario_sha256=self.scenario.sha256,
            inputs=self.scenario.canonical(),
        )


def _gap(usd_per_hour: float, bound_usd_per_hour: float) -> float:
    return 0.0 if math.isclose(usd_per_hour, 0.0) else (usd_per_hour - bound_usd_per_hour) / usd_per_hour


def _warnings(answer: Answer, extrapolated: Mapping[str, tuple[str, ...]]) -> list[str]:
    warnings = list(answer.warnings)
    if answer.interrupted:
        warnings.insert(0, "interrupted; this is the best plan so far")
    warnings += [
        f"{name}: predicted outside the measured range ({', '.join(BEYOND[one] for one in departures)}); "
        "measure and `gpuplan calibrate` before you buy"
        for name, departures in extrapolated.items()
    ]
    return warnings
