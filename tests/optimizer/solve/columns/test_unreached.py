"""What columns reach, and what they do not know and so goes to the plain method, however many workloads there are."""

from __future__ import annotations

from typing import Any

import pytest
from measured import rented, scenario, workload
from random_instances import instance

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.solve.columns import unreached
from optimizer.solve.method import MOST_PLAIN_WORKLOADS

MANY = MOST_PLAIN_WORKLOADS + 1
NODES = {"node": rented("l4", 2, 1.0)}
INTERRUPTED = {"price": "$0.5/gpu/h", "interruption": "5%/h"}


def many(inventory: dict[str, Any], **more: Any) -> dict[str, Any]:
    """More workloads than the plain method gets by itself, each of 1.5 requests/s on replicas of one GPU and 1/s."""
    workloads = {f"w{i}": workload(1.5, [("l4", 1, 1.0)]) for i in range(MANY)}
    return scenario(workloads, inventory, **more)


def with_spare() -> dict[str, Any]:
    given = many(NODES)
    given["workloads"]["w0"]["spare"] = "n+1"
    return given


# Every workload needs two replicas of one GPU, on half a server of 1 $ each: 2 GPUs · 1 $ · 13 workloads an hour. What
# is different costs what the comment says.
def test_many_workloads_of_which_one_must_survive_a_loss_are_solved_plainly(catalog: Catalog) -> None:
    # Its second replica stands on another server: that leaves 1/s of 1.5/s after a loss, so w0 gets a third: 27 GPUs
    # are 14 servers.
    loaded = load_scenario(with_spare(), catalog)
    layout = optimize(loaded, catalog, gap=0.0)
    assert layout.solver == "scip"
    assert layout.status == "optimal"
    assert layout.cost is not None
    assert layout.cost.usd_per_hour == pytest.approx(28.0)
    assert verify(layout, loaded, catalog) == []
    assert not layout.warnings
    assert "spare" in unreached(instance(with_spare(), catalog))
    asked = optimize(loaded, catalog, gap=0.0, method="columns")
    assert asked.cost == layout.cost
    assert any("spare" in warning for warning in asked.warnings)


@pytest.mark.parametrize(
    ("given", "usd_per_hour"),
    [
        # Rented servers are the same in both halves.
        (many(NODES, periods=2, horizon="24mo"), 26.0),
        # Purchases for 8,760 $ a GPU that are worth nothing after 24 months of 730 h: 0.5 $ a GPU and hour.
        (
            many(
                {"node": {"gpu": "l4", "gpus_per_server": 2, "buy": {"price": "$17520/server", "life": "24mo"}}},
                periods=2,
                horizon="24mo",
            ),
            13.0,
        ),
        # 13 servers at 1 $ and the spares that stand by for those that are taken away: with 5 %/h and half an hour
        # 0.325 are missing at a time; P(Poisson(0.325) ≤ 1) = 0.957 is less than 99 %, P(≤ 2) = 0.996 is not.
        (many({"node": {"gpu": "l4", "gpus_per_server": 2, "spot": INTERRUPTED | {"recovery": "30min"}}}), 15.0),
    ],
    ids=["periods", "orders", "spot spares"],
)
def test_columns_reach_periods_orders_and_spares_of_spot_servers(
    given: dict[str, Any], usd_per_hour: float, catalog: Catalog
) -> None:
    loaded = load_scenario(given, catalog)
    layout = optimize(loaded, catalog, gap=0.0, method="columns")
    assert (layout.solver, layout.status, layout.warnings) == ("columns", "optimal", ())
    assert layout.cost is not None
    assert layout.cost.usd_per_hour == pytest.approx(usd_per_hour)
    assert verify(layout, loaded, catalog) == []


def test_reservations_of_a_single_period_are_terms_like_others(catalog: Catalog) -> None:
    # A whole term of 12 months at 0.6 $, at most 10 of the 13 servers; the others are rented at 1 $ a GPU.
    node = rented("l4", 2, 1.0) | {"reserve": [{"term": "12mo", "price": "$0.6/gpu/h", "max": 10}]}
    loaded = load_scenario(many({"node": node}, horizon="12mo"), catalog)
    layout = optimize(loaded, catalog, gap=0.0)
    assert layout.solver == "columns"
    assert layout.cost is not None
    assert layout.cost.usd_per_hour == pytest.approx(10 * 2 * 0.6 + 3 * 2 * 1.0)
    assert {row.term: row.count for row in layout.servers} == {"rent": 3, "reserve": 10}
    assert verify(layout, loaded, catalog) == []


def test_spot_servers_that_nobody_takes_away_are_terms_like_others(catalog: Catalog) -> None:
    node = {"gpu": "l4", "gpus_per_server": 2, "spot": {"price": "$0.5/gpu/h", "interruption": "0%/h"}}
    layout = optimize(load_scenario(many({"node": node}), catalog), catalog, gap=0.0)
    assert layout.solver == "columns"
    assert layout.cost is not None
    assert layout.cost.usd_per_hour == pytest.approx(13.0)
