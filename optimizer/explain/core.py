"""Which demands and limits of a scenario cannot hold together: a smallest set, none of which can be left out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from optimizer.explain.resolver import Resolver, anything, is_large
from optimizer.formulation import Instance, Program, build_program, lay_out, row_names
from optimizer.serving_config import FloatArray, IntArray
from optimizer.solve import Solution, relaxation

SCENARIO_KEYS: dict[str, tuple[int, tuple[str, ...]]] = {
    # family: (how many parts of its index name the scenario's key, the key; numbers stand for parts of the index)
    "serve_demand": (1, ("workloads", "0")),
    "single_format": (1, ("workloads", "0", "single_format")),
    "spare_server": (1, ("workloads", "0", "spare")),
    "spot_spares": (1, ("inventory", "0", "spot")),
    "failure_spares": (1, ("inventory", "0", "failures")),
    "fleet_balance": (1, ("inventory", "0", "buy", "lead_time")),
    "power_cap": (0, ("facility", "power_cap")),
    "monthly_budget": (0, ("budget", "monthly")),
    "capex_budget": (0, ("budget", "capex")),
    "capex_per_period": (1, ("budget", "capex_per_period")),
    "offer_limits": (2, ("inventory", "0", "1")),
    "rack_room": (1, ("inventory", "0", "racks")),
    "order_limits": (2, ("inventory", "0", "1")),
}
"""Families that a user states and can loosen, in the order in which they are tried to be left out; the rows of all
others are what serving means, or that servers are there only if they were ordered (`commitments`, and `fleet_balance`
but for its rows of periods in which nothing that is bought has arrived yet)."""
LIMITS = ("power_cap", "monthly_budget", "capex_budget", "capex_per_period", "offer_limits", "order_limits")
"""Those of them that hold an amount to a limit."""
COUNTED = ("offer_limits", "order_limits")
"""… of servers of an offer on a term."""
WITH_DEMAND = ("single_format", "choose_format", "spare_server")
"""Families that ask something only of workloads that are served."""
ROUNDING = 1e-5
"""How far a row may be from holding, relative to its terms, and hold."""
SHORT = 1e-7
"""Of demand, or of what a row is worth: less is rounding."""


@dataclass(frozen=True, slots=True)
class Member:
    """The rows of one family that come from one key of the scenario."""

    family: str
    index: tuple[str, ...]
    """Names of the key: (workload,), (offer, term) or ()."""
    rows: IntArray

    @property
    def name(self) -> tuple[str, ...]:
        return self.family, *self.index

    @property
    def key(self) -> tuple[str, ...]:
        """Where it stands in the scenario."""
        names = [name.split(" ")[0] if self.family in COUNTED and i else name for i, name in enumerate(self.index)]
        return tuple(names[int(part)] if part.isdigit() else part for part in SCENARIO_KEYS[self.family][1])


def members(inst: Instance) -> tuple[Member, ...]:
    """Every demand and limit of an instance: families in the order of SCENARIO_KEYS, small demands first."""
    rows: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    of_workload: dict[str, list[int]] = {}
    in_time = {f"fleet_balance[{inst.term_name(h)}]" for h in bought_in_time(inst)}
    for row, name in enumerate(row_names(inst, lay_out(inst))):
        family, _, rest = name.partition("[")
        parts = rest.removesuffix("]").split(",")
        if family in SCENARIO_KEYS and name not in in_time:
            rows.setdefault((family, tuple(parts[: SCENARIO_KEYS[family][0]])), []).append(row)
        if family in WITH_DEMAND:
            of_workload.setdefault(parts[0], []).append(row)
    size = fewest_gpus(inst)
    order = list(SCENARIO_KEYS)

    def rank(key: tuple[str, tuple[str, ...]]) -> tuple[int, float]:
        family, index = key
        return order.index(family), size[index[0]] if family == "serve_demand" else 0.0

    return tuple(
        Member(family, index, np.array([*found, *(of_workload.get(index[0], []) if family == "serve_demand" else [])]))
        for (family, index), found in sorted(rows.items(), key=lambda item: rank(item[0]))
    )


def bought_in_time(inst: Instance) -> list[int]:
    """Terms of bought servers that can have arrived in their period."""
    orders, n_offers = inst.orders, len(inst.offer_names) // inst.horizon.n_states
    is_purchase = np.array([months is None for months in orders.term_months], bool)
    arrived = [is_purchase & orders.serves(period) for period in range(inst.horizon.n_periods)]
    return [
        h
        for h, term in enumerate(inst.terms)
        if term.term == "buy"
        and (arrived[inst.horizon.period_of(term.state)] & (orders.offer == inst.offer_of_term[h] % n_offers)).any()
    ]


def workloads_of_a_period(inst: Instance) -> tuple[str, ...]:
    """The scenario's names, without periods."""
    n_workloads = len(inst.workload_names) // inst.horizon.n_states
    return tuple(name.removesuffix(inst.horizon.suffix(0)) for name in inst.workload_names[:n_workloads])


def fewest_gpus(inst: Instance) -> dict[str, float]:
    """Workload -> GPUs that would carry it when it is largest, in fractions of replicas, where that takes fewest."""
    busy = np.zeros(len(inst.candidate_names))
    np.add.at(busy, inst.candidate_of_load, inst.busy_replicas)
    n_classes = np.bincount(inst.workload_of_demand, minlength=len(inst.workload_names))
    n_served = np.bincount(inst.candidate_of_load, minlength=len(busy))
    serves_all = n_served == n_classes[inst.workload_of_candidate]
    fewest = np.full(len(inst.workload_names), np.inf)
    gpus = np.where(serves_all, busy * inst.gpus_per_replica, np.inf)
    np.minimum.at(fewest, inst.workload_of_candidate, gpus)
    largest = fewest.reshape(inst.horizon.n_states, -1).max(axis=0)
    return dict(zip(workloads_of_a_period(inst), largest.tolist(), strict=True))


def freed(program: Program, left_out: Sequence[Member]) -> Program:
    """The program with the rows of some members no longer asking for anything."""
    rows = np.concatenate([np.zeros(0, np.int64), *(member.rows for member in left_out)])
    lower, upper = program.row_lower.copy(), program.row_upper.copy()
    lower[rows], upper[rows] = -np.inf, np.inf
    return replace(program, row_lower=lower, row_upper=upper)


def conflict_core(resolver: Resolver, inst: Instance) -> tuple[Member, ...]:
    """A set of members that is proven to be impossible together, while it is possible when any of them is left out.

    Members are tried to be left out in the order of `members`, many at a time as long as what stays is impossible. One
    of which that could not be decided within the time limit stays. Empty when the instance is not proven impossible.
    Where even parts of replicas and servers cannot serve a large instance, it is about the fewest of its largest
    workloads of which that is true, and what is possible is what is possible in parts.
    """
    program = build_program(inst, lay_out(inst))
    fewest = _fewest_in_conflict(inst) if is_large(program) else frozenset()
    if fewest:
        resolver = resolver.without(*(name for name in resolver.scenario.workloads if name not in fewest))
        inst = resolver.whole_instance()
        program = build_program(inst, lay_out(inst))
    everything, prices, program = members(inst), program.objective, anything(program)

    def without(left_out: Sequence[Member]) -> Solution:
        rest = freed(program, left_out)
        if fewest and resolver.time_left_s:
            return relaxation(rest)
        return resolver.solve(rest, prices=prices)

    left_out: list[Member] = []
    needed: set[Hashable] = set()
    pending: list[Sequence[Member]] = [everything]
    if not fewest and without([]).outcome != "infeasible":
        return ()
    kinds = kinds_of_demand(inst)

    def kind(member: Member) -> Hashable:
        return kinds[member.index[0]] if member.family == "serve_demand" else member.name

    while pending:
        several = [one for one in pending.pop() if kind(one) not in needed]
        if not several:
            continue
        solution = without([*left_out, *several])
        if solution.outcome == "infeasible":
            left_out += several
            continue
        broken = several if solution.values is None else broken_by(solution.values, program, several)
        if len(several) > 1 and len(broken) > 1:
            half = len(several) // 2
            pending += [several[half:], several[:half]]
            continue
        # A solution that breaks one member only shows that it is possible without that one. What is possible without a
        # demand is possible without a larger one of the same kind, which comes later.
        needed |= {kind(one) for one in broken}
        pending.append([one for one in several if one not in broken])
    gone = {member.name for member in left_out}
    return tuple(member for member in everything if member.name not in gone)


def broken_by(values: FloatArray, program: Program, some: Sequence[Member]) -> list[Member]:
    """Those members whose rows do not hold."""
    total = np.bincount(program.row, program.coefficient * values[program.column], len(program.row_upper))
    size = np.bincount(program.row, np.abs(program.coefficient * values[program.column]), len(program.row_upper))
    slack = ROUNDING * (1 + size)
    holds = (total >= program.row_lower - slack) & (total <= program.row_upper + slack)
    return [one for one in some if not holds[one.rows].all()]


def _fewest_in_conflict(inst: Instance) -> frozenset[str]:
    """The fewest of the largest workloads that cannot be served together even by parts of replicas and servers.

    Of those that are worth anything to the proof that not all can be served; none where all can in that way.
    """
    worth = what_rows_are_worth(inst)
    if worth is None:
        return frozenset()
    demands = [member for member in members(inst) if member.family == "serve_demand"]
    largest_first = [one for one in reversed(demands) if (worth[one.rows] > SHORT).any()]
    others = [one for one in demands if one not in largest_first]
    whole = anything(build_program(inst, lay_out(inst)))
    low, high = 0, len(largest_first)  # low can be served together, high cannot
    while high - low > 1:
        middle = (low + high) // 2
        is_possible = relaxation(freed(whole, [*others, *largest_first[middle:]])).outcome != "infeasible"
        low, high = (middle, high) if is_possible else (low, middle)
    return frozenset(one.index[0] for one in largest_first[:high])


def futures_in_conflict(
    resolver: Resolver, inst: Instance, program: Program, conflict: Sequence[Member]
) -> tuple[str, ...]:
    """Demand scenarios of which each alone cannot hold together with the limits of a conflict; none where all are at
    odds only together, or there are no two."""
    names = inst.horizon.future_names
    if len(names) < 2:
        return ()
    stated = {one.name for one in conflict}
    others = freed(anything(program), [one for one in members(inst) if one.name not in stated])
    of_row = [_future_of_row(name, inst) for name in row_names(inst, lay_out(inst))]
    found = []
    for future in names:
        elsewhere = np.flatnonzero([of not in (None, future) for of in of_row])
        alone = freed(others, [Member("serve_demand", (), elsewhere)])
        if resolver.solve(alone, prices=program.objective).outcome == "infeasible":
            found.append(future)
    return tuple(found)


def _future_of_row(name: str, inst: Instance) -> str | None:
    """The future in which a row asks something of a workload."""
    family, _, rest = name.partition("[")
    horizon = inst.horizon
    states = range(horizon.n_states) if family in ("serve_demand", *WITH_DEMAND) else ()
    suffixes = {horizon.suffix(state): horizon.future_names[horizon.future_of(state)] for state in states}
    return next((of for suffix, of in suffixes.items() if rest.removesuffix("]").endswith(suffix)), None)


def what_rows_are_worth(inst: Instance) -> FloatArray | None:
    """[M] how much more parts of replicas and servers could serve, were a row a little looser.

    Each workload counts as the fewest GPUs that would carry it. None where all can be served in that way.
    """
    partly = inst.with_droppable(np.ones(len(inst.workload_names), bool))
    var = lay_out(partly)
    gpus = np.tile(list(fewest_gpus(inst).values()), inst.horizon.n_states)
    served = relaxation(build_program(partly, var).minimising(var.unserved, np.where(np.isfinite(gpus), gpus, 1.0)))
    return None if served.row_duals is None or served.objective < SHORT else np.abs(served.row_duals)


def kinds_of_demand(inst: Instance) -> dict[str, Hashable]:
    """Workload -> what is equal for workloads that the same replicas serve, at the same rates in the same mix.

    Over several states one demand need not be the smaller one in each of them, so that each is of its own kind.
    """
    if inst.horizon.n_states > 1:
        return {name: name for name in workloads_of_a_period(inst)}
    kinds: dict[str, Hashable] = {}
    rate_rps = inst.demand_rps[inst.demand_of_load] / inst.busy_replicas
    for w, name in enumerate(inst.workload_names):
        mine, demands = inst.workload_of_candidate == w, inst.demand_rps[inst.workload_of_demand == w]
        loads = mine[inst.candidate_of_load]
        choice = np.unique(inst.choice_of_load[loads], return_inverse=True)[1]
        arrays = (
            inst.offer_of_candidate[mine],
            inst.gpus_per_replica[mine],
            inst.footprint.offer[mine[inst.footprint.candidate]],
            rate_rps[loads],
            choice,
            demands / demands.sum(),
        )
        kinds[name] = (inst.spare[w], *(np.round(array, 9).tobytes() for array in arrays))
    return kinds
