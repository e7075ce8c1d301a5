"""Where demand may turn out in several ways: each future is a plan of its own, the whole what is expected of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import fsum

from catalog.units import HOURS_PER_MONTH
from optimizer.layout import Cost, FuturePlan
from optimizer.scenario import in_future
from optimizer.verification.claims import Claims, agree, number
from optimizer.verification.identity import identity
from optimizer.verification.service import served


def futures(claims: Claims, broken: Callable[[Claims], Iterator[str]]) -> Iterator[str]:
    """What is broken in any future, by `broken`, and in what is said of all of them together."""
    yield from identity(claims)
    layout, asked = claims.layout, claims.scenario.demand_scenarios
    if [future.name for future in layout.futures] != list(asked):
        yield f"the futures of the plan are not {', '.join(asked)}"
        return
    for future in layout.futures:
        if not agree(future.probability, asked[future.name].probability_fraction):
            yield f"{future.name}: its probability is {number(asked[future.name].probability_fraction)}"
        yield from (f"{future.name}: {problem}" for problem in broken(_alone(claims, future)))
    yield from _together(claims)


def _alone(claims: Claims, future: FuturePlan) -> Claims:
    """A future as if it were certain, and its plan proven: it promises the same."""
    scenario = in_future(claims.scenario, future.name)
    paid = claims.layout.cost
    cost = Cost(
        usd_per_hour=future.usd_per_hour,
        usd_per_month=future.usd_per_hour * HOURS_PER_MONTH,
        usd_over_horizon=future.usd_per_hour * HOURS_PER_MONTH * scenario.horizon_months,
        capex_usd=paid.capex_usd if paid else 0.0,
        bound_usd_per_hour=future.usd_per_hour,
    )
    certain = {
        "cost": cost,
        "gap": 0.0,
        "inputs": scenario.canonical(),
        "scenario_sha256": scenario.sha256,
        "futures": (),
    }
    layout = claims.layout.of_future(future.name).model_copy(update=certain)
    return replace(claims, layout=layout, scenario=scenario)


def _together(claims: Claims) -> Iterator[str]:
    """The same is ordered in every future, the likeliest stands on top, and the cost is what is expected."""
    yield from served(claims)
    layout = claims.layout
    likeliest = max(layout.futures, key=lambda future: future.probability)
    if layout.periods != likeliest.periods:
        yield f"the periods are not those of {likeliest.name}, the likeliest future"
    for future in layout.futures:
        for here, there in zip(likeliest.periods, future.periods, strict=False):
            if (here.purchases, here.commitments) != (there.purchases, there.commitments):
                yield f"{future.name}: period {there.period} does not order what it orders in {likeliest.name}"
    expected = fsum(future.probability * future.usd_per_hour for future in layout.futures)
    if layout.cost is not None and not agree(layout.cost.usd_per_hour, expected):
        yield f"cost.usd_per_hour is {number(layout.cost.usd_per_hour)}, its futures come to {number(expected)}"
    if layout.cost is not None:
        for name, claimed, hours in (
            ("usd_per_month", layout.cost.usd_per_month, HOURS_PER_MONTH),
            ("usd_over_horizon", layout.cost.usd_over_horizon, HOURS_PER_MONTH * claims.scenario.horizon_months),
        ):
            if not agree(claimed, expected * hours):
                yield f"cost.{name} is {number(claimed)}, its futures come to {number(expected * hours)}"
