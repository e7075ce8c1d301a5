"""Why a plan is as it is: reasons, margins and flips, all from solving its scenario again with something changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from catalog import Catalog
from optimizer.errors import InputError, NotSupportedYet
from optimizer.explain.break_even import BreakEven, break_evens
from optimizer.explain.flips import Flip, demand_flips, price_flips, speed_flips
from optimizer.explain.margins import Margin, binding_limits, changes_of_workload, changes_worth_knowing, margin
from optimizer.explain.reasons import Reason, reason, used_choices
from optimizer.explain.resolver import Resolver
from optimizer.layout import Layout
from optimizer.scenario import Scenario, changed, with_demand, with_workload, without_workloads
from optimizer.solve import Backend, solve_program

MOST_REASONS = 6
"""Kinds of replicas explained when no workload is named, those with the most GPUs."""
TIME_LIMIT_S = 10.0
"""Of each solve."""


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


def explain_plan(
    layout: Layout,
    scenario: Scenario,
    catalog: Catalog,
    workload: str | None = None,
    *,
    progress: Callable[[str], None] = lambda _message: None,
    backend: Backend = solve_program,
) -> Explanation:
    """Explain a sound plan of a scenario, or how it serves one workload.

    `catalog` holds the scenario's own models. The number of solves is bounded, whatever the size of the plan.

    Raises:
        NotSupportedYet: the plan is for demand that may turn out in several ways.
        InputError: the plan has no cost to explain, or no such workload.
    """
    if faults := scenario.unsupported_by("explaining a plan"):
        raise NotSupportedYet(faults)
    if layout.cost is None:
        raise InputError(f"{layout.scenario}: this is no plan but {layout.status}; there is nothing to explain")
    if workload is not None and workload not in scenario.workloads:
        raise InputError(f"{layout.scenario}: no workload {workload}; there is {', '.join(scenario.workloads)}")
    progress("rating candidates")
    asked = as_served(layout, scenario)
    resolver = Resolver.of_every_structure(asked, catalog, time_limit_s=TIME_LIMIT_S, backend=backend)
    base = resolver.cheapest()
    if base is None:
        raise InputError(f"{layout.scenario}: no plan was found within {TIME_LIMIT_S:g} s; there is nothing to compare")

    def say(what: str) -> None:
        progress(f"{what}: {resolver.n_solves} plans solved")

    choices = {choice: groups for choice, groups in used_choices(layout).items() if workload in (None, choice.workload)}
    by_gpus = sorted(choices, key=lambda choice: -sum(g.replicas * g.gpus_per_replica for g in choices[choice]))
    reasons = []
    for choice in by_gpus[:MOST_REASONS]:
        say("runner-ups")
        reasons.append(reason(resolver, base, choice, choices[choice]))
    names = () if workload is None else (workload,)
    if workload is None:
        binding = frozenset((choice.workload, str(g.limit)) for choice in by_gpus for g in choices[choice])
        changes = list(changes_worth_knowing(asked, base, binding))
    else:
        changes = list(changes_of_workload(asked.workloads[workload], workload))
    margins = []
    for change in changes:
        say("margins")
        margins.append(margin(resolver, base, change))
    flips: list[Flip] = []
    searches = [demand_flips(resolver, base, *names), speed_flips(resolver, base, *names)]
    for search in searches if workload else [price_flips(resolver, base), *searches]:
        for found in search:
            say("thresholds")
            flips.append(found)
    return Explanation(
        scenario=layout.scenario,
        workload=workload,
        usd_per_hour=base.usd_per_hour,
        plan_usd_per_hour=layout.cost.usd_per_hour,
        reasons=tuple(reasons),
        n_more_choices=len(by_gpus) - len(reasons),
        binds=tuple(binding_limits(asked, base)),
        margins=tuple(found for found in margins if found is not None),
        flips=tuple(flips),
        break_evens=() if workload else tuple(break_evens(asked, base.inst)),
        n_solves=resolver.n_solves,
    )


def as_served(layout: Layout, scenario: Scenario) -> Scenario:
    """The scenario that asks for what the plan serves in each period, at least cost."""
    served = [{plan.name: plan.served_fraction for plan in one.workloads} for one in layout.periods or (layout,)]
    dropped = [name for name in scenario.workloads if not any(fractions[name] for fractions in served)]
    asked = without_workloads(changed(scenario, objective="cost"), *dropped)
    for name, workload in asked.workloads.items():
        fractions = [period[name] for period in served]
        if min(fractions) == 1:
            continue
        if len(fractions) == 1:
            asked = with_demand(asked, fractions[0], name)
        else:
            rates = tuple(
                workload.demand_in(t) * fraction / workload.peak_factor for t, fraction in enumerate(fractions)
            )
            asked = with_workload(asked, name, requests=None, requests_per_period_rps=rates)
    return asked
