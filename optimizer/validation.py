"""Plans that hold their targets in the simulation too: solve, simulate, tighten what is missed, and solve again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from catalog import Catalog, load_catalog
from optimizer.api import optimize
from optimizer.layout import Layout
from optimizer.scenario import Scenario, load_scenario, scenario_catalog
from optimizer.scenario.traffic import POISSON_CV
from optimizer.simulation import Attainment, PlanOutcome, Traffic, WorkloadOutcome, simulate_plan

ROUNDS = 6
"""After which a plan that still misses a target is handed out with a warning."""
TIGHTER = 0.97
"""Beyond what the miss asks for, as queues grow faster than in proportion."""
MOST_MARGIN = 0.95
LEAST_TIME_S = 1.0


@dataclass(frozen=True, slots=True)
class Late:
    """A target that a class of a workload misses in the simulation."""

    of_class: str
    target: Attainment

    @property
    def ratio(self) -> float:
        """What was seen over the limit, more than one."""
        return self.target.seen_ms / self.target.limit_ms

    @property
    def words(self) -> str:
        """For a warning."""
        seen = f"{self.target.seen_ms:.0f} ms of {self.target.limit_ms:.0f} ms"
        return f"{self.target.target} of class {self.of_class} is {seen} in the simulation"


def optimize_validated(
    scenario: Scenario,
    catalog: Catalog | None = None,
    time_limit_s: float = 60.0,
    gap: float = 0.001,
    *,
    traffic: Traffic | None = None,
    progress: Callable[[str], None] = lambda _message: None,
    **settings: Any,
) -> Layout:
    """What `optimize` answers, raising the `margin` of workloads until the simulated plan holds every target.

    The margins stand in the plan's inputs, so that it verifies like any other; its assumptions say what was found. The
    time limit is that of all solves together. `settings` are further arguments of `optimize`.
    """
    known = catalog or load_catalog()
    deadline = time.perf_counter() + time_limit_s
    best: Layout | None = None
    for round_ in range(1, ROUNDS + 1):
        left_s = max(deadline - time.perf_counter(), LEAST_TIME_S)
        layout = optimize(scenario, known, left_s, gap, progress=progress, **settings)
        if layout.cost is None:
            return (
                layout if best is None else _warned(best, [f"with more margin: {layout.status}; this is the last plan"])
            )
        progress(f"simulating, round {round_}")
        outcome = simulate_plan(layout, scenario, scenario_catalog(scenario, known), traffic or Traffic())
        missed = _missed(outcome)
        found = (*layout.assumptions, *_found(scenario, outcome))
        best = _warned(
            layout.model_copy(update={"assumptions": found}), [f"{name}: {late.words}" for name, late in missed.items()]
        )
        if not missed:
            break
        scenario = _tightened(scenario, missed, known)
    assert best is not None
    return best


def _warned(layout: Layout, warnings: list[str]) -> Layout:
    return layout.model_copy(update={"warnings": (*layout.warnings, *warnings)})


def _missed(outcome: PlanOutcome) -> dict[str, Late]:
    """Workload -> the target it misses by most."""
    worst = {}
    for one in outcome.workloads:
        late = [Late(kind.name, target) for kind in one.classes for target in kind.targets if not target.held]
        if late:
            worst[one.name] = max(late, key=lambda each: each.ratio)
    return worst


def _tightened(scenario: Scenario, missed: Mapping[str, Late], catalog: Catalog) -> Scenario:
    """The scenario with margins that would make up for what was missed, were latencies in proportion to predictions."""
    keys = scenario.canonical()
    for name, late in missed.items():
        left = (1.0 - scenario.workloads[name].margin_fraction) / late.ratio * TIGHTER
        keys["workloads"][name]["margin"] = f"{min(100.0 - 100.0 * left, 100.0 * MOST_MARGIN):.1f}%"
    return load_scenario(keys, catalog)


def _found(scenario: Scenario, outcome: PlanOutcome) -> list[str]:
    """What the simulation says of the plan, and what was given up for it."""
    minutes = f"{outcome.traffic.duration_s / 60.0:g} minutes"
    lines = [
        f"{one.name}: {'holds' if all(t.held for kind in one.classes for t in kind.targets) else 'misses'} its targets "
        f"in a simulation of {minutes} of {_arrivals(one)}"
        f"{f' in {one.when}, where it is busiest' if one.when else ''}" + _margin(scenario, one.name)
        for one in outcome.workloads
    ]
    return lines + [f"{name}: not simulated: {why}" for name, why in outcome.not_simulated.items()]


def _arrivals(outcome: WorkloadOutcome) -> str:
    if outcome.arrival_cv is None:
        return "recorded arrivals"
    return "Poisson arrivals" if outcome.arrival_cv == POISSON_CV else f"bursty arrivals (cv {outcome.arrival_cv:g})"


def _margin(scenario: Scenario, name: str) -> str:
    margin = scenario.workloads[name].margin_fraction
    return f", with predictions {margin:.1%} below them" if margin else ""
