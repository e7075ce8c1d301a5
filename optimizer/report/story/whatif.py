"""What if: the scenario solved again with other prices, demand, speed and targets, and when another plan is cheaper."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from catalog import Catalog
from catalog.units import HOURS_PER_MONTH
from optimizer.api import optimize
from optimizer.candidates import Ratings
from optimizer.layout import Layout
from optimizer.report.fleet import decision
from optimizer.report.story.ledger import Ledger
from optimizer.scenario import Scenario, load_scenario, scenario_catalog
from optimizer.scenario.quantities import (
    DURATION_MS,
    ENERGY_PRICE,
    PRICE_OF_SERVER,
    PRICE_PER_HOUR,
    RATIO,
    Quantity,
)
from optimizer.solve import SolverName

Change = Callable[[dict[str, Any]], None]
"""Edits the keys of a scenario in place."""
SWING = 0.2
"""Prices, demand and speed are moved by a fifth either way."""
POWER_SWING = 0.5
RESIDUAL_SWING = 0.1
"""Of the price."""
MOST_S_EACH = 15.0
"""A question that takes longer is left out, so that one hard program does not use up the time of all."""
SOLVERS: dict[bool, SolverName] = {True: "scip", False: "highs"}
"""By whether there are several periods. Over one, HiGHS proves the questions of scenarios/purchase.yaml in 5.5 s of a
processor where SCIP needs 18; over the eight of scenarios/multi-region.yaml SCIP proves all, HiGHS few within 15 s each
(2 busy cores, November 2026)."""
GAPS = {True: 0.005, False: 0.001}
"""Likewise. Over several periods the last half percent of a proof takes half of the time: 5.3 instead of over 12 s of a
processor for a fifth more demand in scenarios/multi-region.yaml, for the same plan."""
TARGETS = (0.5, 0.7, 1.0, 1.5, 2.0)
"""Latency targets are multiplied by these."""
ROUNDING = 1e-9
"""Relative; by which sums of the same payments may differ."""
FARTHEST = 3.0
"""Times today's price, or as small a part of it; a threshold beyond that is no help to a decision of today."""


@dataclass(frozen=True, slots=True)
class Swing:
    """One cause of doubt, moved down and up, and the best plan then."""

    name: str
    low_name: str
    high_name: str
    low: Layout
    """Its cost may be null: there is no plan then, or none was found in time."""
    high: Layout
    of_prices: bool
    """Whether the plan as it stands stays possible, only at another cost."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where another plan becomes as cheap as the chosen one."""

    name: str
    factor: float
    """Times the assumed value."""
    instead: Layout


@dataclass(frozen=True, slots=True)
class WhatIf:
    """All that solving again has shown."""

    swings: tuple[Swing, ...]
    frontier: tuple[tuple[float, Layout], ...]
    """(factor on every latency target, best plan), factors ascending; the chosen plan stands at 1."""
    runners_up: tuple[tuple[Layout, float], ...]
    """Other plans that are possible as things are, with what they cost over the horizon; cheapest first."""
    thresholds: tuple[Threshold, ...]
    complete: bool
    """Whether time sufficed for every question."""


def explore(
    layout: Layout,
    scenario: Scenario,
    catalog: Catalog,
    time_limit_s: float,
    progress: Callable[[str], None] = lambda _message: None,
) -> WhatIf:
    """Solve again, in an order that is always the same, until all is answered or time is up.

    The answers are the same every time unless time runs out; then `complete` is False and questions are left out.
    """
    again = _Again(layout, catalog, time.perf_counter() + time_limit_s)
    swings, scenarios = [], {}
    for name, (low_name, low), (high_name, high), of_prices in _questions():
        progress(f"what if: {name}")
        if (first := again.solved(low)) is not None and (second := again.solved(high)) is not None:
            swings.append(Swing(name, low_name, high_name, first, second, of_prices))
            if of_prices:
                scenarios[name] = (_changed(layout, low, catalog), _changed(layout, high, catalog))
    frontier = [(1.0, layout)]
    for factor in TARGETS:
        progress(f"what if: targets × {factor:g}")
        if factor != 1 and (found := again.solved(_scaled_targets(factor))) is not None:
            frontier.append((factor, found))
    others, known = _others(layout, swings, frontier), scenario_catalog(scenario, catalog)
    return WhatIf(
        tuple(swings),
        tuple(sorted(frontier, key=lambda point: point[0])) if len(frontier) > 1 else (),
        _runners_up(others, scenario, known),
        tuple(_thresholds(layout, others, scenario, scenarios, known)),
        again.is_complete,
    )


class _Again:
    """Solves the scenario of a plan with changes, until time is up."""

    def __init__(self, layout: Layout, catalog: Catalog, deadline: float) -> None:
        """`deadline` by `time.perf_counter`."""
        self.layout, self.catalog, self.deadline = layout, catalog, deadline
        self.ratings = Ratings()
        self.is_complete = True
        """Every question so far had its answer."""

    def solved(self, change: Change) -> Layout | None:
        """The best plan with a change; None where it changes nothing, or time was up before the answer."""
        keys = copy.deepcopy(self.layout.inputs)
        change(keys)
        if keys == self.layout.inputs:
            return None
        left_s = self.deadline - time.perf_counter()
        if left_s > 0:
            scenario = load_scenario(keys, self.catalog)
            found = optimize(
                scenario,
                self.catalog,
                time_limit_s=min(left_s, MOST_S_EACH),
                gap=GAPS[scenario.periods > 1],
                solver=SOLVERS[scenario.periods > 1],
                start=self.layout,
                ratings=self.ratings,
            )
            if found.status in ("optimal", "infeasible"):
                return found
        self.is_complete = False
        return None


def _questions() -> Iterator[tuple[str, tuple[str, Change], tuple[str, Change], bool]]:
    def either(name: str, change: Callable[[float], Change], swing: float, of_prices: bool) -> Any:
        below, above = (f"−{swing:.0%}", change(1 - swing)), (f"+{swing:.0%}", change(1 + swing))
        return name, below, above, of_prices

    yield either("rent", _scaled_rent, SWING, True)
    yield either("purchase prices", _scaled_purchase, SWING, True)
    yield ("residual value", (f"−{100 * RESIDUAL_SWING:g} points", _moved_residual(-RESIDUAL_SWING)),
           (f"+{100 * RESIDUAL_SWING:g} points", _moved_residual(RESIDUAL_SWING)), True)  # fmt: skip
    yield either("electricity price", _scaled_power, POWER_SWING, True)
    yield either("demand", _scaled_demand, SWING, False)
    yield either("speed of every replica", _scaled_speed, SWING, False)


def _scaled(keys: Any, key: str, quantity: Quantity, factor: float, most: float = float("inf")) -> None:
    if isinstance(keys, dict) and key in keys:
        keys[key] = quantity.text(min(quantity.parse(keys[key]) * factor, most))


def _scaled_rent(factor: float) -> Change:
    def change(keys: dict[str, Any]) -> None:
        for offer in keys["inventory"].values():
            for terms in (offer.get("rent"), offer.get("spot"), *offer.get("reserve", ())):
                _scaled(terms, "price", PRICE_PER_HOUR, factor)

    return change


def _scaled_purchase(factor: float) -> Change:
    def change(keys: dict[str, Any]) -> None:
        for offer in keys["inventory"].values():
            _scaled(offer.get("buy"), "price", PRICE_OF_SERVER, factor)

    return change


def _moved_residual(by: float) -> Change:
    def change(keys: dict[str, Any]) -> None:
        for offer in keys["inventory"].values():
            if "buy" in offer:
                now = RATIO.parse(offer["buy"].get("residual", "0%"))
                offer["buy"]["residual"] = RATIO.text(min(1.0, max(0.0, round(now + by, 9))))

    return change


def _scaled_power(factor: float) -> Change:
    return lambda keys: _scaled(keys.get("facility"), "power_price", ENERGY_PRICE, factor)


def _scaled_demand(factor: float) -> Change:
    def change(keys: dict[str, Any]) -> None:
        for workload in keys["workloads"].values():
            _scaled(workload, "peak", RATIO, factor)

    return change


def _scaled_speed(factor: float) -> Change:
    """Faster replicas carry more within the same targets: as if more of the predicted capacity could be used."""
    return lambda keys: _scaled(keys, "max_utilization", RATIO, factor, most=1.0)


def _scaled_targets(factor: float) -> Change:
    def change(keys: dict[str, Any]) -> None:
        for workload in keys["workloads"].values():
            targets = workload.get("slo")
            for name in targets if isinstance(targets, dict) else ():
                _scaled(targets, name, DURATION_MS, factor)

    return change


def _changed(layout: Layout, change: Change, catalog: Catalog) -> Scenario:
    keys = copy.deepcopy(layout.inputs)
    change(keys)
    return load_scenario(keys, catalog)


def _others(layout: Layout, swings: list[Swing], frontier: list[tuple[float, Layout]]) -> list[Layout]:
    """Other decisions that hold the demand within the targets: best at other prices, or for tighter targets."""
    found = [one for swing in swings if swing.of_prices for one in (swing.low, swing.high)]
    found += [one for factor, one in frontier if factor < 1]
    others = {decision(one): one for one in reversed(found) if one.cost is not None}
    others.pop(decision(layout), None)
    return list(others.values())


def _runners_up(others: list[Layout], scenario: Scenario, catalog: Catalog) -> tuple[tuple[Layout, float], ...]:
    affordable = [one for one in others if within_budget(one, scenario, catalog)]
    priced = [(one, _cost_usd(one, scenario, catalog)) for one in affordable]
    return tuple(sorted(priced, key=lambda pair: (pair[1], decision(pair[0]))))


def within_budget(layout: Layout, scenario: Scenario, catalog: Catalog) -> bool:
    """In every month and period, however demand turns out."""
    plans = [layout.of_future(one.name).model_copy(update={"futures": ()}) for one in layout.futures] or [layout]
    return all(_affords(scenario, Ledger.of(plan, scenario, catalog)) for plan in plans)


def _affords(scenario: Scenario, ledger: Ledger) -> bool:
    budget, months = scenario.budget, scenario.horizon_months / scenario.periods
    limits = [(ledger.most_usd_per_month, budget.monthly_usd), (ledger.usd("price"), budget.capex_usd)]
    for t, usd in enumerate(budget.capex_per_period_usd or ()):
        limits.append((ledger.bought_in((t - 0.5) * months, (t + 0.5) * months), usd))
    return all(limit is None or spent <= limit * (1 + ROUNDING) for spent, limit in limits)


def _cost_usd(layout: Layout, scenario: Scenario, catalog: Catalog) -> float:
    """What the plan costs over the horizon at the scenario's prices, which may be other than its own."""
    return Ledger.of(layout, scenario, catalog).cost_usd


def _thresholds(
    layout: Layout,
    others: list[Layout],
    scenario: Scenario,
    scenarios: Mapping[str, tuple[Scenario, Scenario]],
    catalog: Catalog,
) -> Iterator[Threshold]:
    """Costs are straight lines over a price; where the chosen plan's meets the nearest other one's, decisions flip."""
    now = _cost_usd(layout, scenario, catalog)
    swing_of = {"electricity price": POWER_SWING}
    for name, (_, high) in scenarios.items():
        if name == "residual value":
            continue  # moved by points, not by a factor
        swing = swing_of.get(name, SWING)
        slope = (_cost_usd(layout, high, catalog) - now) / swing
        crossings = []
        for other in others:
            base = _cost_usd(other, scenario, catalog)
            relative = slope - (_cost_usd(other, high, catalog) - base) / swing
            if abs(relative) > 1e-9 * HOURS_PER_MONTH and base >= now:
                factor = 1 + (base - now) / relative
                if 1 / FARTHEST <= factor <= FARTHEST:
                    crossings.append((abs(factor - 1), decision(other), Threshold(name, factor, other)))
        for below in (True, False):
            near = sorted((c for c in crossings if (c[2].factor < 1) == below), key=lambda c: c[:2])
            if near:
                yield near[0][2]
