"""One program to one solver: what the solver says by itself is no part of an answer."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
from measured import scenario, workload

from catalog import Catalog
from optimizer import load_scenario
from optimizer.explain import pareto

# HiGHS 1.12 prints a line of its own for this one, which C writes when its buffer is flushed.
RATES = [("h100-sxm", 6, 54.44), ("h100-sxm", 1, 5.4), ("l4", 3, 2.2), ("l4", 1, 1.05)]
FALLING = [("h100-sxm", 4, 30.18), ("h100-sxm", 2, 13.88), ("l4", 1, 0.86), ("l4", 2, 1.8)]
OFFERS: dict[str, Any] = {
    "large": {
        "gpu": "h100-sxm", "gpus_per_server": 8, "racks": {"c": 2, "a": 2, "b": 2},
        "rent": {"price": "$29.02/server/h", "max": 3},
        "spot": {"price": "$11.61/server/h", "max": 1, "interruption": "40%/h", "availability": "95%"},
    },
    "small": {
        "gpu": "l4", "gpus_per_server": 3, "racks": {"b": 1, "c": 2}, "rent": {"price": "$2.35/server/h", "max": 2},
        "buy": {"price": "$2708/server", "life": "36mo", "residual": "25%", "max": 1},
    },
    "owned": {
        "gpu": "l4", "gpus_per_server": 4, "own": 1, "power": "2kW/server",
        "buy": {"price": "$7273/server", "life": "12mo", "max": 1},
    },
}  # fmt: skip


def test_what_solvers_print_is_not_written_where_answers_are(
    catalog: Catalog, capfd: pytest.CaptureFixture[str]
) -> None:
    rising = workload(1, RATES, peak="1.4x", spare="n+1")
    del rising["requests"]
    rising["requests_per_period"] = ["24.5/s", "42.82/s", "19.88/s"]
    asked = {"rising": rising, "falling": workload(7.99, FALLING, spare="n+1", growth="-30%/period")}
    facility = {"power_price": "$0.15/kWh", "pue": 1.3, "opex": "$120/server/mo"}
    given = scenario(asked, OFFERS, horizon="9mo", periods=3, facility=facility) | {"max_utilization": "80%"}
    front = pareto(load_scenario(given, catalog), catalog, "power")
    ctypes.CDLL(None).fflush(None)
    assert front.points
    assert capfd.readouterr().out == ""
