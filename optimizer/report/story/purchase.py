"""The purchase report of a plan: what to say, in what order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from catalog import Catalog
from catalog.units import HOURS_PER_MONTH
from optimizer.errors import InputError
from optimizer.formulation.terms import server_power_kw
from optimizer.layout import Layout, Term
from optimizer.report.figures import Stack, stack_chart
from optimizer.report.fleet import actions
from optimizer.report.periods import TERMS, asked_rps, busiest, likeliest, serving
from optimizer.report.plan import proof
from optimizer.report.story.doubts import doubt_sections
from optimizer.report.story.ledger import Ledger
from optimizer.report.story.machines import demand_blocks, memory_blocks, topology_blocks
from optimizer.report.story.money import break_even_blocks, cost_blocks, months_text
from optimizer.report.story.parts import Block, Code, Figure, KeyFigure, KeyFigures, Page, Words, sections, table
from optimizer.report.story.provenance import provenance_blocks
from optimizer.report.story.whatif import WhatIf
from optimizer.report.stress import HEADERS, TITLE, stress_rows
from optimizer.report.words import UNKNOWN, count, figure, percent, usd
from optimizer.scenario import Scenario, scenario_catalog
from optimizer.scenario.words import listed
from optimizer.uses import Use, months_between, uses


def purchase_page(layout: Layout, scenario: Scenario, catalog: Catalog, found: WhatIf | None) -> Page:
    """The report; `found` = None leaves out what needs solving again. A plan without servers raises InputError."""
    if layout.cost is None:
        raise InputError(f"the plan of {layout.scenario} is {layout.status}: there are no servers to report on")
    known = scenario_catalog(scenario, catalog)
    pareto, tornado, thresholds = doubt_sections(layout, scenario, found)
    return Page(
        title=f"{layout.scenario}: what to buy, rent and use",
        lead=recommendation(layout, scenario),
        warnings=layout.warnings,
        sections=sections(
            ("figures", "Key figures", [_key_figures(layout, scenario, known)]),
            ("list", "What to buy, rent and use", _purchase_list(layout, scenario)),
            ("futures", "Demand scenarios", _futures(layout, scenario.horizon_months)),
            ("money", "Cost over time", cost_blocks(Ledger.of(layout, scenario, known), scenario)),
            ("break-even", "Buy or rent", break_even_blocks(layout, scenario, known)),
            ("alternatives", "Alternatives", pareto),
            ("demand", "Workloads: target and prediction", demand_blocks(layout, scenario)),
            ("memory", "Memory", memory_blocks(layout, known)),
            ("topology", "Where everything runs", topology_blocks(layout, scenario, catalog)),
            ("stress", "Under stress", _stress(layout)),
            ("doubts", "What moves the cost", tornado),
            ("thresholds", "What would change the decision", thresholds),
            ("basis", "Assumptions and sources", provenance_blocks(layout, known)),
        ),
    )


def _stress(layout: Layout) -> Iterator[Block]:
    """What higher demand and lower speed do, if that was asked for when the plan was made."""
    if layout.stress:
        yield Words(
            "More demand than planned, and replicas slower than predicted; they may then be busy all the time that "
            "their targets allow. Repair keeps what is bought now; a plan that holds is decided anew, and what it "
            "costs more is the price of robustness."
        )
        yield table(TITLE, "|".join(HEADERS), stress_rows(layout))


def summary_blocks(layout: Layout, scenario: Scenario, catalog: Catalog) -> tuple[Block, ...]:
    """The shortest useful part: the sentence, the purchase list, the servers; without servers what is proven."""
    if layout.cost is None:
        return (Words(f"{layout.scenario}: {layout.status}"), Words(proof(layout)))
    return (
        Words(recommendation(layout, scenario)),
        *_purchase_list(layout, scenario),
        *topology_blocks(layout, scenario, catalog),
    )


def recommendation(layout: Layout, scenario: Scenario) -> str:
    """One sentence: what to do, for how much, and how sure that is."""
    assert layout.cost is not None
    months = scenario.horizon_months
    span = "a month" if months == 1 else f"over {months_text(months)}"
    if layout.futures:
        span = f"expected {span}"
    front = ""
    if layout.cost.capex_usd:
        front = f", {usd(layout.cost.capex_usd)} of it {'for purchases' if layout.periods else 'up front'}"
    beyond = sum("outside the measured range" in warning for warning in layout.warnings)
    if layout.status == "optimal":
        sure = "proven: no plan that keeps the targets costs less"
    else:
        sure = f"at most {percent(layout.gap, 1)} more than the cheapest plan possible"
    if layout.served and layout.status == "optimal":
        sure = "proven: nothing to be had serves more by priority, and nothing that serves as much costs less"
    asked_rps, served_rps = demand_and_served_rps(layout)
    if served_rps < asked_rps:
        front += f", serving {percent(served_rps / asked_rps, 1)} of the demand"
    if beyond:
        sure += f"; {count(beyond, 'prediction lies', 'predictions lie')} beyond what was measured"
    return f"{_doing(layout, months)}: {usd(layout.cost.usd_over_horizon)} {span}{front} ({sure})."


def _doing(layout: Layout, months: float) -> str:
    """What to do; with periods what now, and what later."""
    found = uses(layout, months)
    now = actions([use for use in found if use.begin_month == 0])
    later = actions(_largest([use for use in found if use.begin_month > 0]))
    said = now or "nothing is needed" if not later else f"now {now or 'nothing'}; later {later}"
    return f"{said[:1].upper()}{said[1:]}"


def _largest(found: Sequence[Use]) -> list[Use]:
    """Of uses that come and go the largest one; every order."""
    most: dict[tuple[Term, str], Use] = {}
    for use in found:
        if use.term not in ("buy", "reserve"):
            key = use.term, use.offer
            most[key] = max(most.get(key, use), use, key=lambda one: one.count)
    return [use for use in found if use.term in ("buy", "reserve") or most[use.term, use.offer] is use]


def demand_and_served_rps(layout: Layout) -> tuple[float, float]:
    """Requests per second that are asked for, and those that the plan serves."""
    asked_rps = sum(one.demand_rps for one in layout.workloads)
    return asked_rps, sum(one.demand_rps * one.served_fraction for one in layout.workloads)


def _key_figures(layout: Layout, scenario: Scenario, catalog: Catalog) -> KeyFigures:
    """Of a plan with periods those of the first one, and the most that there will be."""
    cost = layout.cost
    assert cost is not None
    spans = layout.periods or (layout,)
    gpus = [sum(row.count * row.gpus_per_server for row in span.servers) for span in spans]
    servers = [sum(row.count for row in span.servers) for span in spans]
    used = sum(group.replicas * group.gpus_per_replica for one in layout.workloads for group in one.replica_groups)
    kw = [
        sum(
            (row.in_use + row.stand_by) * server_power_kw(scenario.inventory[row.offer], catalog.gpus[row.gpu])
            for row in span.servers
            if row.term in ("own", "buy")
        )
        for span in spans
    ]
    asked_rps, served_rps = demand_and_served_rps(layout)
    most_rps = max(sum(one.demand_rps for one in span.workloads) for span in spans)
    at_peak = f"requests at peak; {figure(served_rps)}/s are served" if served_rps < asked_rps else "requests at peak"
    paid = f"{'expected ' if layout.futures else ''}over {months_text(scenario.horizon_months)}"
    if scenario.discount_rate_per_year:
        paid += f", later money at {percent(scenario.discount_rate_per_year)} a year less"
    found = [
        KeyFigure("Cost", usd(cost.usd_over_horizon), paid),
        KeyFigure("A month", usd(cost.usd_per_month), "on average" if layout.periods else ""),
        KeyFigure("Purchases" if layout.periods else "Up front", usd(cost.capex_usd)),
        KeyFigure("GPUs", count(gpus[0]), f"{count(used)} in use{_later(gpus)}"),
        KeyFigure("Servers", count(servers[0]), _later(servers).removeprefix("; ")),
        KeyFigure("Demand", f"{figure(asked_rps)}/s", at_peak + _later([asked_rps, most_rps])),
    ]
    if max(kw):
        found.append(KeyFigure("Power", f"{figure(kw[0])} kW", f"owned and bought, before pue{_later(kw)}"))
    found.append(KeyFigure("Gap", percent(layout.gap, 2), "to the proven bound"))
    return KeyFigures(tuple(found))


def _later(amounts: Sequence[float]) -> str:
    """What it grows to, where it does."""
    return f"; later up to {figure(max(amounts))}" if max(amounts) > amounts[0] else ""


def _purchase_list(layout: Layout, scenario: Scenario) -> Iterator[Block]:
    rows = []
    for use in uses(layout, scenario.horizon_months):
        offer = scenario.inventory[use.offer]
        buy = offer.buy if use.term == "buy" else None
        lead = f"{figure(buy.lead_time_months)} months" if buy and buy.lead_time_months else UNKNOWN
        term = TERMS[use.term] + (f", {figure(use.term_months)} months" if use.term_months else "")
        when = f"order in month {use.begin_month + 1:g}" if buy and layout.periods else use.months
        if use.serves_from_month is not None:
            when += f", serves from month {use.serves_from_month + 1:g}"
        rows.append(
            (use.offer, term, count(use.count), f"{offer.gpus_per_server} × {offer.gpu}", when,
             usd(buy.usd_per_server * use.count) if buy else UNKNOWN, _price(use, scenario), lead)
        )  # fmt: skip
    yield table(
        "To quote: what, how many, when, on which terms",
        "offer|term|>servers|GPUs of each|when|>price|>price of each|>lead time",
        rows,
    )
    yield from _standing_by(layout)
    if len(layout.periods) > 1:
        yield _in_service(layout)
    yield Words("As a spreadsheet:")
    yield Code("gpuplan export PLAN --to bill-of-materials -O FOLDER")


def _standing_by(layout: Layout) -> Iterator[Block]:
    """Which of the servers run nothing until another one fails."""
    most: dict[str, int] = {}
    for plan in layout.periods or (layout,):
        for row in plan.servers:
            if row.stand_by:
                most[row.offer] = max(most.get(row.offer, 0), row.stand_by)
    if most:
        up_to = "up to " if len(layout.periods) > 1 else ""
        waiting = listed([f"{up_to}{n} × {offer}" for offer, n in most.items()], "and")
        yield Words(f"Standing by, to take the place of servers that fail: {waiting}.")


def _futures(layout: Layout, months: float) -> Iterator[Block]:
    """In which ways demand may turn out, how likely each is, what it costs and what serves then."""
    if not layout.futures:
        return
    assert layout.cost is not None
    yield Words(
        "What is bought and reserved is decided before demand is known, and the same in all; what is rented follows "
        "demand. Costs elsewhere in this report are what is expected: each scenario's, weighted by its probability. "
        f"Servers, workloads and places are those of {likeliest(layout)}, the likeliest; "
        "`gpuplan export PLAN --future NAME` exports another."
    )
    where = " in its busiest period" if len(layout.periods) > 1 else ""
    yield table(
        f"Demand scenarios, what each costs over {months_text(months)}, and what serves{where}",
        "scenario|>probability|>requests/s at peak|servers|>cost",
        [
            *(
                (one.name, percent(one.probability), figure(asked_rps(busiest(one))), serving(busiest(one)),
                 usd(one.usd_per_hour * HOURS_PER_MONTH * months))
                for one in layout.futures
            ),
            ("expected", UNKNOWN, UNKNOWN, UNKNOWN, usd(layout.cost.usd_over_horizon)),
        ],
    )  # fmt: skip


def _price(use: Use, scenario: Scenario) -> str:
    """What one server is quoted at: once, or by the hour; what is owned has no price."""
    offer = scenario.inventory[use.offer]
    if use.term == "buy" and offer.buy is not None:
        return usd(offer.buy.usd_per_server)
    reserved = next((one for one in offer.reserve if one.term_months == use.term_months), None)
    hourly = {"rent": offer.rent, "spot": offer.spot, "reserve": reserved}.get(use.term)
    return f"{usd(hourly.usd_per_server_hour)}/h" if hourly is not None else UNKNOWN


def _in_service(layout: Layout) -> Figure:
    """Servers of each offer and term in every period."""
    lines = list(dict.fromkeys((row.offer, row.term) for plan in layout.periods for row in plan.servers))
    stacks = [
        Stack(
            months_between(plan.starts_month, plan.starts_month + plan.months),
            tuple(float(sum(row.count for row in plan.servers if (row.offer, row.term) == line)) for line in lines),
        )
        for plan in layout.periods
    ]
    names = [f"{offer}, {TERMS[term]}" for offer, term in lines]
    return Figure(
        "Servers in service",
        stack_chart("Servers in service in each period", names, stacks, lambda amount: count(int(amount))),
        table(
            "Servers in service",
            "|" + "|".join(f">{name.replace('|', '/')}" for name in names),
            [(stack.label, *(count(int(amount)) for amount in stack.amounts)) for stack in stacks],
        ),
    )
