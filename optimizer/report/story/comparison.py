"""The comparison of plans as a page: what each says, what it costs and why, and where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from catalog import Catalog
from optimizer.layout import Layout
from optimizer.report.comparison import compared_rows, verdict
from optimizer.report.figures import Stack, stack_chart, standalone
from optimizer.report.plan import proof
from optimizer.report.story.ledger import Cause, Ledger
from optimizer.report.story.machines import latency_blocks, memory_blocks, topology_blocks
from optimizer.report.story.parts import Block, Bullets, Figure, Page, Table, Words, renamed, sections, table
from optimizer.report.story.purchase import recommendation
from optimizer.report.words import usd
from optimizer.scenario import Scenario, load_scenario, scenario_catalog

COMPARED: dict[str, tuple[Cause, ...]] = {
    "purchase less value left": ("price", "value left"),
    "rent and reservations": ("rent", "reservation"),
    "electricity and upkeep": ("electricity", "upkeep"),
}


def comparison_page(plans: Mapping[str, Layout], catalog: Catalog) -> Page:
    """Two or more plans side by side."""
    scenarios = {name: load_scenario(layout.inputs, catalog) for name, layout in plans.items()}
    header = "|".join(["", *(name.replace("|", "/") for name in plans)])

    def side_by_side(kind: Literal["cost", "servers", "workloads"], caption: str) -> Table:
        return table(caption, header, compared_rows(plans, kind))

    return Page(
        title=f"{len(plans)} plans compared",
        lead=verdict(plans),
        warnings=tuple(f"{name}: {warning}" for name, layout in plans.items() for warning in layout.warnings),
        sections=sections(
            ("advice", "What each one says", [_advice(plans, scenarios)]),
            ("cost", "Cost", [side_by_side("cost", "≠ marks what differs"), _money(plans, scenarios, catalog)]),
            ("servers", "Servers", [side_by_side("servers", "≠ marks what differs")]),
            ("workloads", "Workloads", [side_by_side("workloads", "≠ marks what differs")]),
            ("demand", "Latency", _latency(plans, scenarios)),
            ("memory", "Memory", _memory(plans, scenarios, catalog)),
            ("topology", "Where everything runs", _places(plans, scenarios, catalog)),
            ("proof", "What is proven", [Words(f"{name}: {proof(layout)}") for name, layout in plans.items()]),
        ),
    )


def _advice(plans: Mapping[str, Layout], scenarios: Mapping[str, Scenario]) -> Bullets:
    return Bullets(
        tuple(
            f"{name}: {recommendation(layout, scenarios[name]) if layout.cost else f'{layout.status}, no servers'}"
            for name, layout in plans.items()
        )
    )


def _latency(plans: Mapping[str, Layout], scenarios: Mapping[str, Scenario]) -> Iterator[Block]:
    for name, layout in plans.items():
        yield from (renamed(block, name) for block in latency_blocks(layout, scenarios[name]))


def _memory(plans: Mapping[str, Layout], scenarios: Mapping[str, Scenario], catalog: Catalog) -> Iterator[Block]:
    for name, layout in plans.items():
        known = scenario_catalog(scenarios[name], catalog)
        yield from (renamed(block, name) for block in memory_blocks(layout, known))


def _places(plans: Mapping[str, Layout], scenarios: Mapping[str, Scenario], catalog: Catalog) -> Iterator[Block]:
    for name, layout in plans.items():
        if layout.cost is not None:
            yield from (renamed(block, name) for block in topology_blocks(layout, scenarios[name], catalog))


def comparison_picture(plans: Mapping[str, Layout], catalog: Catalog) -> str:
    """What a month of each plan costs and why, as an SVG file."""
    scenarios = {name: load_scenario(layout.inputs, catalog) for name, layout in plans.items()}
    return standalone(_money(plans, scenarios, catalog).svg)


def _money(plans: Mapping[str, Layout], scenarios: Mapping[str, Scenario], catalog: Catalog) -> Figure:
    stacks = []
    for name, layout in plans.items():
        months = scenarios[name].horizon_months
        ledger = Ledger.of(layout, scenarios[name], scenario_catalog(scenarios[name], catalog))
        amounts = tuple(ledger.present(causes) / months for causes in COMPARED.values())
        stacks.append(Stack(name, amounts))
    return Figure(
        "Cost of a month, and why",
        stack_chart("Cost of a month of each plan", tuple(COMPARED), stacks, usd),
        table("Cost of a month", "plan|" + "|".join(f">{part}" for part in COMPARED) + "|>in all",
              [(stack.label, *map(usd, stack.amounts), usd(sum(stack.amounts))) for stack in stacks]),
    )  # fmt: skip
