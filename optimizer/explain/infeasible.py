"""Why there is no plan: what cannot hold together, in the scenario's words, and what was solved and helps."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from catalog import Catalog
from optimizer.candidates import Candidates
from optimizer.errors import SolverError
from optimizer.explain.changes import (
    Finding,
    deliver_at_once,
    let_formats_mix,
    let_it_be_felt,
    limit_of,
    loosen_limit,
    loosen_workloads,
    serve_less,
)
from optimizer.explain.core import (
    LIMITS,
    SHORT,
    Member,
    conflict_core,
    fewest_gpus,
    futures_in_conflict,
    members,
    what_rows_are_worth,
)
from optimizer.explain.loosening import smallest
from optimizer.explain.own import own_conflict
from optimizer.explain.resolver import Change, Resolver, is_large, unservable
from optimizer.formulation import Instance, Program, build_program, lay_out
from optimizer.memory import SENTENCES
from optimizer.plan_notes import Conflict, Infeasibility
from optimizer.scenario import Scenario, in_future, without_workloads
from optimizer.solve import Backend, Limits, solve_program, solve_served, try_solvers

MOST_CONFLICTS = 4
"""Conflicts that are looked for; what is left then is left to the next try."""
MOST_SHARES = 3
"""Workloads of a conflict for which the part of their demand that can be served is named."""
ELASTIC_GAP = 0.01
MOST_LIMITS = 8
"""Members of a conflict, beyond which those that promise most are looked at first."""
MOST_NAMED = 6
SHARE_OF_CONFLICTS, SHARE_OF_SERVED, SHARE_OF_LIMITS = 0.4, 0.4, 0.8
"""Of the time that is left: for what conflicts, for what can be served, and for what limits would do. What is left then
is for what else would help."""
OTHER_REASONS = {
    "quality": "the format's quality is below min_quality",
    "silicon tables": "the tables of measured kernels lack them",
}


@dataclass(frozen=True, slots=True)
class Found:
    """One conflict: the workloads it is about, and its members; none when a workload conflicts with itself."""

    workloads: tuple[str, ...]
    members: tuple[Member, ...]


@dataclass(slots=True)
class Missed:
    """What was not looked for because the time was over."""

    conflicts: bool = False
    served: bool = False
    limits: list[str] = field(default_factory=list)
    workloads: list[str] = field(default_factory=list)

    def words(self) -> tuple[str, ...]:
        parts = [
            "whether fewer demands and limits conflict" if self.conflicts else "",
            f"what would do instead of {_listed(self.limits, ', ')}" if self.limits else "",
            f"what else would help {_listed(self.workloads, ', ')}" if self.workloads else "",
            "what can be served by priority" if self.served else "",
        ]
        return tuple(part for part in parts if part)


def explain_infeasible(
    scenario: Scenario,
    catalog: Catalog,
    candidates: Sequence[Candidates],
    *,
    time_limit_s: float,
    backend: Backend = solve_program,
) -> Infeasibility:
    """A smallest conflict, single changes that were solved and help, and what can be served by priority.

    Where several conflicts have nothing to do with each other, all of them are named; a change helps only together with
    one for each of the others, which is said. `time_limit_s` is for all of it, in seconds of the processor, so that a
    busy machine hides nothing; what was not looked for in that time is said too.
    """
    resolver = Resolver(
        scenario,
        catalog,
        candidates,
        time_limit_s=time_limit_s,
        deadline=time.process_time() + time_limit_s,
        is_hurried=True,
        backend=backend,
    )
    resolver.whole_instance()  # for all that follows
    missed = Missed()
    finding = resolver.for_a_share(SHARE_OF_CONFLICTS)
    found = find_conflicts(finding)
    missed.conflicts = not finding.time_left_s
    serving = resolver.for_a_share(SHARE_OF_SERVED)
    elastic = most_by_priority(serving)
    missed.served = not elastic and not serving.time_left_s
    shared = _shared_limits(resolver, found, missed)
    conflicts, changes = [], []
    for one in found:
        others = {name for other in found if other is not one for name in other.workloads}
        conflict, helping = _explain(resolver.without(*others), one, shared, missed)
        conflicts.append(conflict)
        if not shared or not one.members:
            changes.append(helping)
    if shared:
        changes.append(tuple(finding.change for finding in shared.values() if finding.change))
    texts = [change.text for change in changes[0]] if len(changes) == 1 else _together(resolver, changes)
    return Infeasibility(
        conflict=conflicts[0] if conflicts else (),
        further_conflicts=tuple(conflicts[1:]),
        changes=(*texts, *([elastic] if elastic else [])),
        not_looked_for=missed.words(),
        rejections={
            name: dict(resolver.candidates[name].rejected)
            for one in found
            for name in one.workloads
            if resolver.candidates[name].rejected
        },
    )


def find_conflicts(resolver: Resolver) -> list[Found]:
    """Conflicts with no workload in common, at most MOST_CONFLICTS; every one of them is smallest.

    What a large scenario is short of is one conflict: others would be about the same stock.
    """
    inst = resolver.whole_instance()
    lost = unservable(inst)
    found = [Found((name,), ()) for name in lost[:MOST_CONFLICTS]]
    left = resolver.without(*lost)
    while left.scenario.workloads and len(found) < MOST_CONFLICTS:
        inst = left.whole_instance()
        core = conflict_core(left, inst)
        if not core:
            break
        workloads = tuple(member.index[0] for member in core if member.family == "serve_demand")
        found.append(Found(workloads, core))
        if is_large(build_program(inst, lay_out(inst))):
            break
        left = left.without(*workloads)
    return found


def _shared_limits(resolver: Resolver, found: Sequence[Found], missed: Missed) -> Mapping[tuple[str, ...], Finding]:
    """Limits of several conflicts that, loosened, make an end of all of them at once: by name, what would do."""
    several = [one for one in found if one.members]
    if len(several) < 2:
        return {}
    resolver = resolver.without(*(one.workloads[0] for one in found if not one.members))
    resolver = resolver.for_a_share(SHARE_OF_LIMITS)
    inst = resolver.whole_instance()
    program = build_program(inst, lay_out(inst))
    in_all = set.intersection(*({member.name for member in one.members if member.family in LIMITS} for one in several))
    findings = {}
    for member in (one for one in members(inst) if one.name in in_all):
        finding = loosen_limit(resolver, program, member)
        if finding.change:
            findings[member.name] = finding
        elif not resolver.time_left_s:
            missed.limits.append(limit_of(resolver.scenario, member).name)
    return findings


def _explain(
    resolver: Resolver, found: Found, known: Mapping[tuple[str, ...], Finding], missed: Missed
) -> tuple[tuple[Conflict, ...], tuple[Change, ...]]:
    """A conflict in words, and the changes that make an end of it where it is the only one."""
    if found.members:
        return _of_members(resolver, found, known, missed)
    return _of_one_workload(resolver, found.workloads[0], missed)


def _of_members(
    resolver: Resolver, found: Found, known: Mapping[tuple[str, ...], Finding], missed: Missed
) -> tuple[tuple[Conflict, ...], tuple[Change, ...]]:
    inst = resolver.whole_instance()
    program = build_program(inst, lay_out(inst))
    stated = {(member.family, member.index) for member in found.members}
    mine = [one for one in members(inst) if (one.family, one.index) in stated]
    gpus = fewest_gpus(inst)
    by_size = sorted(found.workloads, key=lambda name: -gpus[name])
    first = resolver.for_a_share(SHARE_OF_LIMITS)
    findings = {}
    futures = futures_in_conflict(first, inst, program, mine)
    for member in _most_helpful_first(inst, mine):
        finding = findings[member.name] = known.get(member.name) or _finding(first, program, member, futures)
        if finding.change is None and member.family in LIMITS and not first.time_left_s:
            missed.limits.append(limit_of(resolver.scenario, member).name)
    conflict = [
        _conflict(resolver.scenario, one.family, one.index, findings[one.name].message, one.key) for one in mine
    ]
    limits = [findings[one.name].change for one in mine]
    if known:
        return tuple(conflict), ()
    largest = [one for name in by_size for one in mine if one.name == ("serve_demand", name)]
    loosened = tuple(loosen_workloads(resolver, program, largest))
    shares = [serve_less(resolver, inst, name) for name in found.workloads if name in by_size[:MOST_SHARES]]
    if not resolver.time_left_s:
        missed.workloads += by_size
    return tuple(conflict), tuple(change for change in (*limits, *loosened, *shares) if change)


def _most_helpful_first(inst: Instance, several: Sequence[Member]) -> Sequence[Member]:
    """Members in the order in which parts of more of them would serve most, where they are many."""
    worth = what_rows_are_worth(inst) if len(several) > MOST_LIMITS else None
    return several if worth is None else sorted(several, key=lambda one: -float(worth[one.rows].max()))


def _finding(resolver: Resolver, program: Program, member: Member, futures: Sequence[str]) -> Finding:
    """A member of a conflict in words, and the change that makes an end of it."""
    if member.family == "serve_demand":
        return Finding(_needs(resolver, member.index[0], futures), None)
    if member.family == "single_format":
        return let_formats_mix(resolver, member.index[0])
    if member.family == "spare_server":
        return let_it_be_felt(resolver, member.index[0])
    if member.family == "fleet_balance":
        return deliver_at_once(resolver, member.index[0])
    if member.family == "spot_spares":
        return Finding("spot servers come with spares for those that are interrupted", None)
    if member.family == "rack_room":
        return Finding(f"hold {sum(resolver.scenario.inventory[member.index[0]].racks.values())} servers", None)
    if member.family == "failure_spares":
        return Finding("servers stand by for those that fail and are repaired", None)
    return loosen_limit(resolver, program, member)


def _of_one_workload(resolver: Resolver, name: str, missed: Missed) -> tuple[tuple[Conflict, ...], tuple[Change, ...]]:
    """A workload that no configuration serves: its own restrictions, or the offers, cannot do it."""
    scenario, candidates = resolver.scenario, resolver.candidates[name]
    conflict = [_conflict(scenario, "serve_demand", (name,), _rejected(candidates), ("workloads", name))]
    changes = []
    for restriction in own_conflict(resolver, name):
        nearest = candidates.nearest_ms.get(restriction.key[-1])
        message = f"{restriction.stands}{f'; the nearest reaches {nearest:.3g} ms' if nearest else ''}"
        conflict.append(
            _conflict(scenario, restriction.key[-1], (name,), message, ("workloads", name, *restriction.key))
        )
        changes.append(smallest(resolver, name, restriction))
    if not any(changes):
        leave_out = Change(f"{name}: leave it out", lambda other: without_workloads(other, name))
        changes = [leave_out] if len(scenario.workloads) > 1 and resolver.is_feasible(leave_out) else []
    if not resolver.time_left_s:
        missed.workloads.append(name)
    return tuple(conflict), tuple(change for change in changes if change)


def _together(resolver: Resolver, changes: Sequence[Sequence[Change]]) -> list[str]:
    """One change for each conflict, the first ones that are feasible together."""
    if not changes or not all(changes):
        return []
    for pick in (0, -1):
        chosen = [one[pick] for one in changes]
        rerated = tuple(name for change in chosen for name in change.rerated)
        text = "all of these at once: " + "; ".join(change.text for change in chosen)
        at_once = Change(text, partial(_applied, tuple(chosen)), rerated)
        if resolver.is_feasible(at_once):
            return [text]
    return []


def _applied(changes: Sequence[Change], scenario: Scenario) -> Scenario:
    for change in changes:
        scenario = change.apply(scenario)
    return scenario


def most_by_priority(resolver: Resolver) -> str:
    """What can be served of all demand as things are, by priority; empty when that is nothing or was not found."""
    inst = resolver.whole_instance()
    inst = inst.with_droppable(np.ones(len(inst.workload_names), bool))
    prices = build_program(inst, lay_out(inst)).objective
    limits = Limits(gap=ELASTIC_GAP, time_limit_s=resolver.time_left_s)
    try:
        served = try_solvers(
            resolver.solver,
            lambda solver: solve_served(inst, limits, solver, backend=resolver.at(prices), then_cheapest=False),
        ).result
    except SolverError:
        served = None
    if served is None or not served.share.any():
        return ""
    asked = sum(level.demand_rps for level in served.levels)
    share = sum(level.served_rps for level in served.levels) / asked if asked else 1.0
    # [states, W] expected requests/s; a workload is named for what it lacks in all of them.
    horizon = inst.horizon
    probability = np.array([horizon.probabilities[horizon.future_of(t)] for t in range(horizon.n_states)])
    demand_rps = np.bincount(inst.workload_of_demand, inst.demand_rps, len(inst.workload_names))
    demand_rps = probability[:, None] * demand_rps.reshape(horizon.n_states, -1)
    carried_rps = (demand_rps * served.share.reshape(demand_rps.shape)).sum(axis=0)
    names, total_rps = list(resolver.scenario.workloads), demand_rps.sum(axis=0)
    fraction = np.divide(carried_rps, total_rps, out=np.ones_like(total_rps), where=total_rps > 0)
    order = sorted(range(len(names)), key=lambda w: (-inst.priority[w], fraction[w]))
    dropped = [
        names[w] if fraction[w] == 0 else f"{_per_cent_up(1 - fraction[w])} of {names[w]}"
        for w in order
        if fraction[w] < 1
    ]
    expected = "expected " if resolver.scenario.demand_scenarios else ""
    return f"serve {math.floor(100 * share)}% of {expected}demand, by priority: drop {_listed(dropped)}"


def _per_cent_up(fraction: float) -> str:
    """Whole per cent, rounded up: dropping less might not be enough."""
    return f"{math.ceil(100 * (fraction - SHORT))}%"


def _listed(names: Sequence[str], between: str = ", then ") -> str:
    """`a, then b, then c`; a long list is cut."""
    shown = list(names[:MOST_NAMED])
    more = len(names) - len(shown)
    return between.join(shown) + (f" and {more} more" if more else "")


def _conflict(scenario: Scenario, family: str, index: Sequence[str], message: str, key: Sequence[str]) -> Conflict:
    location = scenario.location(*key)
    where = str(location) if location else None
    return Conflict(family=family, index=",".join(index) or None, message=message, location=where)


def _needs(resolver: Resolver, name: str, futures: Sequence[str]) -> str:
    """What a workload asks for in some demand scenarios, or all, and the fewest GPUs that could carry it alone."""
    workload, c = resolver.scenario.workloads[name], resolver.candidates[name]
    asking = [in_future(resolver.scenario, future) for future in futures] or [resolver.scenario]
    demand_rps = max(scenario.highest_demand_rps(name) for scenario in asking)
    shares = np.array([one.share_fraction for one in workload.request_classes])
    with np.errstate(divide="ignore"):
        busy = (demand_rps * shares / c.rate_rps).sum(axis=1)
    gpus = np.ceil(busy / resolver.scenario.max_utilization_fraction - 1e-9) * c.gpus_per_replica
    fewest = ""
    if np.isfinite(gpus).any():
        k = int(np.argmin(gpus))
        plural = "s" if gpus[k] > 1 else ""
        cards = " and ".join(dict.fromkeys(c.specs[k].cards))
        fewest = f"; at least {gpus[k]:,.0f} GPU{plural} of {cards} ({c.specs[k].label})"
    most = "up to " if resolver.scenario.has_orders else ""
    where = f"in demand scenario {' or '.join(futures)} " if futures else ""
    return f"{where}needs {most}{demand_rps:.4g} requests/s{fewest}"


def _rejected(c: Candidates) -> str:
    """Why configurations cannot be used, the commonest reason first."""
    sentences = {**SENTENCES, **OTHER_REASONS, **{key: f"they miss {key}" for key in c.nearest_ms}}
    reasons = [
        f"{count:,} because {sentences.get(key, key)}"
        for key, count in sorted(c.rejected.items(), key=lambda item: (-item[1], item[0]))
    ]
    return f"none of {c.n_evaluated:,} configurations serves every class: {'; '.join(reasons) or 'no offer'}"
