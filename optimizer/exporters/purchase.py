"""The bill of materials: what to have, when, on which terms and for how much, as CSV for spreadsheets and as JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from catalog.units import HOURS_PER_MONTH
from optimizer.exporters.base import Export, finished
from optimizer.layout import Layout
from optimizer.topology import Topology
from optimizer.uses import Use, uses

COLUMNS = (
    "offer", "term", "gpu", "gpus_per_server", "count", "gpus", "from_month", "to_month", "serves_from_month",
    "usd_per_hour_each", "usd_per_hour", "usd_per_month", "purchase_usd_each", "purchase_usd", "lead_time_months",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to spreadsheets (https://owasp.org/www-community/attacks/CSV_Injection)."""


def render(topology: Topology) -> Export:
    """`bill-of-materials.csv` and `bill-of-materials.json`, the same lines in both: every order of the whole plan and
    every span of equal use, from a month (of a purchase that of its order) to a month, counted from 1, both included.
    """
    rows = [_row(use, topology) for use in uses(topology.layout, topology.scenario.horizon_months)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(row[column]) for column in COLUMNS] for row in rows)
    cost = topology.layout.cost
    document = {
        "schema_version": 2,
        "scenario": topology.document.scenario,
        "plan_sha256": topology.document.plan_sha256,
        "horizon_months": topology.scenario.horizon_months,
        "cost": None if cost is None else cost.model_dump(mode="json"),
        "lines": rows,
    }
    files = {
        "bill-of-materials.csv": text.getvalue(),
        "bill-of-materials.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
    }
    return finished(files, (), "bill-of-materials")


def _row(use: Use, topology: Topology) -> dict[str, Any]:
    offer = topology.scenario.inventory[use.offer]
    buy = offer.buy if use.term == "buy" else None
    usd_per_hour = _usd_per_hour(use, topology.layout)
    return {
        "offer": use.offer,
        "term": use.term,
        "gpu": offer.gpu,
        "gpus_per_server": offer.gpus_per_server,
        "count": use.count,
        "gpus": use.count * offer.gpus_per_server,
        "from_month": use.begin_month + 1,
        "to_month": use.end_month,
        "serves_from_month": use.serves_month + 1,
        "usd_per_hour_each": round(usd_per_hour, 4),
        "usd_per_hour": round(use.count * usd_per_hour, 4),
        "usd_per_month": round(use.count * usd_per_hour * HOURS_PER_MONTH, 2),
        "purchase_usd_each": buy.usd_per_server if buy else None,
        "purchase_usd": buy.usd_per_server * use.count if buy else None,
        "lead_time_months": buy.lead_time_months if buy else None,
    }


def _usd_per_hour(use: Use, plan: Layout) -> float:
    """Of one server in service: what the plan says where these servers serve first."""
    spans = [one.servers for one in plan.periods if one.starts_month >= use.serves_month] or [plan.servers]
    return next(
        row.usd_per_hour
        for servers in spans
        for row in servers
        if (row.offer, row.term, row.term_months) == (use.offer, use.term, use.term_months)
    )


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would calculate is shown instead."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
