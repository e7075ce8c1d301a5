"""Sections that rest on solving again: alternatives, what moves the cost, and what would change the decision."""

from __future__ import annotations

from collections.abc import Iterator

from optimizer.layout import Layout
from optimizer.report.figures import Point, point_chart, range_chart
from optimizer.report.fleet import decision, in_words
from optimizer.report.plan import ALTERNATIVES, alternative_rows
from optimizer.report.story.parts import Block, Bullets, Figure, Words, table
from optimizer.report.story.whatif import Swing, Threshold, WhatIf
from optimizer.report.words import figure, percent, usd
from optimizer.scenario import Scenario

MOST_RUNNERS_UP = 5


def doubt_sections(
    layout: Layout, scenario: Scenario, found: WhatIf | None
) -> tuple[list[Block], list[Block], list[Block]]:
    """Alternatives, what moves the cost, thresholds; empty where nothing was asked or answered, but for what the plan
    itself has of alternatives."""
    if found is None:
        return list(_kept(layout)), [], []
    return (
        [*_alternatives(layout, found), *_kept(layout)],
        list(_swings(layout, found)),
        list(_thresholds(layout, scenario, found)),
    )


def _kept(layout: Layout) -> Iterator[Block]:
    """The next best plans, if they were asked for when the plan was made."""
    if layout.alternatives:
        yield table(ALTERNATIVES, "|>$/h|>more|does without|uses|servers", alternative_rows(layout))


def _alternatives(layout: Layout, found: WhatIf) -> Iterator[Block]:
    assert layout.cost is not None
    points = [(factor, one) for factor, one in found.frontier if one.cost is not None]
    if len(points) > 1:
        drawn = [
            Point(f, one.cost.usd_per_month, usd(one.cost.usd_per_month), f"targets × {f:g}: {in_words(one)}")
            for f, one in points
            if one.cost
        ]
        chosen = next(at for at, (factor, _) in enumerate(points) if factor == 1)
        yield Figure(
            "What latency costs",
            point_chart(
                "Monthly cost over latency targets, all moved together; the chosen plan is marked",
                drawn,
                chosen,
                ("latency targets, times those asked for", lambda value: f"{value:g}×"),
                ("USD a month", lambda value: f"${value:,.0f}"),
                at_points=True,
            ),
            table(
                "The best plan for tighter and looser targets",
                "targets|>a month|plan",
                [
                    (f"× {factor:g}", usd(one.cost.usd_per_month) if one.cost else "no plan", in_words(one))
                    for factor, one in found.frontier
                ],
            ),
        )
    if impossible := [factor for factor, one in found.frontier if one.cost is None]:
        tight = ", ".join(f"× {factor:g}" for factor in impossible)
        yield Words(f"No plan keeps the targets {tight}: nothing on offer is fast enough.")
    if found.runners_up:
        chosen_usd = layout.cost.usd_over_horizon
        yield table(
            "Runners-up: other purchases that also serve everything, at today's prices",
            "plan|>over the horizon|>more",
            [
                (in_words(one), usd(cost), f"{usd(cost - chosen_usd)} ({percent((cost - chosen_usd) / chosen_usd, 1)})")
                for one, cost in found.runners_up[:MOST_RUNNERS_UP]
                if chosen_usd
            ],
        )


def _swings(layout: Layout, found: WhatIf) -> Iterator[Block]:
    assert layout.cost is not None
    base = layout.cost.usd_per_month
    shown = [swing for swing in found.swings if swing.low.cost is not None and swing.high.cost is not None]
    rows = sorted(((_ends(swing), swing) for swing in shown), key=lambda row: -_reach(row[0], base))
    moved = [(ends, swing) for ends, swing in rows if _reach(ends, base) > 0]
    if moved:
        yield Words(
            "Each line changes one thing and solves again, so the plan may change with it; targets stay as they are."
        )
        yield Figure(
            "Monthly cost when one thing turns out otherwise",
            range_chart(
                "Monthly cost when one thing turns out otherwise",
                [(swing.name, *ends, swing.low_name, swing.high_name) for ends, swing in moved],
                base,
                usd,
            ),
            table(
                f"Monthly cost; as planned it is {usd(base)}",
                "what|less|>a month|plan then|more|>a month|plan then",
                [
                    (swing.name, swing.low_name, usd(ends[0]), _then(layout, swing.low),
                     swing.high_name, usd(ends[1]), _then(layout, swing.high))
                    for ends, swing in moved
                ],
            ),
        )  # fmt: skip
    lines = [
        f"{swing.name} {name}: no plan keeps every limit"
        for swing in found.swings
        for name, one in ((swing.low_name, swing.low), (swing.high_name, swing.high))
        if one.cost is None
    ]
    if lines:
        yield Bullets(tuple(lines))
    if not found.complete:
        yield Words("Time ran out before every question was answered; a longer --time-limit answers the rest.")


def _ends(swing: Swing) -> tuple[float, float]:
    assert swing.low.cost is not None
    assert swing.high.cost is not None
    return swing.low.cost.usd_per_month, swing.high.cost.usd_per_month


def _reach(ends: tuple[float, float], base: float) -> float:
    """How far the farther end is from the middle; less than a cent is nothing."""
    return round(max(abs(end - base) for end in ends), 2)


def _then(layout: Layout, other: Layout) -> str:
    return "the same" if decision(layout) == decision(other) else in_words(other)


def _thresholds(layout: Layout, scenario: Scenario, found: WhatIf) -> Iterator[Block]:
    lines = [_sentence(one, scenario) for one in found.thresholds]
    for swing in found.swings:
        if not swing.of_prices:
            for name, one in ((swing.low_name, swing.low), (swing.high_name, swing.high)):
                same = one.cost is not None and decision(one) == decision(layout)
                lines.append(f"{swing.name} {name}: {'the same purchase' if same else in_words(one)}")
    if lines:
        yield Words(
            "Costs are straight lines over a price, so a price at which another plan found here costs the same can be "
            "computed; a plan that was not found here may be cheaper even before."
        )
        yield Bullets(tuple(f"{line[:1].upper()}{line[1:]}" for line in lines))


def _sentence(one: Threshold, scenario: Scenario) -> str:
    change = f"{one.factor - 1:+.1%}".replace("-", "−")
    said = f"{one.name} {change}: from there on it is cheaper to {in_words(one.instead)}"
    if one.name == "electricity price":
        said += f" (at ${figure(scenario.facility.power_price_usd_per_kwh * one.factor)}/kWh)"
    return said
