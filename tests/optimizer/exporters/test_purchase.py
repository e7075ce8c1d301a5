"""The bill of materials of a plan over periods lists all of its orders, whichever period is exported."""

from __future__ import annotations

import csv

import pytest
from measured import scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize
from optimizer.exporters import EXPORTERS
from optimizer.topology import build_topology


@pytest.mark.parametrize("period", [1, 2])
def test_later_orders_and_uses_are_on_the_bill(period: int, catalog: Catalog) -> None:
    # One server carries 10/s: one is needed in the first quarter and two in the second. A bought one takes a quarter to
    # arrive, so one is rented until then; two servers at $600 cost less than 2 × 3 × 730 h of rent at $1.
    growing = workload(8, [("h100-sxm", 1, 10)])
    del growing["requests"]
    growing["requests_per_period"] = ["8/s", "16/s"]
    card = {"gpu": "h100-sxm", "gpus_per_server": 1}
    offers = {
        "new": {**card, "buy": {"price": "$600/server", "life": "12mo", "lead_time": "3mo", "residual": "0%"}},
        "cloud": {**card, "rent": {"price": "$1/server/h"}},
    }
    keys = scenario({"a": growing}, offers, horizon="6mo", periods=2, max_utilization="100%")
    plan = optimize(load_scenario(keys, catalog), catalog)
    files = EXPORTERS["bill-of-materials"].render(build_topology(plan, catalog, period)).files
    rows = list(csv.DictReader(files["bill-of-materials.csv"].splitlines()))
    said = ("offer", "term", "count", "from_month", "to_month", "serves_from_month", "purchase_usd")
    assert [[row[column] for column in said] for row in rows] == [
        ["new", "buy", "2", "1.0", "6.0", "4.0", "1200.0"],
        ["cloud", "rent", "1", "1.0", "3.0", "1.0", ""],
    ]
