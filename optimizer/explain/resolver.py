"""Solves variants of one scenario; what a variant does not touch is not computed again."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from catalog import Catalog
from optimizer.candidates import Candidates, ReplicaSpec, alone_rps, build_candidates, narrowed
from optimizer.errors import InputError, SolverError
from optimizer.formulation import Instance, Program, build_instance, build_program, lay_out
from optimizer.scenario import Scenario, changed, without_workloads
from optimizer.serving_config import FloatArray, IntArray
from optimizer.solve import (
    Backend,
    Solution,
    SolverName,
    check_solution,
    decide,
    solve_near,
    solve_program,
    try_solvers,
)

GAP = 0.001
"""Amounts named in an explanation are within this of the least."""
FASTEST: SolverName = "highs"
"""On programs of this size it answers several times as fast as SCIP (`make bench`)."""
LARGE = 4000
"""Integer columns of a program beyond which its solutions are looked for near its relaxation: a solver proves smaller
ones in a tenth of a second, and takes many seconds for some of three times as many."""


class Choice(NamedTuple):
    """A kind of replica that a plan may use for a workload."""

    workload: str
    offer: str
    structure: str
    """Model, weight format and degrees: `Qwen/Qwen3-14B fp8 tp2`."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that could be otherwise in a scenario."""

    text: str
    """In the scenario's words: `ttft_p95 of chat 80 ms → 118 ms`."""
    apply: Callable[[Scenario], Scenario]
    rerated: tuple[str, ...] = ()
    """Workloads whose candidates the change concerns."""
    forbidden: frozenset[Choice] = frozenset()
    """Replicas that may not be used."""
    only: Mapping[str, frozenset[Choice]] = field(default_factory=dict)
    """Workload -> the only replicas that it may use."""
    speed: Mapping[str, float] = field(default_factory=dict)
    """Card -> its replicas' rates as a multiple of what is predicted or measured."""


@dataclass(frozen=True, slots=True)
class Solved:
    """The cheapest plan of a variant."""

    inst: Instance
    program: Program
    values: FloatArray
    usd_per_hour: float
    is_proven: bool
    """Nothing is cheaper; otherwise the time was over before that was known."""
    replicas: Mapping[Choice, int]
    """Kinds of replicas in use, and how many; over several periods the most at a time."""
    specs: tuple[tuple[str, ReplicaSpec], ...]
    """(workload, specification) of every candidate in use."""
    servers: Mapping[tuple[str, str], int]
    """(offer, label of the term) -> servers; over several periods the most in use at a time."""


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
        deadline: float = math.inf,
        is_hurried: bool = False,
        backend: Backend = solve_program,
    ) -> None:
        """`time_limit_s` is for each solve; none goes on after `deadline`, by `time.process_time`.

        One that is hurried looks for solutions of large programs near their relaxations only, and proves less.
        """
        self.scenario, self.catalog = scenario, catalog
        self.solver, self.time_limit_s, self.backend = solver, time_limit_s, backend
        self.deadline, self.is_hurried = deadline, is_hurried
        self.candidates: Mapping[str, Candidates] = {c.workload: c for c in candidates}
        self.n_solves = 0
        self._whole: Instance | None = None
        self.knows_every_structure = False
        self._narrowed: dict[Hashable, Candidates] = {}
        self._choices: dict[int, tuple[Candidates, list[Choice]]] = {}  # by identity, which the entry keeps alive

    @classmethod
    def of_every_structure(
        cls,
        scenario: Scenario,
        catalog: Catalog,
        known: Sequence[Candidates] = (),
        *,
        time_limit_s: float = 10.0,
        deadline: float = math.inf,
        backend: Backend = solve_program,
    ) -> Resolver:
        """A resolver that can also forbid replicas and make cards slower or faster, and so knows more candidates.

        Workloads whose candidates are known have no others.
        """
        found = {one.workload: one for one in known}
        rated = build_candidates(without_workloads(scenario, *found), catalog, every_structure=True)
        found |= {one.workload: one for one in rated}
        resolver = cls(
            scenario,
            catalog,
            [found[name] for name in scenario.workloads],
            time_limit_s=time_limit_s,
            deadline=deadline,
            backend=backend,
        )
        resolver.knows_every_structure = True
        return resolver

    def without(self, *names: str) -> Resolver:
        """The same for the scenario without some of its workloads."""
        return self._other(without_workloads(self.scenario, *names), self.deadline) if names else self

    def for_a_share(self, of_time_left: float) -> Resolver:
        """The same with an earlier deadline: after this share of the time that is left."""
        other = self._other(self.scenario, time.process_time() + of_time_left * self.time_left_s)
        other._whole = self._whole
        return other

    def _other(self, scenario: Scenario, deadline: float) -> Resolver:
        return Resolver(
            scenario,
            self.catalog,
            [self.candidates[name] for name in scenario.workloads],
            solver=self.solver,
            time_limit_s=self.time_limit_s,
            deadline=deadline,
            is_hurried=self.is_hurried,
            backend=self.backend,
        )

    @property
    def time_left_s(self) -> float:
        return max(0.0, self.deadline - time.process_time())

    def whole_instance(self) -> Instance:
        """The instance of the scenario as it is, whether or not each class has a candidate; limits can be left out."""
        if self._whole is None:
            candidates = list(self.candidates.values())
            try:
                self._whole = build_instance(self.scenario, self.catalog, candidates, beyond_limits=True)
            except InputError:  # too many servers to place replicas on; then those that there are
                self._whole = build_instance(self.scenario, self.catalog, candidates)
        return self._whole

    def instance(self, change: Change | None = None) -> Instance | None:
        """The instance of the scenario with a change made; None when some class then has no candidate."""
        scenario = self.scenario if change is None else change.apply(self.scenario)
        inst = build_instance(scenario, self.catalog, self._candidates_of(scenario, change or AS_IT_IS))
        return None if unservable(inst) else inst

    def rate(self, scenario: Scenario, name: str) -> Candidates:
        """The candidates of one workload of a scenario."""
        alone = changed(scenario, workloads={name: scenario.workloads[name]})
        (candidates,) = build_candidates(alone, self.catalog, every_structure=self.knows_every_structure)
        return candidates

    def _candidates_of(self, scenario: Scenario, change: Change) -> list[Candidates]:
        return [self._candidates(scenario, name, change) for name in scenario.workloads]

    def _candidates(self, scenario: Scenario, name: str, change: Change) -> Candidates:
        candidates = self.rate(scenario, name) if name in change.rerated else self.candidates[name]
        if not self.knows_every_structure:
            return candidates
        workload = scenario.workloads[name]
        demand_rps = alone_rps(name, scenario)
        forbidden = frozenset(choice for choice in change.forbidden if choice.workload == name)
        speed = np.array([min(change.speed.get(gpu, 1.0) for gpu in spec.cards) for spec in candidates.specs])
        key = (
            name,
            demand_rps,
            workload.single_format,
            forbidden,
            change.only.get(name),
            speed.tobytes(),
        )
        if name not in change.rerated and key in self._narrowed:
            return self._narrowed[key]
        choices = self.choices(candidates)
        only = change.only.get(name, frozenset(choices))
        keep = np.array([choice in only and choice not in forbidden for choice in choices], bool)
        fewer = narrowed(candidates, workload, demand_rps, keep, candidates.rate_rps * speed[:, None])
        if name not in change.rerated:
            self._narrowed[key] = fewer
        return fewer

    def choices(self, candidates: Candidates) -> list[Choice]:
        """[K] what kind of replica each candidate is."""
        if id(candidates) not in self._choices:
            offers = list(self.scenario.inventory)
            names = [
                Choice(candidates.workload, offers[s], spec.structure)
                for s, spec in zip(candidates.offer.tolist(), candidates.specs, strict=True)
            ]
            self._choices[id(candidates)] = (candidates, names)
        return self._choices[id(candidates)][1]

    def is_feasible(self, change: Change | None = None) -> bool:
        """Whether some plan was found that meets every requirement."""
        if not self.time_left_s:
            return False
        inst = self.instance(change)
        if inst is None:
            return False
        program = build_program(inst, lay_out(inst))
        return self.solve(anything(program), prices=program.objective).values is not None

    def is_impossible(self, change: Change | None = None) -> bool:
        """Whether it is proven that no plan meets every requirement."""
        inst = self.instance(change)
        if inst is None:
            return True
        program = build_program(inst, lay_out(inst))
        return self.solve(anything(program), prices=program.objective).outcome == "infeasible"

    def cheapest(
        self,
        change: Change | None = None,
        *,
        gap: float = 0.0,
        holding: Callable[[Instance, Program], Program] = lambda _inst, program: program,
    ) -> Solved | None:
        """The cheapest plan with a change made, proven to a gap; None when there is none, or none was found.

        `holding` adds rows to the program.
        """
        scenario = (change or AS_IT_IS).apply(self.scenario)
        candidates = self._candidates_of(scenario, change or AS_IT_IS)
        inst = build_instance(scenario, self.catalog, candidates)
        if unservable(inst):
            return None
        var = lay_out(inst)
        program = holding(inst, build_program(inst, var))
        solution = self.solve(program, gap=gap)
        if solution.values is None:
            return None
        decision = decide(inst, var, solution.values)
        choices = [choice for c in candidates for choice in self.choices(c)]
        specs = [(c.workload, spec) for c in candidates for spec in c.specs]
        by_period = decision.n_replicas.reshape(inst.horizon.n_states, len(choices))  # sets hold a copy for each
        replicas: Counter[Choice] = Counter()
        for period in by_period:
            at_once: Counter[Choice] = Counter()
            for k in np.flatnonzero(period).tolist():
                at_once[choices[k]] += int(period[k])
            replicas |= at_once
        n_servers = decision.n_servers + inst.spot.all_needed(decision.n_servers)
        return Solved(
            inst=inst,
            program=program,
            values=solution.values,
            usd_per_hour=solution.objective,
            is_proven=solution.outcome == "optimal",
            replicas=replicas,
            specs=tuple(specs[k] for k in np.flatnonzero(by_period.any(axis=0)).tolist()),
            servers=most_at_once(inst, n_servers),
        )

    def solve(self, program: Program, gap: float = GAP, *, prices: FloatArray | None = None) -> Solution:
        """The answer of the first solver that gives one; `no_plan` when none found anything in time.

        `prices` [N] tell solutions of a large program apart that are equally good; None = its objective does.
        """
        self.n_solves += 1
        limit_s = min(self.time_limit_s, self.time_left_s)
        if not limit_s:
            return NOT_SOLVED

        def attempt(solver: SolverName) -> Solution | None:
            solution = backend(program, solver=solver, gap=gap, time_limit_s=limit_s)
            check_solution(program, solution, solver)
            return None if solution.outcome == "no_plan" else solution

        backend = self.at(program.objective if prices is None else prices)
        try:
            return try_solvers(self.solver, attempt).result or NOT_SOLVED
        except SolverError:
            return NOT_SOLVED

    def at(self, prices: FloatArray) -> Backend:
        """What solves programs as they are solved here, large ones by prices [N]."""

        def solve(program: Program, *, gap: float = 0.0, time_limit_s: float = math.inf, **how: Any) -> Solution:
            if self.is_hurried and is_large(program):
                return solve_near(program, prices, gap=gap, time_limit_s=time_limit_s, backend=self.backend)
            return self.backend(program, gap=gap, time_limit_s=time_limit_s, **how)

        return solve


NOT_SOLVED = Solution("no_plan", None, np.inf, 0.0)


def is_large(program: Program) -> bool:
    """Whether a solver cannot be expected to prove a solution in little time."""
    return int(program.is_integer.sum()) > LARGE


def most_at_once(inst: Instance, n_servers: IntArray) -> dict[tuple[str, str], int]:
    """(offer, label of the term) -> servers of counts [H], over several periods the most; without those not used."""
    most: dict[tuple[str, str], int] = {}
    for term, n in zip(inst.terms, n_servers.tolist(), strict=True):
        if n > most.get((term.offer, term.label), 0):
            most[term.offer, term.label] = n
    return most


def listed(servers: Mapping[tuple[str, str], int]) -> tuple[str, ...]:
    """`2 × h100-node (rent)` of each."""
    return tuple(f"{n} × {offer} ({label})" for (offer, label), n in servers.items())


def unchanged(scenario: Scenario) -> Scenario:
    """What a change applies that is not about the scenario but about replicas."""
    return scenario


AS_IT_IS = Change("as it is", unchanged)


def anything(program: Program) -> Program:
    """The program without an objective: any solution will do."""
    return replace(program, objective=np.zeros_like(program.objective))


def can_be_served(candidates: Candidates) -> bool:
    """Whether every class of the workload has a candidate."""
    return bool((candidates.rate_rps > 0).any(axis=0).all())


def unservable(inst: Instance) -> tuple[str, ...]:
    """Workloads of which some class has no candidate at all, and that must be served."""
    lost = np.setdiff1d(np.arange(len(inst.demand_names)), np.append(inst.demand_of_load, inst.droppable_demands))
    return tuple(dict.fromkeys(inst.demand_names[d][0] for d in lost))
