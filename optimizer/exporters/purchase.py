"""The bill of materials: what to have, on which terms and for how much, as CSV for spreadsheets and as JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from catalog.units import HOURS_PER_MONTH
from optimizer.exporters.base import Export, finished
from optimizer.topology import Topology

COLUMNS = (
    "offer", "term", "gpu", "gpus_per_server", "count", "gpus", "usd_per_hour_each", "usd_per_hour", "usd_per_month",
    "purchase_usd_each", "purchase_usd", "lead_time_months",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to spreadsheets (https://owasp.org/www-community/attacks/CSV_Injection)."""


def render(topology: Topology) -> Export:
    """`bill-of-materials.csv` and `bill-of-materials.json`, the same lines in both."""
    rows = [_row(topology, position) for position in range(len(topology.layout.servers))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(row[column]) for column in COLUMNS] for row in rows)
    cost = topology.layout.cost
    document = {
        "schema_version": 1,
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


def _row(topology: Topology, position: int) -> dict[str, Any]:
    row = topology.layout.servers[position]
    buy = topology.scenario.inventory[row.offer].buy if row.term == "buy" else None
    return {
        "offer": row.offer,
        "term": row.term,
        "gpu": row.gpu,
        "gpus_per_server": row.gpus_per_server,
        "count": row.count,
        "gpus": row.count * row.gpus_per_server,
        "usd_per_hour_each": round(row.usd_per_hour, 4),
        "usd_per_hour": round(row.count * row.usd_per_hour, 4),
        "usd_per_month": round(row.count * row.usd_per_hour * HOURS_PER_MONTH, 2),
        "purchase_usd_each": buy.usd_per_server if buy else None,
        "purchase_usd": buy.usd_per_server * row.count if buy else None,
        "lead_time_months": buy.lead_time_months if buy else None,
    }


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would calculate is shown instead."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value
