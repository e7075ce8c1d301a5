"""What a plan takes for granted stands in it."""

from __future__ import annotations

from typing import Any

import pytest
from measured import scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize


@pytest.mark.parametrize(
    ("facility", "is_said"), [({}, True), ({"power_price": "$0.10/kWh"}, False), ({"opex": "$50/server/mo"}, False)]
)
def test_a_plan_says_where_owned_servers_cost_nothing_to_run(
    facility: dict[str, Any], is_said: bool, catalog: Catalog
) -> None:
    given = scenario(
        {"chat": workload(1.0, [("l4", 1, 2.0)])},
        {"lab": {"gpu": "l4", "gpus_per_server": 1, "own": 1}},
        facility=facility,
    )
    layout = optimize(load_scenario(given, catalog), catalog)
    assert layout.cost is not None
    assert (layout.cost.usd_per_hour == 0.0) == is_said
    assert any(line.startswith("lab: costs nothing to run") for line in layout.assumptions) == is_said
