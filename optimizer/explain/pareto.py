"""What is bought with more money: for each cost the least latency, power or number of GPU types, or the best quality.

Every point is optimal in both: nothing cheaper is as good, and nothing better costs no more. Power and GPU types are
rows of the program; latency and quality decide which candidates there are, so that these are rated again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from catalog import Catalog
from optimizer.candidates import build_candidates, replica_figures
from optimizer.errors import NotSupportedYet
from optimizer.explain.resolver import Resolver, Solved, listed, most_at_once
from optimizer.formulation import Instance, Program, build_program, lay_out, server_power_kw
from optimizer.scenario import Scenario, changed
from optimizer.serving_config import FloatArray, IntArray
from optimizer.solve import Backend, solve_program

Against = Literal["latency", "quality", "power", "gpu-types"]
AGAINST: tuple[Against, ...] = get_args(Against)
UNITS: dict[Against, str] = {
    "latency": "× the targets",
    "quality": "of bf16, the least of all replicas",
    "power": "kW, all servers at full load, the mean of all periods",
    "gpu-types": "GPU types",
}
MOST_POINTS = 10
LATENCY_FACTORS = (2.0, 1.5, 1.25, 1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.2)
"""How much of every latency target the plan may use up, beyond the targets too; each is solved."""
HARDLY_MORE = 1e-6
"""Relative; the next point must be better by more than this, and no dearer than this counts as the same cost."""
SOLVE_LIMIT_S, TIME_LIMIT_S = 30.0, 600.0
"""Of each solve, and of all of them unless more is asked for."""


@dataclass(frozen=True, slots=True)
class Point:
    """A plan that nothing beats in both."""

    usd_per_hour: float
    value: float
    """What the front is against, see UNITS."""
    servers: tuple[str, ...]
    """`2 × h100-node (rent)`; over several periods the most at a time."""
    is_proven: bool


@dataclass(frozen=True, slots=True)
class Front:
    """Points in the order of their cost, from the cheapest on."""

    scenario: str
    against: Against
    unit: str
    points: tuple[Point, ...]
    is_cut_short: bool = False
    """The time was over, or it was interrupted, before all were looked for."""


def pareto(
    scenario: Scenario,
    catalog: Catalog,
    against: Against,
    *,
    time_limit_s: float = TIME_LIMIT_S,
    progress: Callable[[str], None] = lambda _message: None,
    backend: Backend = solve_program,
) -> Front:
    """Cost against one other thing; at most MOST_POINTS points. Empty when the scenario is infeasible.

    `catalog` holds the scenario's own models; its objective is cost. `time_limit_s`, of the processor, is for all
    points: at its end, or at Ctrl-C, those found so far are the answer. Latency is the part of every target that may be
    used up: at 0.5 all targets are twice as tight. Quality is the floor under every workload that has none higher.

    Raises:
        NotSupportedYet: the scenario uses a key that this version does not solve.
    """
    if faults := scenario.unsupported():
        raise NotSupportedYet(faults)
    make = {"latency": _by_latency, "quality": _by_quality, "power": _by_power, "gpu-types": _by_gpu_types}[against]
    progress("rating candidates")
    points: list[Point] = []
    solver = _Solver(catalog, backend, time.process_time() + time_limit_s)
    is_interrupted = False
    try:
        for point in make(scenario, solver):
            points.append(point)
            progress(f"{len(points)} points")
    except KeyboardInterrupt:
        if not points:
            raise
        is_interrupted = True
    undominated = tuple(_undominated(points, lower_is_better=against != "quality"))
    is_cut_short = is_interrupted or time.process_time() >= solver.deadline
    return Front(scenario.name, against, UNITS[against], undominated, is_cut_short)


@dataclass(frozen=True, slots=True)
class _Solver:
    """What every point is found with."""

    catalog: Catalog
    backend: Backend
    deadline: float
    """By `time.process_time`."""

    def of(self, scenario: Scenario) -> Resolver:
        return Resolver(
            scenario,
            self.catalog,
            build_candidates(scenario, self.catalog),
            time_limit_s=SOLVE_LIMIT_S,
            deadline=self.deadline,
            backend=self.backend,
        )


def _undominated(points: list[Point], lower_is_better: bool) -> Iterator[Point]:
    """The cheapest first; each better than all before."""
    best: float | None = None
    sign = 1.0 if lower_is_better else -1.0
    for point in sorted(points, key=lambda one: (round(one.usd_per_hour, 9), sign * one.value)):
        if best is None or sign * point.value < best - HARDLY_MORE * abs(best):
            best = sign * point.value
            yield point


def _by_latency(scenario: Scenario, solver: _Solver) -> Iterator[Point]:
    """All targets scaled alike, from loose to tight, as far as some plan holds them."""
    if not any(workload.targets for workload in scenario.workloads.values()):
        return
    for factor in LATENCY_FACTORS:
        workloads = {
            name: changed(one, targets=tuple(t._replace(limit_ms=t.limit_ms * factor) for t in one.targets))
            for name, one in scenario.workloads.items()
        }
        solved = solver.of(changed(scenario, workloads=workloads)).cheapest()
        if solved is None and factor <= 1:
            return
        if solved is not None:
            yield _point(solved, factor)


def _by_quality(scenario: Scenario, solver: _Solver) -> Iterator[Point]:
    """The floor is raised above the worst replica of the last point, until nothing is left."""
    floor = 0.0
    for _ in range(MOST_POINTS):
        workloads = {
            name: changed(one, min_quality_fraction=max(one.min_quality_fraction, floor))
            for name, one in scenario.workloads.items()
        }
        resolver = solver.of(changed(scenario, workloads=workloads))
        solved = resolver.cheapest()
        if solved is None:
            return
        worst = _worst_quality(resolver, solved)
        if worst is None:
            return
        yield _point(solved, worst)
        floor = worst + HARDLY_MORE


def _worst_quality(resolver: Resolver, solved: Solved) -> float | None:
    """Of all predicted replicas in use; None when every replica was measured."""
    predicted = [
        (spec, resolver.scenario.workloads[workload]) for workload, spec in solved.specs if spec.model is not None
    ]
    qualities = [figures.quality_fraction for figures in replica_figures(predicted, resolver.catalog)]
    return min(qualities, default=None)


def _by_power(scenario: Scenario, solver: _Solver) -> Iterator[Point]:
    """Power of all servers, owned or not, at levels between that of the cheapest plan and the least possible.

    Where demand may turn out in several ways it is what is expected.
    """
    resolver = solver.of(scenario)
    inst = resolver.instance()
    if inst is None:
        return
    of_offer = {name: server_power_kw(one, solver.catalog.gpus[one.gpu]) for name, one in scenario.inventory.items()}
    horizon = inst.horizon
    likely = np.array([horizon.probabilities[horizon.future_of(term.state)] for term in inst.terms])
    kilowatts = likely * np.array([of_offer[term.offer] for term in inst.terms]) / horizon.n_periods
    var = lay_out(inst)
    columns, amounts = np.append(var.n_servers, var.has_spare), np.append(kilowatts, kilowatts[inst.spot.term])
    yield from _front(resolver, inst, build_program(inst, var), columns, amounts, whole=False)


def _by_gpu_types(scenario: Scenario, solver: _Solver) -> Iterator[Point]:
    """Every number of GPU types from that of the cheapest plan down to the least possible."""
    resolver = solver.of(scenario)
    inst = resolver.instance()
    if inst is None:
        return
    gpus = [scenario.inventory[term.offer].gpu for term in inst.terms]
    var = lay_out(inst)
    program, uses = build_program(inst, var).with_use(var.n_servers, gpus)
    yield from _front(resolver, inst, program, uses, np.ones(len(uses)), whole=True)


def _front(
    resolver: Resolver, inst: Instance, program: Program, columns: IntArray, amounts: FloatArray, *, whole: bool
) -> Iterator[Point]:
    """Least cost under a falling bound on Σ amounts · x[columns], and at that cost the least of that sum."""
    lowest = resolver.solve(program.minimising(columns, amounts), gap=0.0)
    highest = _least_at_least_cost(resolver, inst, program, columns, amounts, np.inf)
    if lowest.values is None or highest is None:
        return
    yield highest
    levels = np.linspace(highest.value, lowest.objective, MOST_POINTS)[1:]
    if whole:
        levels = np.arange(round(highest.value) - 1, round(lowest.objective) - 1, -1)[: MOST_POINTS - 1].astype(float)
    reached = highest.value
    for level in levels.tolist():
        if level >= reached * (1 - HARDLY_MORE):
            continue
        point = _least_at_least_cost(resolver, inst, program, columns, amounts, level)
        if point is None:
            return
        yield point
        reached = point.value


def _least_at_least_cost(
    resolver: Resolver, inst: Instance, program: Program, columns: IntArray, amounts: FloatArray, bound: float
) -> Point | None:
    if np.isfinite(bound):
        program = program.with_row(columns, amounts, bound * (1 + HARDLY_MORE / 10))
    cheapest = resolver.solve(program, gap=0.0)
    if cheapest.values is None:
        return None
    priced = np.flatnonzero(program.objective)
    scale = cheapest.objective or 1.0
    held = program.with_row(priced, program.objective[priced] / scale, cheapest.objective / scale + HARDLY_MORE / 10)
    least = resolver.solve(held.minimising(columns, amounts), gap=0.0)
    values = cheapest.values if least.values is None else least.values
    var = lay_out(inst)
    n_servers = values[var.n_servers] + np.bincount(inst.spot.term, values[var.has_spare], len(inst.terms))
    servers = most_at_once(inst, np.rint(n_servers).astype(np.int64))
    return Point(
        usd_per_hour=cheapest.objective,
        value=float(amounts @ values[columns]),
        servers=listed(servers),
        is_proven=cheapest.outcome == "optimal" and least.outcome == "optimal",
    )


def _point(solved: Solved, value: float) -> Point:
    return Point(solved.usd_per_hour, value, listed(solved.servers), solved.is_proven)
