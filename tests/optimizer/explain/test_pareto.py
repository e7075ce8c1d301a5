"""Fronts of plans of which none is beaten in both, against enumeration and by hand."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario
from optimizer.explain import Against, Front, pareto
from optimizer.scenario import scenario_catalog


def front(given: dict[str, Any] | str, catalog: Catalog, against: Against) -> Front:
    loaded = load_scenario(given, catalog)
    found = pareto(loaded, scenario_catalog(loaded, catalog), against)
    assert all(point.is_proven for point in found.points)
    return found


def points(found: Front) -> list[tuple[float, float]]:
    return [(point.usd_per_hour, point.value) for point in found.points]


def test_fewer_kinds_of_cards_cost_more(catalog: Catalog) -> None:
    # w is $8 on a or $10 on b, v is $3 on b or $9 on a: $11 with both cards; with one, $17 on a or $13 on b.
    given = scenario(
        {
            "w": workload(5, [("h100-sxm", 1, 5.0), ("l40s", 1, 5.0)]),
            "v": workload(1, [("h100-sxm", 1, 1.0), ("l4", 1, 1.0), ("l40s", 1, 1.0)]),
        },
        {"a": rented("h100-sxm", 1, 8.0), "b": rented("l40s", 1, 10.0), "c": rented("l4", 1, 3.0)},
    )
    # a and c: 8 + 3 = $11. One kind only: two of a $16, two of b $20.
    found = front(given, catalog, "gpu-types")
    assert points(found) == [(pytest.approx(11.0), 2.0), (pytest.approx(16.0), 1.0)]
    assert found.points[1].servers == ("2 × a (rent)",)


def draw(seed: int) -> dict[str, Any]:
    """One workload on up to three offers of one-GPU servers with powers and prices of their own."""
    rng = random.Random(seed)
    cards = ("h100-sxm", "l40s", "l4")
    inventory = {
        f"o{i}": rented(card, 1, round(rng.uniform(1, 5), 2), most=3) | {"power": f"{rng.randint(1, 9)}kW/server"}
        for i, card in enumerate(cards)
    }
    measured = [(card, 1, round(rng.uniform(1, 5), 2)) for card in cards]
    return scenario({"w": workload(round(rng.uniform(2, 9), 2), measured)}, inventory)


def enumerated(given: dict[str, Any]) -> list[tuple[float, float]]:
    """Every undominated (cost, power) over all server counts."""
    demand = float(given["workloads"]["w"]["requests"][:-2])
    rates = [one["requests_per_s"]["all"] for one in given["workloads"]["w"]["measured"]]
    offers = list(given["inventory"].values())
    usd = [float(one["rent"]["price"][1:].removesuffix("/gpu/h")) for one in offers]
    kilowatts = [float(one["power"].removesuffix("kW/server")) for one in offers]
    found = []
    for counts in itertools.product(range(4), repeat=3):
        if sum(n * rate for n, rate in zip(counts, rates, strict=True)) >= demand - 1e-9:
            cost, power = (sum(n * x for n, x in zip(counts, of, strict=True)) for of in (usd, kilowatts))
            found.append((round(cost, 9), power))
    return [a for a in set(found) if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in found)]


@pytest.mark.parametrize("seed", range(15))
def test_every_point_of_a_front_is_one_that_enumeration_finds(seed: int, catalog: Catalog) -> None:
    given = draw(seed)
    expected = sorted(enumerated(given))
    found = points(front(given, catalog, "power"))
    assert {(round(cost, 6), round(power, 6)) for cost, power in found} <= {(round(c, 6), p) for c, p in expected}
    # Both ends are always there: the cheapest, and the one with the least power.
    assert found[0] == pytest.approx(expected[0])
    assert found[-1] == pytest.approx(expected[-1])


def test_tighter_targets_and_better_formats_cost_more(catalog: Catalog) -> None:
    by_latency = points(front("scenarios/quickstart.yaml", catalog, "latency"))
    assert [value for _, value in by_latency] == sorted((value for _, value in by_latency), reverse=True)
    assert [cost for cost, _ in by_latency] == sorted(cost for cost, _ in by_latency)
    assert len(by_latency) > 1
    by_quality = points(front("scenarios/quickstart.yaml", catalog, "quality"))
    assert [value for _, value in by_quality] == sorted(value for _, value in by_quality)
    assert by_quality[-1][1] == pytest.approx(1.0)  # bf16 is always one of the formats


def test_without_a_plan_or_a_target_there_is_no_front(catalog: Catalog) -> None:
    hopeless = scenario({"w": workload(9, [("l4", 1, 1.0)])}, {"box": rented("l4", 1, 1.0, most=1)})
    for against in ("latency", "quality", "power", "gpu-types"):
        assert front(hopeless, catalog, against).points == ()


def test_spares_of_spot_servers_draw_power_and_are_listed(catalog: Catalog) -> None:
    # 7 GPUs: two spot servers of 4 and one spare, $12, or four rented ones of 2, $40; in between two spot servers, of
    # which one is a spare, and two rented ones, $28.
    spot = {"price": "$1/gpu/h", "interruption": "5%/h", "recovery": "1h", "availability": "99%", "max": 3}
    given = scenario(
        {"w": workload(7, [("h100-sxm", 1, 1.0), ("l4", 1, 1.0)])},
        {"s": {"gpu": "h100-sxm", "gpus_per_server": 4, "spot": spot}, "b": rented("l4", 2, 5.0)},
    )
    found = front(given, catalog, "power")
    assert [point.servers for point in found.points] == [
        ("3 × s (spot)",),
        ("2 × s (spot)", "2 × b (rent)"),
        ("4 × b (rent)",),
    ]


def test_over_several_periods_power_is_that_of_the_mean_period_and_kinds_count_in_all(catalog: Catalog) -> None:
    # One replica a month, then two: 1.5 servers in the mean. a is cheaper and takes 4 kW, b takes 1 kW.
    given = scenario(
        {"w": workload(1, [("h100-sxm", 1, 1.0), ("l4", 1, 1.0)], growth="100%/period")},
        {
            "a": rented("h100-sxm", 1, 2.0) | {"power": "4kW/server"},
            "b": rented("l4", 1, 3.0, most=1) | {"power": "1kW/server"},
        },
        horizon="2mo",
        periods=2,
    )
    # Of three server months all on a; one on b, in either month; or two, for b has one server in each.
    assert points(front(given, catalog, "power")) == [
        (pytest.approx(3.0), pytest.approx(6.0)),
        (pytest.approx(3.5), pytest.approx(4.5)),
        (pytest.approx(4.0), pytest.approx(3.0)),
    ]
    assert points(front(given, catalog, "gpu-types")) == [(pytest.approx(3.0), 1.0)]
