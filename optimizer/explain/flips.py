"""Where a decision flips: prices, demand and speed at which another plan becomes cheaper, between two solved points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from catalog.units import format_usd
from optimizer.candidates import on_offer
from optimizer.explain.break_even import hourly
from optimizer.explain.resolver import Change, Choice, Resolver, Solved, unchanged
from optimizer.formulation import ServerTerm
from optimizer.scenario import Scenario, changed, with_demand, with_offer

PRECISION = 1.04
"""The two points between which a decision flips are at most 4 % apart."""
PRICE_RANGE, DEMAND_RANGE, SPEED_RANGE = 4.0, 2.0, 2.0
"""Factors up and down, beyond which nothing is looked for."""
CHEAPER = 1e-6
"""Relative; a smaller difference in cost is a tie, and a tie flips nothing."""
MOST_PRICES, MOST_CARDS = 6, 2
NO_PLAN = ("no plan",)
"""What there is instead where no plan holds what was changed."""


@dataclass(frozen=True, slots=True)
class Flip:
    """Something that is scaled, how far the decision holds, and what becomes cheaper beyond."""

    what: str
    holds_at: float
    """Factor at which the plan, or the same kinds of replicas, are still cheapest."""
    flips_at: float | None
    """Factor at which they no longer are; None = nowhere in the range, whose end is `holds_at`."""
    shown_holds_at: str
    shown_flips_at: str
    instead: tuple[str, ...]
    """What is new in the plan that is cheaper there, or that there is none."""


def flip(
    what: str, furthest: float, shown: Callable[[float], str], beats: Callable[[float], tuple[str, ...] | None]
) -> Flip:
    """Between 1 and `furthest`, where `beats` first says what is cheaper.

    Looked for in steps that double, then between the last two by halving, in proportion. A decision that flips and
    flips back within one step is taken to hold.
    """
    step, low, high = math.copysign(math.log(PRECISION), math.log(furthest)), 1.0, 1.0
    found = None
    while found is None and high != furthest:
        low, high = high, math.exp(step) if abs(step) < abs(math.log(furthest)) else furthest
        found, step = beats(high), 2 * step
    if found is None:
        return Flip(what, furthest, None, shown(furthest), "", ())
    while max(low, high) / min(low, high) > PRECISION:
        middle = math.sqrt(low * high)
        now = beats(middle)
        if now is None:
            low = middle
        else:
            high, found = middle, now
    return Flip(what, low, high, shown(low), shown(high), found)


def price_flips(resolver: Resolver, base: Solved) -> Iterator[Flip]:
    """The price of each term in use at which this very plan stops to be cheapest, and of others at which it does."""
    scenario = resolver.scenario
    terms = [term for term in base.inst.terms if term.state == 0 and term.term != "own"]
    priced = [term for term in terms if stated_price(scenario, term) > 0]
    in_use = [term for term in priced if base.servers.get((term.offer, term.label))]
    others = sorted((term for term in priced if term not in in_use), key=lambda term: hourly(base.inst, term).usd)
    for term in (in_use + others)[:MOST_PRICES]:

        def beats(factor: float, term: ServerTerm = term) -> tuple[str, ...] | None:
            return _cheaper_than_this(resolver, base, lambda other: with_price(other, term, factor))

        yield flip(
            f"price of {term.offer} ({term.label})",
            PRICE_RANGE if term in in_use else 1 / PRICE_RANGE,
            partial(_shown_price, stated_price(scenario, term), PRICE_UNITS[term.term]),
            beats,
        )


PRICE_UNITS = {"buy": "/server", "rent": "/server/h", "reserve": "/server/h", "spot": "/server/h"}


def demand_flips(resolver: Resolver, base: Solved, *names: str) -> Iterator[Flip]:
    """The demand, of some workloads or all, up to which the same kinds of replicas on the same offers stay cheapest."""
    of = "demand" if not names else f"demand of {', '.join(names)}"
    for furthest in (DEMAND_RANGE, 1 / DEMAND_RANGE):
        yield flip(
            of,
            furthest,
            lambda factor: f"{factor:.2f}×",
            lambda factor: _other_kinds(
                resolver, base, Change(of, lambda scenario: with_demand(scenario, factor, *names)), names
            ),
        )


def _cards(resolver: Resolver, choice: Choice) -> tuple[str, ...]:
    """GPU types of a kind of replica."""
    staged = (spec for spec in resolver.candidates[choice.workload].specs if spec.stages)
    of_stages = next((spec.cards for spec in staged if spec.structure == choice.structure), None)
    return of_stages or (resolver.scenario.inventory[choice.offer].gpu,)


def speed_flips(resolver: Resolver, base: Solved, *names: str) -> Iterator[Flip]:
    """How much slower or faster than predicted each card in use may be."""
    used = (choice for choice in sorted(base.replicas) if not names or choice.workload in names)
    cards = dict.fromkeys(gpu for choice in used for gpu in _cards(resolver, choice))
    for gpu in list(cards)[:MOST_CARDS]:

        def beats(factor: float, gpu: str = gpu) -> tuple[str, ...] | None:
            return _other_kinds(resolver, base, Change("speed", unchanged, speed={gpu: factor}), names)

        yield flip(f"speed of {gpu}", 1 / SPEED_RANGE, lambda factor: f"{factor:.0%} of what is predicted", beats)


def _shown_price(now: float, unit: str, factor: float) -> str:
    return f"{format_usd(now * factor)}{unit}"


def _cheaper_than_this(
    resolver: Resolver, base: Solved, apply: Callable[[Scenario], Scenario]
) -> tuple[str, ...] | None:
    """What a cheaper plan does differently, where this very plan is no longer cheapest or no longer possible."""
    change = Change("another price", apply)
    solved = resolver.cheapest(change)
    if solved is None:
        return NO_PLAN if resolver.is_impossible(change) else None
    same = float(solved.program.objective @ base.values)
    if solved.program.holds(base.values, CHEAPER) and solved.usd_per_hour >= same * (1 - CHEAPER):
        return None
    return differences(base, solved)


def _other_kinds(resolver: Resolver, base: Solved, change: Change, names: tuple[str, ...]) -> tuple[str, ...] | None:
    """What a plan does differently that is cheaper than any with the same kinds of replicas on the same offers."""
    kinds: dict[str, frozenset[Choice]] = {}
    for choice in base.replicas:
        if not names or choice.workload in names:
            kinds[choice.workload] = kinds.get(choice.workload, frozenset()) | {choice}
    free = resolver.cheapest(change)
    if free is None:
        return NO_PLAN if resolver.is_impossible(change) else None
    if all(choice in kinds.get(choice.workload, {choice}) for choice in free.replicas):
        return None
    same = resolver.cheapest(replace(change, only=kinds))
    if same is not None and free.usd_per_hour >= same.usd_per_hour * (1 - CHEAPER) - CHEAPER:
        return None
    return differences(base, free, *names)


def differences(base: Solved, other: Solved, *names: str) -> tuple[str, ...]:
    """Servers that another plan has in another number, or, of named workloads, replicas of other kinds."""
    kinds = tuple(
        f"{choice.workload}: {n} × {on_offer(choice.structure, choice.offer)}"
        for choice, n in sorted(other.replicas.items())
        if choice not in base.replicas and (not names or choice.workload in names)
    )
    counts = tuple(
        f"{base.servers.get(term, 0)} → {other.servers.get(term, 0)} × {term[0]} ({term[1]})"
        for term in sorted({*base.servers, *other.servers})
        if base.servers.get(term, 0) != other.servers.get(term, 0)
    )
    return (kinds or counts) if names else (counts or kinds)


def stated_price(scenario: Scenario, term: ServerTerm) -> float:
    """What the scenario asks for one server on a term."""
    offer = scenario.inventory[term.offer]
    if term.term == "reserve":
        return next(one.usd_per_server_hour for one in offer.reserve if f"reserve {one.term_months:g}mo" == term.label)
    if term.term == "buy":
        return offer.buy.usd_per_server if offer.buy else 0.0
    sold = offer.spot if term.term == "spot" else offer.rent
    return sold.usd_per_server_hour if sold else 0.0


def with_price(scenario: Scenario, term: ServerTerm, factor: float) -> Scenario:
    """The scenario with another price of one term."""
    offer = scenario.inventory[term.offer]
    if term.term == "reserve":
        entries = tuple(
            changed(one, usd_per_server_hour=one.usd_per_server_hour * factor)
            if f"reserve {one.term_months:g}mo" == term.label
            else one
            for one in offer.reserve
        )
        return with_offer(scenario, term.offer, reserve=entries)
    field = "usd_per_server" if term.term == "buy" else "usd_per_server_hour"
    sold = getattr(offer, term.term)
    return with_offer(scenario, term.offer, **{term.term: changed(sold, **{field: getattr(sold, field) * factor})})
