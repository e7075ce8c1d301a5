"""Plans side by side: cost, servers and how each workload is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.layout import Layout
from optimizer.report.fleet import kinds
from optimizer.report.periods import TERMS, counted, term_words
from optimizer.report.plan import degrees
from optimizer.report.tables import Justify, table
from optimizer.report.words import UNKNOWN, count, figure, percent, usd
from optimizer.uses import uses


def comparison_report(plans: Mapping[str, Layout]) -> RenderableType:
    """One column a plan; a row that differs between plans carries a mark."""
    columns: list[tuple[str, Justify]] = [(header, "left") for header in ("", *plans)]
    return Group(
        table("Cost", columns, compared_rows(plans, "cost")),
        Text(""),
        table("Servers", columns, compared_rows(plans, "servers")),
        Text(""),
        table("Workloads", columns, compared_rows(plans, "workloads")),
        Text(""),
        Text(verdict(plans)),
    )


def compared_rows(plans: Mapping[str, Layout], kind: Literal["cost", "servers", "workloads"]) -> list[tuple[str, ...]]:
    """A name and what each plan says of it; rows in which plans differ are marked."""
    of_plan, absent = {
        "cost": (_costs, UNKNOWN),
        "servers": (_servers, "none"),
        "workloads": (_workloads, "not served"),
    }[kind]
    return _marked(_by_key([of_plan(layout) for layout in plans.values()], absent))


def comparison_data(plans: Mapping[str, Layout]) -> dict[str, Any]:
    """The same as plain data; `usd_per_hour_difference` is against the first plan."""
    layouts = list(plans.values())
    first = layouts[0].cost
    return {
        "plans": [
            {
                "file": name,
                "scenario": layout.scenario,
                "scenario_sha256": layout.scenario_sha256,
                "status": layout.status,
                "gap": layout.gap,
                "cost": layout.cost.model_dump(mode="json") if layout.cost else None,
                "usd_per_hour_difference": layout.cost.usd_per_hour - first.usd_per_hour
                if layout.cost and first
                else None,
                "servers": _servers(layout),
                "workloads": _workloads(layout),
            }
            for name, layout in plans.items()
        ],
        "same_scenario": len({layout.scenario_sha256 for layout in layouts}) == 1,
    }


def _costs(layout: Layout) -> dict[str, str]:
    """What is paid and what is proven, by name."""
    money = layout.cost.model_dump() if layout.cost else {}
    return {
        "status": layout.status,
        "per hour": usd(money.get("usd_per_hour")),
        "per month": usd(money.get("usd_per_month")),
        "over the horizon": usd(money.get("usd_over_horizon")),
        "up front": usd(money.get("capex_usd")),
        "proven bound": usd(money.get("bound_usd_per_hour")),
        "gap": percent(layout.gap, 2),
        "GPUs": count(
            max(sum(row.count * row.gpus_per_server for row in one.servers) for one in layout.periods or (layout,))
        ),
    }


def _servers(layout: Layout) -> dict[str, str]:
    """Offer and term -> what is taken of it; with periods how many when."""
    if not layout.periods:
        return {
            f"{row.offer}, {term_words(row)}": f"{counted(row)} × {row.gpus_per_server} {row.gpu}, "
            f"{usd(row.usd_per_hour)}/h each"
            for row in layout.servers
        }
    last = layout.periods[-1]
    found: dict[str, list[str]] = {}
    for use in uses(layout, last.starts_month + last.months):
        found.setdefault(f"{use.offer}, {TERMS[use.term]}", []).append(f"{use.count} in {use.months}")
    return {name: "\n".join(lines) for name, lines in found.items()}


def _workloads(layout: Layout) -> dict[str, str]:
    """Workload -> a line for each kind of replica; with periods the fewest and the most of it, and the most load."""
    found: dict[str, list[str]] = {}
    for kind in kinds(layout):
        group, (low, high) = kind.group, (min(kind.replicas), max(kind.replicas))
        found.setdefault(kind.workload, []).append(
            f"{high if low == high else f'{low}–{high}'} × {group.model or 'measured'}"
            + (f" {group.weight_dtype}" if group.weight_dtype else "")
            + f" on {', '.join(group.offers.splitlines())} (GPUs {degrees(group)}), {figure(group.load_rps)}/s, "
            + f"{percent(group.utilization)} used"
        )
    return {name: "\n".join(lines) for name, lines in found.items()}


def _by_key(columns: list[dict[str, str]], absent: str) -> dict[str, list[str]]:
    """Key -> its text in each plan, keys in order of first appearance."""
    keys = dict.fromkeys(key for column in columns for key in column)
    return {key: [column.get(key, absent) for column in columns] for key in keys}


def _marked(rows: Mapping[str, list[str]]) -> list[tuple[str, ...]]:
    return [(f"{'≠' if len(set(texts)) > 1 else ' '} {label}", *texts) for label, texts in rows.items()]


def verdict(plans: Mapping[str, Layout]) -> str:
    """Which plan is cheapest, and by how much."""
    if len({layout.scenario_sha256 for layout in plans.values()}) > 1:
        return "The plans answer different scenarios."
    costs = {name: layout.cost.usd_per_hour for name, layout in plans.items() if layout.cost is not None}
    if len(costs) < 2:
        return "The plans answer the same scenario."
    cheapest = min(costs, key=lambda name: costs[name])
    dearest = max(costs, key=lambda name: costs[name])
    if costs[cheapest] == costs[dearest]:
        return f"The plans answer the same scenario at the same cost, {usd(costs[cheapest])} per hour."
    saved = costs[dearest] - costs[cheapest]
    return (
        f"The plans answer the same scenario; {cheapest} is {usd(saved)} per hour "
        f"({percent(saved / costs[dearest], 1)}) cheaper than {dearest}."
    )
