"""The whole of a plan, checked promise by promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from catalog import Catalog
from optimizer.kept import Kept
from optimizer.layout import Alternative, Layout, WorkloadPlan
from optimizer.scenario import Scenario, scenario_catalog, with_own_entries
from optimizer.verification.claims import Claims
from optimizer.verification.fleet import fleet
from optimizer.verification.futures import futures
from optimizer.verification.identity import identity
from optimizer.verification.lawful import lawful
from optimizer.verification.machines import machines
from optimizer.verification.measured import measured
from optimizer.verification.money import money
from optimizer.verification.predicted import predicted
from optimizer.verification.service import served, service
from optimizer.verification.spare import spare
from optimizer.verification.stressed import stressed

OF_ALL: tuple[Callable[[Claims], Iterator[str]], ...] = (identity, money, fleet, served)
OF_EACH_PERIOD: tuple[Callable[[Claims], Iterator[str]], ...] = (
    machines,
    service,
    spare,
    lawful,
    measured,
    predicted,
)


def verify(layout: Layout, scenario: Scenario, catalog: Catalog, *, truths: Kept[Any] | None = None) -> list[str]:
    """Broken promises of a plan, a sentence each; [] = sound. A layout without a plan promises nothing.

    Everything is derived again from scenario and catalog; numbers must agree to a relative 1e-6. What nobody else can
    know is taken as it is: how long the solve took, by whom, the words of warnings and assumptions, that a search
    proved `optimal` and its bound, which limit a larger batch would have hit first, and what plans cost that do not
    stand in it (those that would hold under stress). `truths`, given to one call
    after another, keeps what the same replicas were computed to be; plans are compared with it all the same.
    """
    if layout.status in ("infeasible", "no_plan"):
        return []
    scenario = with_own_entries(scenario, catalog)
    own = scenario_catalog(scenario, catalog)
    truths = Kept() if truths is None else truths
    claims = Claims(layout, scenario, own, catalog.shipped_version, truths=truths)
    problems = list(futures(claims, _broken) if scenario.demand_scenarios else _broken(claims))
    for number, other in enumerate(layout.alternatives, start=1):
        as_plan = Claims(_as_plan(layout, other), scenario, own, catalog.shipped_version, truths=truths)
        broken = futures(as_plan, _broken) if scenario.demand_scenarios else _broken(as_plan)
        problems += [f"alternative {number}: {problem}" for problem in broken]
    return [*problems, *stressed(claims), *_kinds(layout)]


def _broken(claims: Claims) -> Iterator[str]:
    for promise in OF_ALL:
        yield from promise(claims)
    for part in claims.periods():
        where = f"period {part.period + 1}: " if claims.layout.periods else ""
        for promise in OF_EACH_PERIOD:
            yield from (f"{where}{problem}" for problem in promise(part))


def _as_plan(layout: Layout, other: Alternative) -> Layout:
    """An alternative as if it were the plan: it promises the same."""
    usd, bound = other.cost.usd_per_hour, other.cost.bound_usd_per_hour
    keys = ("status", "cost", "servers", "workloads", "purchases", "commitments", "periods", "futures")
    parts = {key: getattr(other, key) for key in keys}
    return layout.model_copy(update={**parts, "gap": (usd - bound) / usd if usd else 0.0, "alternatives": ()})


def _served_in(plan: Layout | Alternative) -> Iterator[WorkloadPlan]:
    """How workloads are served in every period, and however demand turns out."""
    periods = [period for future in plan.futures for period in future.periods] or plan.periods
    yield from (one for period in periods or (plan,) for one in period.workloads)


def _kinds(layout: Layout) -> Iterator[str]:
    """Every alternative does without something of each plan before it."""
    before: list[frozenset[tuple[object, ...]]] = []
    plans: tuple[Layout | Alternative, ...] = (layout, *layout.alternatives)
    for number, other in enumerate(plans):
        used = frozenset(
            (
                *(plan.name, g.offer, g.gpus_per_replica, g.model, g.weight_dtype, g.tp, g.pp, g.dp, g.ep),
                tuple((stage.offer, stage.layers, stage.weight_dtype) for stage in g.stages or ()),
            )
            for plan in _served_in(other)
            for g in plan.replica_groups
        )
        if any(used >= earlier for earlier in before):
            yield f"alternative {number}: uses all that a plan before it uses, so it is no other plan"
        before.append(used)
