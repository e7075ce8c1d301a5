"""Why a plan is as it is: reasons, margins and flips, all from solving its scenario again with something changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from catalog import Catalog
from optimizer.errors import InputError
from optimizer.explain.break_even import BreakEven, break_evens
from optimizer.explain.flips import Flip, demand_flips, price_flips, speed_flips
from optimizer.explain.margins import Margin, binding_limits, changes_of_workload, changes_worth_knowing, margin
from optimizer.explain.planned import planned_candidates
from optimizer.explain.reasons import Reason, reason, used_choices
from optimizer.explain.resolver import Resolver
from optimizer.layout import Layout
from optimizer.scenario import Scenario, changed, with_factors, without_workloads
from optimizer.solve import Backend, solve_program

MOST_REASONS = 6
"""Kinds of replicas explained when no workload is named, those with the most GPUs."""
MOST_PAIRS = 200
"""Workloads times offers, up to which every workload is rated anew; beyond, those of the kinds explained."""
TIME_LIMIT_S = 4.5
"""Of an explanation, unless more is asked for."""
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a plan is as it is; USD per hour throughout."""

    scenario: str
    workload: str | None
    """The one that was asked about; None = the whole plan."""
    usd_per_hour: float
    """Of the cheapest plan, solved again to the last cent."""
    plan_usd_per_hour: float
    reasons: tuple[Reason, ...]
    n_more_choices: int
    """Kinds of replicas that are not explained here; ask for their workload."""
    binds: tuple[str, ...]
    """Limits that the plan uses up."""
    margins: tuple[Margin, ...]
    flips: tuple[Flip, ...]
    break_evens: tuple[BreakEven, ...]
    n_solves: int
    n_kept: int
    """Workloads that keep to the kinds of replicas that they have in the plan, because there are many."""
    not_looked_for: tuple[str, ...]
    """What the time did not reach."""


def explain_plan(
    layout: Layout,
    scenario: Scenario,
    catalog: Catalog,
    workload: str | None = None,
    *,
    time_limit_s: float = TIME_LIMIT_S,
    progress: Callable[[str], None] = lambda _message: None,
    backend: Backend = solve_program,
) -> Explanation:
    """Explain a sound plan of a scenario, or how it serves one workload.

    `catalog` holds the scenario's own models. The number of solves is bounded, whatever the size of the plan, and so is
    the processor's time for all of them together; what was not looked for in that time is said.

    Raises:
        InputError: the plan has no cost to explain, no such workload, or serves nothing (of it).
    """
    started = time.process_time()
    if layout.cost is None:
        raise InputError(f"{layout.scenario}: this is no plan but {layout.status}; there is nothing to explain")
    if workload is not None and workload not in scenario.workloads:
        raise InputError(f"{layout.scenario}: no workload {workload}; there is {', '.join(scenario.workloads)}")
    asked = as_served(layout, scenario)
    if workload is not None and workload not in asked.workloads:
        raise InputError(f"{layout.scenario}: the plan serves nothing of {workload}; explain it without a workload")
    progress("rating candidates")
    choices = {choice: groups for choice, groups in used_choices(layout).items() if workload in (None, choice.workload)}
    by_gpus = sorted(choices, key=lambda choice: -sum(g.replicas * g.gpus_per_replica for g in choices[choice]))
    explained = by_gpus[:MOST_REASONS]
    is_much = len(asked.workloads) * len(asked.inventory) > MOST_PAIRS
    looked_at = {choice.workload for choice in explained} if is_much else set(asked.workloads)
    kept = [planned_candidates(layout, asked, name) for name in asked.workloads if name not in looked_at]
    resolver = Resolver.of_every_structure(
        asked, catalog, kept, time_limit_s=time_limit_s, deadline=started + time_limit_s, backend=backend
    )
    base = resolver.cheapest()
    if base is None:
        raise InputError(
            f"{layout.scenario}: no plan was found within {time_limit_s:g} s; give more with --time-limit, or name a"
            " workload"
        )
    names = () if workload is None else (workload,)
    if workload is None:
        binding = frozenset(
            (choice.workload, str(g.limit))
            for choice in by_gpus
            for g in choices[choice]
            if choice.workload in looked_at
        )
        changes = list(changes_worth_knowing(asked, base, binding))
    else:
        changes = list(changes_of_workload(asked.workloads[workload], workload))
    searches = [demand_flips(resolver, base, *names), speed_flips(resolver, base, *names)]
    looking = _Looking(resolver, progress)
    reasons = looking.at("runner-ups", (reason(resolver, base, choice, choices[choice]) for choice in explained))
    margins = looking.at("margins", (margin(resolver, base, change) for change in changes))
    flips = looking.at("thresholds", chain(*(searches if workload else (price_flips(resolver, base), *searches))))
    return Explanation(
        scenario=layout.scenario,
        workload=workload,
        usd_per_hour=base.usd_per_hour,
        plan_usd_per_hour=layout.cost.usd_per_hour,
        reasons=tuple(reasons),
        n_more_choices=len(by_gpus) - len(reasons),
        binds=tuple(binding_limits(asked, base)),
        margins=tuple(margins),
        flips=tuple(flips),
        break_evens=() if workload else tuple(break_evens(asked, base.inst)),
        n_solves=resolver.n_solves,
        n_kept=len(kept),
        not_looked_for=tuple(looking.missed),
    )


class _Looking:
    """Answers as long as there is time, and what it did not reach."""

    def __init__(self, resolver: Resolver, progress: Callable[[str], None]) -> None:
        self.resolver, self.progress = resolver, progress
        self.missed: list[str] = []

    def at(self, what: str, answers: Iterator[Answer]) -> list[Answer]:
        """The answers that were found in time; the last may have been cut short, and then is none."""
        found: list[Answer] = []
        while self.resolver.time_left_s:
            self.progress(f"{what}: {self.resolver.n_solves} plans solved")
            try:
                answer = next(answers)
            except StopIteration:
                return found
            if self.resolver.time_left_s:
                found.append(answer)
        self.missed.append(what)
        return found


def as_served(layout: Layout, scenario: Scenario) -> Scenario:
    """The scenario that asks for what the plan serves in each period, and as demand turns out, at least cost.

    Raises:
        InputError: the plan serves nothing, so that nothing would be asked for.
    """
    if not layout.workloads_served:
        raise InputError(f"{layout.scenario}: the plan serves nothing; solved with objective: cost, it says why")
    shares: dict[str | None, list[dict[str, float]]] = {}  # in each period of each future
    for future, _, period in layout.states():
        shares.setdefault(future, []).append({plan.name: plan.served_fraction for plan in period.workloads})
    dropped = [name for name in scenario.workloads if name not in layout.workloads_served]
    asked = without_workloads(changed(scenario, objective="cost"), *dropped)
    if not scenario.demand_scenarios:
        (periods,) = shares.values()
        partly = {name: with_factors(one, [now[name] for now in periods]) for name, one in asked.workloads.items()}
        return changed(asked, workloads=partly)
    futures = {
        future: changed(
            one,
            factors=(1.0,),
            workload_factors={
                name: tuple(one.factor(name, t) * now[name] for t, now in enumerate(shares[future]))
                for name in asked.workloads
            },
        )
        for future, one in scenario.demand_scenarios.items()
    }
    return changed(asked, demand_scenarios=futures)
