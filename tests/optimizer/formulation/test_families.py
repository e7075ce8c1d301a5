"""Each constraint family: as it is written (golden files), and that the optimum depends on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario
from optimizer.candidates import Candidates, ReplicaSpec, build_candidates
from optimizer.formulation import FAMILIES, Family, Instance, build_instance, build_program, lay_out
from optimizer.formulation.fleet import FLEET_FAMILIES
from optimizer.formulation.spare import SPARE_FAMILIES
from optimizer.solve import program_text, solve_program

GOLDEN = Path(__file__).parent / "golden"
TWO_CLASSES = {"short": "75%", "long": "25%"}


def everything() -> dict[str, Any]:
    """Rows in every family: two classes, two kinds of replica, patterns, terms of every kind, all limits."""
    rates = {"short": 8.0, "long": 2.0}
    chat = workload(
        10, [("h100-sxm", 2, rates), ("h100-sxm", 3, rates), ("l4", 1, {"short": 1.0})], classes=TWO_CLASSES
    )
    return scenario(
        {"chat": chat},
        {
            "lab": {"gpu": "h100-sxm", "gpus_per_server": 8, "own": 1, "power": "10kW/server"},
            "node": {
                "gpu": "h100-sxm",
                "gpus_per_server": 4,
                "buy": {"price": "$120k/server", "life": "48mo", "residual": "25%", "max": 2},
                "rent": {"price": "$2.5/gpu/h"},
                "failures": {"mtbf": "1000h", "mttr": "50h"},
                "racks": {"a1": 2, "a2": 2},
                "power": "5kW/server",
            },
            "cloud": {
                "gpu": "l4",
                "gpus_per_server": 1,
                "reserve": [{"term": "6mo", "price": "$0.5/gpu/h"}, {"term": "9mo", "price": "$0.4/gpu/h", "max": 3}],
                "spot": {"price": "$0.3/gpu/h", "interruption": "5%/h", "max": 9},
            },
        },
        facility={"power_price": "$0.10/kWh", "pue": 1.2, "opex": "$100/server/mo", "power_cap": "14kW"},
        budget={"capex": "$150k", "monthly": "$20k"},
        horizon="12mo",
    )


def growing(**buy: Any) -> dict[str, Any]:
    """One server of one GPU is needed in the first year, two in the second, three in the third."""
    node = {
        "gpu": "l4",
        "gpus_per_server": 1,
        "buy": {"price": "$8760/server", "life": "36mo", "max": 2, "lead_time": "12mo"} | buy,
        "rent": {"price": "$3/gpu/h"},
        "reserve": [{"term": "18mo", "price": "$1.5/gpu/h", "max": 2}],
    }
    grows = workload(1, [("l4", 1, 1.0)]) | {"requests_per_period": ["1/s", "2/s", "3/s"]}
    del grows["requests"]
    budget = {"capex": "$9k", "capex_per_period": ["$9k", "$0", "$10k"], "monthly": "$9k"}
    return scenario({"a": grows}, {"node": node}, horizon="36mo", periods=3, budget=budget)


def instance(given: dict[str, Any], catalog: Catalog) -> Instance:
    loaded = load_scenario(given, catalog)
    return build_instance(loaded, catalog, build_candidates(loaded, catalog))


def cost(inst: Instance, families: tuple[Family, ...] = FAMILIES) -> float:
    """USD per hour of the optimum, infinite when infeasible."""
    return solve_program(build_program(inst, lay_out(inst), families)).objective


def two_formats(catalog: Catalog, rates: dict[tuple[str, str], tuple[float, float]]) -> Instance:
    """A workload of two classes (1/s each) on two offers, with one candidate per (format, offer) at the given rates."""
    given = scenario(
        {"chat": workload(2, [("l4", 1, {"short": 1.0, "long": 1.0})], classes={"short": "50%", "long": "50%"})},
        {"big": rented("h100-sxm", 1, 3.0), "small": rented("l4", 1, 1.0)},
    )
    loaded = load_scenario(given, catalog)
    offers = list(loaded.inventory)
    specs = [
        ReplicaSpec(loaded.inventory[offer].gpu, 1, "Qwen/Qwen3-8B", dtype, "auto", "vllm", 1, 1, 1, 1, 64, 4096)
        for dtype, offer in rates
    ]
    candidates = Candidates(
        workload="chat",
        specs=tuple(specs),
        offer=np.array([offers.index(offer) for _, offer in rates]),
        gpus_per_replica=np.ones(len(specs), np.int64),
        rate_rps=np.array(list(rates.values())),
    )
    return build_instance(loaded, catalog, [candidates])


def candidates(workload: str, rows: list[tuple[int, str, int, list[float]]]) -> Candidates:
    """Candidates (offer, weight format, GPUs, rate of each class); those of 4 GPUs are pipelines of two stages."""
    specs = [
        ReplicaSpec(
            "h100-sxm", gpus, "Qwen/Qwen3-8B", dtype, "auto", "vllm", gpus // 2 or 1, 1 + gpus // 4, 1, 1, 64, 4096
        )
        for _, dtype, gpus, _ in rows
    ]
    return Candidates(
        workload=workload,
        specs=tuple(specs),
        offer=np.array([offer for offer, *_ in rows]),
        gpus_per_replica=np.array([gpus for *_, gpus, _ in rows]),
        rate_rps=np.array([rates for *_, rates in rows], float),
    )


def surviving(catalog: Catalog, most: int = 2) -> Instance:
    """At most `most` pairs of GPUs; `chat` has two classes and spare, `code` one and spare, `night` no spare.

    A replica of `code` in bf16 fills two servers and carries all; one in fp8 fills half a server and carries half.
    """
    both = {"short": 1.0, "long": 1.0}
    given = scenario(
        {
            "chat": workload(2, [("h100-sxm", 1, both)], classes={"short": "50%", "long": "50%"}, spare="n+1"),
            "code": workload(1, [("h100-sxm", 1, 1.0)], spare="n+1"),
            "night": workload(1, [("h100-sxm", 1, 1.0)]),
        },
        {"node": rented("h100-sxm", 2, 1.0, most=most)},
    )
    return build_instance(
        load_scenario(given, catalog),
        catalog,
        [
            candidates("chat", [(0, "bf16", 1, [2.0, 2.0]), (0, "fp8", 1, [4.0, 1.0])]),
            candidates("code", [(0, "bf16", 4, [1.0]), (0, "fp8", 1, [0.5])]),
            candidates("night", [(0, "bf16", 1, [1.0])]),
        ],
    )


FORMATS_AND_OFFERS = {("bf16", "big"): (2.0, 2.0), ("fp8", "small"): (1.0, 0.0), ("fp8", "big"): (4.0, 0.5)}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_a_family_is_written_as_its_golden_file_says(
    family: Family, catalog: Catalog, request: pytest.FixtureRequest
) -> None:
    about_formats = family.__name__ in ("single_format", "choose_format")
    inst = two_formats(catalog, FORMATS_AND_OFFERS) if about_formats else instance(everything(), catalog)
    if family in SPARE_FAMILIES:
        inst = surviving(catalog)
    if family in FLEET_FAMILIES:
        inst = instance(growing(), catalog)
    text = program_text(inst, "lp", [family])
    path = GOLDEN / f"{family.__name__}.lp"
    if request.config.getoption("--regenerate"):
        path.write_text(text)
    assert path.read_text() == text


def test_there_is_a_golden_file_for_each_family_and_no_other() -> None:
    assert {path.stem for path in GOLDEN.glob("*.lp")} == {family.__name__ for family in FAMILIES}


def without(name: str) -> tuple[Family, ...]:
    return tuple(family for family in FAMILIES if family.__name__ != name)


CHEAP_AND_SMALL = {"node": rented("h100-sxm", 4, 2.0)}  # $8/h a server
MATTERS: dict[str, tuple[dict[str, Any], float, float]] = {
    # family: (scenario, USD/h with it, USD/h without it)
    # Four replicas of 2 GPUs at 5/s carry 20/s on two servers; if nobody must be served, nothing is bought.
    "serve_demand": (scenario({"a": workload(20, [("h100-sxm", 2, 5.0)])}, CHEAP_AND_SMALL), 16.0, 0.0),
    # Two classes of 10/s each at 5/s: again four replicas; without capacity the shares need no replica at all.
    "replica_capacity": (
        scenario(
            {"a": workload(20, [("h100-sxm", 2, {"x": 5.0, "y": 5.0})], classes={"x": "50%", "y": "50%"})},
            CHEAP_AND_SMALL,
        ),
        16.0,
        0.0,
    ),
    # Without slots the replicas need no server.
    "gpu_slots": (scenario({"a": workload(20, [("h100-sxm", 2, 5.0)])}, CHEAP_AND_SMALL), 16.0, 0.0),
    # Groups of 3 on servers of 4: one a server, so two servers; without slots none.
    "pattern_slots": (scenario({"a": workload(10, [("h100-sxm", 3, 5.0)])}, CHEAP_AND_SMALL), 16.0, 0.0),
    "server_patterns": (scenario({"a": workload(10, [("h100-sxm", 3, 5.0)])}, CHEAP_AND_SMALL), 16.0, 0.0),
    # One server at $2/gpu/h and the other at $3; without the limit both at $2.
    "offer_limits": (
        scenario(
            {"a": workload(20, [("h100-sxm", 2, 5.0)])},
            {"few": rented("h100-sxm", 4, 2.0, most=1), "many": rented("h100-sxm", 4, 3.0)},
        ),
        20.0,
        16.0,
    ),
    # Two spot servers at $4/h and a spare (at 5%/h and 15 min, 0.025 servers are missing: P(none) is 97.5 %), or rent.
    "spot_spares": (
        scenario(
            {"a": workload(20, [("h100-sxm", 2, 5.0)])},
            {"node": CHEAP_AND_SMALL["node"] | {"spot": {"price": "$1/gpu/h", "interruption": "5%/h"}}},
        ),
        12.0,
        8.0,
    ),
    # One spare is enough for 11 servers, two for 34: 12 servers need both. Without order the second comes alone.
    # (The slow replica is never used; it makes more than 12 servers conceivable.)
    "spare_order": (
        scenario(
            {"a": workload(12, [("l4", 1, 1.0), ("l4", 1, 0.5)])},
            {
                "node": {
                    "gpu": "l4",
                    "gpus_per_server": 1,
                    "spot": {"price": "$1/gpu/h", "interruption": "5%/h"},
                }
            },
        ),
        14.0,
        13.0,
    ),
    # Buying costs 48000/48/730 = $1.37/h, renting $8/h; the budget has room for one purchase of the two servers.
    "capex_budget": (
        scenario(
            {"a": workload(20, [("h100-sxm", 2, 5.0)])},
            {"node": CHEAP_AND_SMALL["node"] | {"buy": {"price": "$48k/server", "life": "48mo"}}},
            budget={"capex": "$50k"},
        ),
        8.0 + 1000 / 730,
        2000 / 730,
    ),
    # The same where a limit is stated for each period, of which there is one.
    "capex_per_period": (
        scenario(
            {"a": workload(20, [("h100-sxm", 2, 5.0)])},
            {"node": CHEAP_AND_SMALL["node"] | {"buy": {"price": "$48k/server", "life": "48mo"}}},
            budget={"capex_per_period": ["$50k"]},
        ),
        8.0 + 1000 / 730,
        2000 / 730,
    ),
    # Two rented servers are $16/h = $11,680 a month; with $6k there is room for one, the other is bought dearer.
    "monthly_budget": (
        scenario(
            {"a": workload(20, [("h100-sxm", 2, 5.0)])},
            {"node": CHEAP_AND_SMALL["node"] | {"buy": {"price": "$480k/server", "life": "48mo"}}},
            budget={"monthly": "$6k"},
        ),
        8.0 + 10000 / 730,
        16.0,
    ),
    # Two owned servers would do, but only one of 5 kW may run beside none else; the other is rented at $8/h.
    "power_cap": (
        scenario(
            {"a": workload(20, [("h100-sxm", 2, 5.0)])},
            {"node": CHEAP_AND_SMALL["node"] | {"own": 2, "power": "5kW/server"}},
            facility={"power_cap": "9kW"},
        ),
        8.0,
        0.0,
    ),
}


@pytest.mark.parametrize("name", MATTERS)
def test_the_optimum_changes_when_a_family_is_left_out(name: str, catalog: Catalog) -> None:
    given, with_it, without_it = MATTERS[name]
    inst = instance(given, catalog)
    assert cost(inst) == pytest.approx(with_it)
    assert cost(inst, without(name)) == pytest.approx(without_it)


def test_the_optimum_changes_when_formats_may_be_mixed(catalog: Catalog) -> None:
    inst = two_formats(catalog, {("bf16", "big"): (0.5, 1.0), ("fp8", "small"): (1.0, 0.0)})
    # One format: bf16 on big alone, 1/0.5 + 1/1 = 3 replicas at $3 = $9.
    # Mixed: one big for long, one small for short: $4.
    assert cost(inst) == pytest.approx(9.0)
    assert cost(inst, without("single_format")) == pytest.approx(4.0)


def test_the_optimum_changes_when_no_format_is_chosen(catalog: Catalog) -> None:
    # Without exactly one choice all of them may be used, and the plan is the mixed one.
    inst = two_formats(catalog, {("bf16", "big"): (0.5, 1.0), ("fp8", "small"): (1.0, 0.0)})
    assert cost(inst, without("choose_format")) == pytest.approx(4.0)


SURVIVING_WITHOUT = {
    "server_places": 0.0,  # replicas that stand nowhere need no server,
    "server_room": 0.0,  # nor do those on sites without need of room,
    "servers_in_use": 0.0,  # nor do sites that are no servers
    "spare_server": 4.0,  # as without spare
    "servers_in_order": 6.0,  # forbids only what is equal to something else
}


@pytest.mark.parametrize("name", SURVIVING_WITHOUT)
def test_the_optimum_changes_when_a_family_of_spare_is_left_out(name: str, catalog: Catalog) -> None:
    # chat: one bf16 replica carries both classes; code: two fp8 ones carry a half each, or a bf16 one on two servers;
    # night: one. That is four GPUs on two servers at $2/h. Surviving, chat needs a second replica on another server,
    # and code a third with no two on one server. Three servers hold these six: code + chat twice, code + night.
    inst = surviving(catalog, most=6)
    assert cost(inst) == pytest.approx(6.0)
    assert cost(inst, without(name)) == pytest.approx(SURVIVING_WITHOUT[name])


def test_the_optimum_changes_when_the_replicas_left_may_be_too_busy(catalog: Catalog) -> None:
    # Two classes of 10/s at 5/s are four replicas; two on each of two servers ($8/h each) do. When one server is lost
    # four must be left, so there are three servers. If what is left may be used beyond its capacity, two are enough.
    pairs = workload(20, [("h100-sxm", 2, {"x": 5.0, "y": 5.0})], classes={"x": "50%", "y": "50%"}, spare="n+1")
    inst = instance(scenario({"a": pairs}, CHEAP_AND_SMALL), catalog)
    assert cost(inst) == pytest.approx(24.0)
    assert cost(inst, without("spare_capacity")) == pytest.approx(16.0)


def test_the_optimum_changes_when_a_replica_over_two_servers_cannot_be_lost(catalog: Catalog) -> None:
    given = scenario({"code": workload(1, [("h100-sxm", 1, 1.0)], spare="n+1")}, {"node": rented("h100-sxm", 2, 1.0)})
    loaded = load_scenario(given, catalog)
    inst = build_instance(loaded, catalog, [candidates("code", [(0, "bf16", 4, [1.0])])])
    # One replica takes two servers at $2/h and carries all; a second must be left when it is lost.
    assert cost(inst) == pytest.approx(8.0)
    assert cost(inst, without("spare_spanning")) == pytest.approx(4.0)


def test_the_optimum_changes_when_a_loss_may_be_met_in_another_format(catalog: Catalog) -> None:
    chat = workload(2, [("h100-sxm", 1, {"x": 1.0, "y": 1.0})], classes={"x": "50%", "y": "50%"}, spare="n+1")
    given = scenario({"chat": chat}, {"big": rented("h100-sxm", 1, 3.0), "small": rented("h100-sxm", 1, 1.0, most=1)})
    both = candidates("chat", [(0, "bf16", 1, [2.0, 2.0]), (1, "fp8", 1, [2.0, 2.0])])
    inst = build_instance(load_scenario(given, catalog), catalog, [both])
    # A replica of either carries all. There is one small server, so fp8 has no second replica: two big ones, $6/h.
    # With bf16 to step in for fp8, one of each.
    assert cost(inst) == pytest.approx(6.0)
    assert cost(inst, without("spare_format")) == pytest.approx(4.0)


def test_the_optimum_changes_when_a_family_of_several_periods_is_left_out(catalog: Catalog) -> None:
    # Dollars over three years of 8,760 h each, in which 1, 2 and 3 servers are needed. $9k buy one; bought at once for
    # 8,760 it arrives in a year and serves years two and three. So one more is needed in each year, and a third in the
    # last: renting for a year costs 26,280; an 18-month term serves one year for 19,710, two in a row three for 39,420.
    # Together 8,760 + 39,420 + 19,710.
    inst = instance(growing(), catalog)
    hours = 36 * 730
    assert cost(inst) * hours == pytest.approx(67_890)
    # Servers that nobody bought cost nothing to run.
    assert cost(inst, without("fleet_balance")) * hours == pytest.approx(0.0)
    # … and reserved ones are paid by their commitment.
    assert cost(inst, without("commitments")) * hours == pytest.approx(0.0)


def test_no_more_is_ordered_than_is_offered(catalog: Catalog) -> None:
    given = growing(max=0)
    given["inventory"]["node"]["reserve"][0]["max"] = 0
    inst = instance(given, catalog)
    # Rent alone: 1 + 2 + 3 years at $26,280. Without limits as above.
    assert cost(inst) * 36 * 730 == pytest.approx(6 * 26_280)
    assert cost(inst, without("order_limits")) * 36 * 730 == pytest.approx(67_890)


def test_both_solvers_find_the_same_optimum(catalog: Catalog) -> None:
    for given, expected, _ in MATTERS.values():
        inst = instance(given, catalog)
        program = build_program(inst, lay_out(inst))
        for solver in ("scip", "highs"):
            solution = solve_program(program, solver=solver)
            assert solution.outcome == "optimal"
            assert solution.objective == pytest.approx(expected)
            assert solution.bound == pytest.approx(expected)
