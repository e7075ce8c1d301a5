"""What must hold of costs whatever the scenario, in one period and over several."""

from __future__ import annotations

import copy
import json
import math
import random
import re
from typing import Any

import pytest
from measured import scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize

SEEDS = range(6)
PERIODS = (1, 3)
ROUNDING = 1e-6


def draw(seed: int, periods: int) -> dict[str, Any]:
    """Two workloads on two offers, to own, buy, reserve and rent, with budgets that may bind."""
    rng = random.Random(f"laws/{seed}")
    inventory = {gpu: _offer(gpu, rng) for gpu in ("l4", "l40s")}
    asked = {}
    for name in ("a", "b"):
        rates = [("l4", 1, round(rng.uniform(0.5, 1.5), 2)), ("l40s", 1, round(rng.uniform(1.5, 4.0), 2))]
        asked[name] = workload(round(rng.uniform(0.5, 4.0), 2), rates)
        if periods > 1:
            asked[name]["growth"] = rng.choice(("-20%/period", "10%/period", "40%/period"))
    facility = {"power_price": "$0.10/kWh", "opex": "$40/server/mo"}
    budget = {"capex": f"${rng.randint(5, 40)}k", "monthly": f"${rng.randint(3, 9)}k"}
    return scenario(asked, inventory, horizon="12mo", periods=periods, facility=facility, budget=budget)


def _offer(gpu: str, rng: random.Random) -> dict[str, Any]:
    price = rng.uniform(0.5, 2.0)
    return {
        "gpu": gpu,
        "gpus_per_server": rng.choice((1, 2, 4)),
        "own": rng.choice((0, 1)),
        "rent": {"price": f"${price:.2f}/gpu/h", "max": rng.randint(2, 6)},
        "buy": {"price": f"${rng.randint(4, 9)}k/server", "life": "36mo", "residual": "10%", "max": 2},
        "reserve": [{"term": "12mo", "price": f"${price * 0.7:.2f}/gpu/h", "max": 1}],
    }


def usd(given: dict[str, Any], catalog: Catalog) -> float:
    """The least cost over the horizon, infinite where there is no plan."""
    layout = optimize(load_scenario(given, catalog), catalog, gap=0.0, solver="highs")
    assert layout.status in ("optimal", "infeasible")
    return math.inf if layout.cost is None else layout.cost.usd_over_horizon


@pytest.mark.parametrize("periods", PERIODS)
@pytest.mark.parametrize("seed", SEEDS)
def test_more_supply_and_larger_budgets_never_cost_more(seed: int, periods: int, catalog: Catalog) -> None:
    given = draw(seed, periods)
    cost = usd(given, catalog)
    for offer in given["inventory"]:
        for term in ("own", "rent", "buy", "reserve"):
            richer = copy.deepcopy(given)
            if term == "own":
                richer["inventory"][offer]["own"] += 1
            else:
                terms = richer["inventory"][offer][term]
                (terms[0] if term == "reserve" else terms)["max"] += 1
            assert usd(richer, catalog) <= cost * (1 + ROUNDING)
    for key in ("capex", "monthly"):
        assert usd(given | {"budget": given["budget"] | {key: "$90k"}}, catalog) <= cost * (1 + ROUNDING)


@pytest.mark.parametrize("periods", PERIODS)
@pytest.mark.parametrize("seed", SEEDS)
def test_surviving_the_loss_of_a_server_and_more_demand_never_cost_less(
    seed: int, periods: int, catalog: Catalog
) -> None:
    given = draw(seed, periods)
    cost = usd(given, catalog)
    for more in ({"spare": "n+1"}, {"peak": "1.3x"}):
        asked = {**given["workloads"], "a": given["workloads"]["a"] | more}
        assert usd(given | {"workloads": asked}, catalog) >= cost * (1 - ROUNDING)


@pytest.mark.parametrize("periods", PERIODS)
@pytest.mark.parametrize("seed", SEEDS)
def test_doubling_every_price_doubles_the_cost(seed: int, periods: int, catalog: Catalog) -> None:
    given = draw(seed, periods)
    doubled = re.sub(r'"\$([0-9.]+)', lambda price: f'"${float(price[1]) * 2}', json.dumps(given))
    assert usd(json.loads(doubled), catalog) == pytest.approx(2 * usd(given, catalog))


@pytest.mark.parametrize("seed", SEEDS)
def test_one_period_is_the_program_without_periods(seed: int, catalog: Catalog) -> None:
    given = draw(seed, 1)
    layout = optimize(load_scenario(given, catalog), catalog, gap=0.0)
    del given["periods"]
    same = optimize(load_scenario(given, catalog), catalog, gap=0.0)
    assert (layout.cost, layout.servers, layout.workloads) == (same.cost, same.servers, same.workloads)
    assert layout.periods == ()


@pytest.mark.parametrize("periods", [1, 2])
def test_looser_targets_never_cost_more(periods: int, catalog: Catalog) -> None:
    costs = []
    for factor in (0.5, 1.0, 2.0):
        chat = {
            "model": "Qwen/Qwen3-14B", "requests": "9/s", "input_tokens": 1200, "output_tokens": 250,
            "slo": {"ttft_p95": f"{1500 * factor:.0f}ms", "tpot_p95": f"{40 * factor:.0f}ms"},
        }  # fmt: skip
        offers = {
            gpu: {"gpu": gpu, "gpus_per_server": 4, "rent": {"price": f"${price}/gpu/h", "max": 4}}
            for gpu, price in (("h100-sxm", 2.4), ("a100-80gb-sxm", 1.4), ("l40s", 0.9))
        }
        given = {"name": "laws", "horizon": "2mo", "periods": periods, "workloads": {"chat": chat}, "inventory": offers}
        costs.append(usd(given, catalog))
    assert costs[0] > costs[1] >= costs[2]
    assert math.isfinite(costs[0])
