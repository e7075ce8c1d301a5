"""The purchase report of a plan, and the comparison of several: what to say, in what order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from catalog import Catalog
from optimizer.errors import InputError
from optimizer.layout import Layout
from optimizer.report.figures import Stack, stack_chart
from optimizer.report.periods import TERMS
from optimizer.report.plan import proof
from optimizer.report.story.doubts import doubt_sections
from optimizer.report.story.machines import demand_blocks, memory_blocks, topology_blocks
from optimizer.report.story.money import Bill, bills, break_even_blocks, cost_blocks, months_text
from optimizer.report.story.parts import Block, Figure, KeyFigure, KeyFigures, Page, Table, Words, sections, table
from optimizer.report.story.provenance import provenance_blocks
from optimizer.report.story.whatif import WhatIf
from optimizer.report.words import UNKNOWN, count, figure, percent, usd
from optimizer.scenario import Scenario, load_scenario, scenario_catalog
from optimizer.topology import build_topology

VERBS = {"buy": "Buy", "rent": "rent", "reserve": "reserve", "spot": "rent as spot", "own": "use"}


def purchase_page(layout: Layout, scenario: Scenario, catalog: Catalog, found: WhatIf | None) -> Page:
    """The report; `found` = None leaves out what needs solving again. A plan without servers raises InputError."""
    if layout.cost is None:
        raise InputError(f"the plan of {layout.scenario} is {layout.status}: there are no servers to report on")
    topology = build_topology(layout, catalog)
    paid = bills(layout, scenario, topology.catalog)
    pareto, tornado, thresholds = doubt_sections(layout, scenario, found)
    return Page(
        title=f"{layout.scenario}: what to buy, rent and use",
        lead=recommendation(layout, scenario),
        warnings=layout.warnings,
        sections=sections(
            ("figures", "Key figures", [_key_figures(layout, scenario, paid)]),
            ("list", "What to buy, rent and use", _purchase_list(layout, scenario)),
            ("money", "Cost over time", cost_blocks(paid, scenario)),
            ("break-even", "Buy or rent", break_even_blocks(paid, scenario)),
            ("alternatives", "Alternatives", pareto),
            ("demand", "Workloads: target and prediction", demand_blocks(layout, scenario)),
            ("memory", "Memory", memory_blocks(layout, topology.catalog)),
            ("topology", "Where everything runs", topology_blocks(topology, paid)),
            ("doubts", "What moves the cost", tornado),
            ("thresholds", "What would change the decision", thresholds),
            ("basis", "Assumptions and sources", provenance_blocks(layout, topology.catalog)),
        ),
    )


def summary_blocks(layout: Layout, scenario: Scenario, catalog: Catalog) -> tuple[Block, ...]:
    """The shortest useful part: the sentence, the purchase list, the servers; without servers what is proven."""
    if layout.cost is None:
        return (Words(f"{layout.scenario}: {layout.status}"), Words(proof(layout)))
    topology = build_topology(layout, catalog)
    paid = bills(layout, scenario, topology.catalog)
    return (
        Words(recommendation(layout, scenario)),
        *_purchase_list(layout, scenario),
        *topology_blocks(topology, paid),
    )


def recommendation(layout: Layout, scenario: Scenario) -> str:
    """One sentence: what to do, for how much, and how sure that is."""
    assert layout.cost is not None
    by_term: dict[str, list[str]] = {}
    for row in layout.servers:
        by_term.setdefault(row.term, []).append(f"{row.count} × {row.offer}")
    parts = [f"{VERBS[term].lower()} {listed(by_term[term])}" for term in VERBS if term in by_term]
    doing = listed(parts) or "nothing is needed"
    months = scenario.horizon_months
    span = "a month" if months == 1 else f"over {months_text(months)}"
    front = f", {usd(layout.cost.capex_usd)} of it up front" if layout.cost.capex_usd else ""
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
    return f"{doing[:1].upper()}{doing[1:]}: {usd(layout.cost.usd_over_horizon)} {span}{front} ({sure})."


def demand_and_served_rps(layout: Layout) -> tuple[float, float]:
    """Requests per second that are asked for, and those that the plan serves."""
    asked_rps = sum(one.demand_rps for one in layout.workloads)
    return asked_rps, sum(one.demand_rps * one.served_fraction for one in layout.workloads)


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _key_figures(layout: Layout, scenario: Scenario, paid: tuple[Bill, ...]) -> KeyFigures:
    cost = layout.cost
    assert cost is not None
    gpus = sum(row.count * row.gpus_per_server for row in layout.servers)
    used = sum(group.replicas * group.gpus_per_replica for one in layout.workloads for group in one.replica_groups)
    kw = sum(bill.power_kw for bill in paid if bill.row.term in ("own", "buy"))
    asked_rps, served_rps = demand_and_served_rps(layout)
    at_peak = f"requests at peak; {figure(served_rps)}/s are served" if served_rps < asked_rps else "requests at peak"
    found = [
        KeyFigure("Cost", usd(cost.usd_over_horizon), f"over {months_text(scenario.horizon_months)}"),
        KeyFigure("A month", usd(cost.usd_per_month)),
        KeyFigure("Up front", usd(cost.capex_usd)),
        KeyFigure("GPUs", count(gpus), f"{count(used)} in use"),
        KeyFigure("Servers", count(sum(row.count for row in layout.servers))),
        KeyFigure("Demand", f"{figure(asked_rps)}/s", at_peak),
    ]
    if kw:
        found.append(KeyFigure("Power", f"{figure(kw)} kW", "owned and bought, before pue"))
    found.append(KeyFigure("Gap", percent(layout.gap, 2), "to the proven bound"))
    return KeyFigures(tuple(found))


def _purchase_list(layout: Layout, scenario: Scenario) -> Iterator[Block]:
    rows = []
    for term in VERBS:
        for row in (row for row in layout.servers if row.term == term):
            offer = scenario.inventory[row.offer]
            buy = offer.buy if term == "buy" else None
            lead = f"{figure(buy.lead_time_months)} months" if buy and buy.lead_time_months else UNKNOWN
            rows.append(
                (row.offer, TERMS[term], count(row.count), f"{row.gpus_per_server} × {row.gpu}",
                 usd(buy.usd_per_server) if buy else UNKNOWN, usd(buy.usd_per_server * row.count) if buy else UNKNOWN,
                 usd(row.usd_per_hour), lead)
            )  # fmt: skip
    yield table(
        "To quote: what, how many, on which terms; the hourly cost of one server counts everything over the horizon",
        "offer|term|>servers|GPUs of each|>price each|>price|>$/h each|>lead time",
        rows,
    )
    yield Words("As a spreadsheet: gpuplan export PLAN --to bill-of-materials -O FOLDER")


def comparison_page(plans: Mapping[str, Layout], catalog: Catalog) -> Page:
    """Two or more plans side by side."""
    from optimizer.report.comparison import compared_rows, verdict

    scenarios = {name: load_scenario(layout.inputs, catalog) for name, layout in plans.items()}
    header = "|".join(["", *(name.replace("|", "/") for name in plans)])
    parts = ("purchase less value left", "rent", "electricity and upkeep")
    stacks = []
    for name, layout in plans.items():
        paid, months = (
            bills(layout, scenarios[name], scenario_catalog(scenarios[name], catalog)),
            scenarios[name].horizon_months,
        )
        lost = sum(bill.price_usd - bill.value_left_usd for bill in paid)
        rent = sum(bill.rent_usd_per_month for bill in paid) * months
        running = sum(bill.running_usd_per_month for bill in paid) * months
        stacks.append(Stack(name, (lost / months, rent / months, running / months)))
    money = Figure(
        "Cost of a month, and why",
        stack_chart("Cost of a month of each plan", parts, stacks, usd),
        table("Cost of a month", "plan|" + "|".join(f">{part}" for part in parts),
              [(stack.label, *map(usd, stack.amounts)) for stack in stacks]),
    )  # fmt: skip

    def side_by_side(kind: Literal["cost", "servers", "workloads"], caption: str) -> Table:
        return table(caption, header, compared_rows(plans, kind))

    return Page(
        title=f"{len(plans)} plans compared",
        lead=verdict(plans),
        warnings=tuple(f"{name}: {warning}" for name, layout in plans.items() for warning in layout.warnings),
        sections=sections(
            ("cost", "Cost", [side_by_side("cost", "≠ marks what differs"), money]),
            ("servers", "Servers", [side_by_side("servers", "≠ marks what differs")]),
            ("workloads", "Workloads", [side_by_side("workloads", "≠ marks what differs")]),
            ("proof", "What is proven", [Words(f"{name}: {proof(layout)}") for name, layout in plans.items()]),
        ),
    )
