"""Why there is no plan: conflicts of which no member can be left out, and changes that solving proves to help."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario, optimize
from optimizer.candidates import Candidates, ReplicaSpec, build_candidates
from optimizer.explain.changes import with_most_servers
from optimizer.explain.core import freed, members
from optimizer.explain.infeasible import explain_infeasible, find_conflicts
from optimizer.explain.resolver import Resolver, anything
from optimizer.formulation import build_program, lay_out
from optimizer.plan_notes import Infeasibility
from optimizer.scenario import Scenario
from optimizer.solve import solve_program


def explained(given: dict[str, Any] | str, catalog: Catalog) -> Infeasibility:
    layout = optimize(load_scenario(given, catalog), catalog)
    assert layout.status == "infeasible"
    assert layout.infeasible is not None
    return layout.infeasible


def named(found: Infeasibility) -> set[str]:
    return {one.family if one.index is None else f"{one.family}[{one.index}]" for one in found.conflict}


def resolver_of(given: dict[str, Any], catalog: Catalog) -> Resolver:
    loaded = load_scenario(given, catalog)
    return Resolver(loaded, catalog, build_candidates(loaded, catalog))


NODE = {"node": rented("h100-sxm", 4, 2.0, most=2)}  # $8/h a server, 8 GPUs in all
FITS = workload(5, [("h100-sxm", 1, 1.0)])  # 5 GPUs


def test_a_lack_of_servers_names_the_demand_and_the_offer_and_how_many_more_would_do(catalog: Catalog) -> None:
    # 21 replicas of 1/s: 21 GPUs are six servers of four; there are two.
    found = explained(scenario({"a": workload(21, [("h100-sxm", 1, 1.0)])}, NODE), catalog)
    assert named(found) == {"serve_demand[a]", "offer_limits[node,rent]"}
    assert "+4 servers of node (rent)" in found.changes
    assert "a: serve 38% of its demand" in found.changes  # 8 of 21
    assert found.changes[-1] == "serve 38% of demand, by priority: drop 62% of a"


def test_a_workload_that_has_nothing_to_do_with_it_is_not_named(catalog: Catalog) -> None:
    inventory = {**NODE, "other": rented("l4", 1, 1.0, most=1)}
    both = {"a": workload(21, [("h100-sxm", 1, 1.0)]), "b": workload(1, [("l4", 1, 1.0)])}
    assert named(explained(scenario(both, inventory), catalog)) == {"serve_demand[a]", "offer_limits[node,rent]"}


@pytest.mark.parametrize(
    ("more", "family", "change"),
    [
        # Two servers at $8/h are $11,680 in a month of 730 h.
        ({"budget": {"monthly": "$8k"}}, "monthly_budget", "budget.monthly $8,000 → $11,680"),
        ({"budget": {"monthly": "$0"}}, "monthly_budget", "budget.monthly $0.00 → $11,680"),
    ],
)
def test_a_budget_is_raised_to_what_the_cheapest_plan_needs(
    more: dict[str, Any], family: str, change: str, catalog: Catalog
) -> None:
    found = explained(scenario({"a": FITS}, NODE, **more), catalog)
    assert named(found) == {"serve_demand[a]", family}
    assert change in found.changes


def test_purchases_and_power_are_limits_like_the_others(catalog: Catalog) -> None:
    buy = {"price": "$100k/server", "life": "48mo"}
    node = {"gpu": "h100-sxm", "gpus_per_server": 4, "buy": buy, "power": "5kW/server"}
    # Two servers: $200k, 10 kW.
    poor = explained(scenario({"a": FITS}, {"node": node}, budget={"capex": "$150k"}), catalog)
    assert "budget.capex $150,000 → $200,000" in poor.changes
    dark = explained(scenario({"a": FITS}, {"node": node}, facility={"power_cap": "9kW"}), catalog)
    assert "facility.power_cap 9 kW → 10 kW" in dark.changes


def test_each_member_stands_where_the_scenario_says_it(catalog: Catalog, tmp_path: Path) -> None:
    file = tmp_path / "poor.yaml"
    file.write_text(
        "name: poor\n"
        "workloads:\n"
        "  a:\n"
        "    model: Qwen/Qwen3-8B\n"
        "    requests: 3/s\n"
        "    input_tokens: 100\n"
        "    output_tokens: 10\n"
        "    slo: throughput\n"
        "    measured: [{gpu: l4, gpus: 1, requests_per_s: {all: 1}}]\n"
        "inventory:\n"
        "  box:\n"
        "    gpu: l4\n"
        "    gpus_per_server: 1\n"
        "    own: 2\n",
        encoding="utf-8",
    )
    found = explained(str(file), catalog)
    lines = {one.family: (one.location or "").removeprefix(f"{file}:") for one in found.conflict}
    assert lines == {"serve_demand": "4:5", "offer_limits": "14:10"}
    assert "+2 servers of box (own)" in found.changes  # 3/s at 80% of 1/s a GPU are 3.75, so 4


def test_where_one_format_must_carry_all_mixing_them_is_a_change(catalog: Catalog) -> None:
    # 1/s of each class. In bf16 alone, big serves short at 0.5/s and long at 1/s: three of them, and there are two.
    # Mixed, one small in fp8 carries short and one big long.
    given = scenario(
        {"chat": workload(2, [("l4", 1, {"short": 1.0, "long": 1.0})], classes={"short": "50%", "long": "50%"})},
        {"big": rented("h100-sxm", 1, 3.0, most=2), "small": rented("l4", 1, 1.0)},
    )
    settings = ("auto", "vllm", 1, 1, 1, 1, 64, 4096)
    candidates = Candidates(
        workload="chat",
        specs=(
            ReplicaSpec("h100-sxm", 1, "Qwen/Qwen3-8B", "bf16", *settings),
            ReplicaSpec("l4", 1, "Qwen/Qwen3-8B", "fp8", *settings),
        ),
        offer=np.array([0, 1]),
        gpus_per_replica=np.array([1, 1]),
        rate_rps=np.array([[0.5, 1.0], [1.0, 0.0]]),
    )
    found = explain_infeasible(load_scenario(given, catalog), catalog, [candidates], time_limit_s=10.0)
    assert named(found) == {"serve_demand[chat]", "single_format[chat]", "offer_limits[big,rent]"}
    assert "chat: single_format: false" in found.changes
    assert "+1 server of big (rent)" in found.changes


def test_conflicts_that_have_nothing_in_common_are_all_named_and_changed_at_once(catalog: Catalog) -> None:
    inventory = {**NODE, "box": rented("l4", 1, 1.0, most=1)}
    # a lacks one server of four GPUs (9 of 8), b one card (2 of 1).
    given = scenario({"a": workload(9, [("h100-sxm", 1, 1.0)]), "b": workload(2, [("l4", 1, 1.0)])}, inventory)
    found = explained(given, catalog)
    assert len(found.further_conflicts) == 1
    (together, elastic) = found.changes
    assert together.startswith("all of these at once: ")
    assert "+1 server of node (rent)" in together
    assert "+1 server of box (rent)" in together
    assert elastic.startswith("serve 81% of demand")  # 8 + 1 of 9 + 2


def test_what_is_left_out_goes_by_priority(catalog: Catalog) -> None:
    # 8 GPUs: 5 for chat, 3 of the 4 that evals want, none for nightly.
    given = scenario(
        {
            "chat": FITS,
            "nightly": workload(2, [("h100-sxm", 1, 1.0)], priority=3),
            "evals": workload(4, [("h100-sxm", 1, 1.0)], priority=2),
        },
        NODE,
    )
    assert explained(given, catalog).changes[-1] == "serve 72% of demand, by priority: drop nightly, then 25% of evals"


TIGHT: dict[str, Any] = {
    "name": "tight",
    "workloads": {
        "chat": {
            "model": "Qwen/Qwen3-8B",
            "requests": "1/s",
            "input_tokens": 500,
            "output_tokens": 100,
            "slo": {"ttft_p95": "2s", "tpot_p95": "5ms"},
            "weight_dtypes": ["bf16"],
            "kv_cache_dtypes": ["auto"],
            "tp": [1],
            "pp": [1],
        }
    },
    "inventory": {"box": rented("l40s", 1, 1.0, most=2)},
}


def test_a_workload_that_nothing_serves_conflicts_with_its_own_restrictions(catalog: Catalog) -> None:
    found = explained(TIGHT, catalog)
    assert named(found) == {"serve_demand[chat]", "tpot_p95[chat]"}
    (change,) = [one for one in found.changes if "tpot_p95" in one]
    assert change.startswith("chat: tpot_p95 5ms → ")
    # The target named is enough, and 2 % less is not.
    limit_ms = float(change.rpartition(" → ")[2].removesuffix("ms"))
    for factor, status in ((1.0, "optimal"), (1 / 1.03, "infeasible")):
        slo = {"ttft_p95": "2s", "tpot_p95": f"{limit_ms * factor}ms"}
        given = {**TIGHT, "workloads": {"chat": {**TIGHT["workloads"]["chat"], "slo": slo}}}
        assert optimize(load_scenario(given, catalog), catalog).status == status


def test_a_format_that_would_fit_is_offered(catalog: Catalog) -> None:
    # 27.5 GiB of bf16 weights do not fit a card of 22 GiB; int8 ones do.
    given: dict[str, Any] = {
        "name": "small-card",
        "workloads": {
            "chat": {
                "model": "Qwen/Qwen3-14B", "requests": "0.1/s", "input_tokens": 500, "output_tokens": 100,
                "slo": "throughput", "weight_dtypes": ["bf16"], "tp": [1], "pp": [1],
            }
        },
        "inventory": {"l4": rented("l4", 1, 0.7, most=1)},
    }  # fmt: skip
    found = explained(given, catalog)
    assert "weight_dtypes[chat]" in named(found)
    allowed = [one.removeprefix("chat: allow ") for one in found.changes if "allow" in one]
    assert len(allowed) == 1
    given["workloads"]["chat"]["weight_dtypes"].append(allowed[0])
    assert optimize(load_scenario(given, catalog), catalog).status == "optimal"


def draw(seed: int) -> dict[str, Any]:
    """Workloads that want several times what is there, of one or two classes, under limits of every kind."""
    rng = random.Random(seed)
    inventory = {
        "node": {
            "gpu": "h100-sxm",
            "gpus_per_server": rng.choice((2, 4, 8)),
            "own": rng.choice((0, 1)),
            "rent": {"price": "$2/gpu/h", "max": rng.choice((0, 1, 2))},
            "power": "5kW/server",
        },
        "box": {"gpu": "l4", "gpus_per_server": 1, "rent": {"price": "$1/gpu/h", "max": rng.choice((1, 3))}},
    }
    workloads = {}
    for w in range(rng.choice((2, 4, 6))):
        cards = rng.choice((["h100-sxm"], ["l4"], ["h100-sxm", "l4"]))
        classes = rng.choice(({"all": "100%"}, {"x": "60%", "y": "40%"}))
        measured = [(gpu, 1, {name: round(rng.uniform(0.5, 3.0), 2) for name in classes}) for gpu in cards]
        workloads[f"w{w}"] = workload(round(rng.uniform(1, 12), 2), measured, classes=classes)
    return scenario(
        workloads,
        inventory,
        budget={"monthly": f"${rng.choice((2, 6, 20))}k"},
        facility={"power_cap": f"{rng.choice((0, 5))}kW"},
    )


@pytest.mark.parametrize("seed", range(30))
def test_without_any_one_of_its_members_a_conflict_is_none(seed: int, catalog: Catalog) -> None:
    resolver = resolver_of(draw(seed), catalog)
    found = find_conflicts(resolver)
    assert bool(found) != resolver.is_feasible()
    for position, conflict in enumerate(found):
        others = [name for one in found[:position] for name in one.workloads]
        inst = resolver.without(*others).whole_instance()
        program = anything(build_program(inst, lay_out(inst)))
        stated = {member.name for member in conflict.members}
        rest = [member for member in members(inst) if member.name not in stated]
        assert solve_program(freed(program, rest)).outcome == "infeasible"
        for left_out in conflict.members:
            assert solve_program(freed(program, [*rest, left_out])).outcome == "optimal", left_out.name


@pytest.mark.parametrize("seed", range(13, 28))  # all of these are infeasible
def test_every_change_named_makes_a_plan_possible(seed: int, catalog: Catalog) -> None:
    resolver = resolver_of(draw(seed), catalog)
    assert not resolver.is_feasible()
    found = explain_infeasible(resolver.scenario, catalog, list(resolver.candidates.values()), time_limit_s=10.0)
    assert found.conflict
    assert found.changes
    for text in found.changes:
        if text.startswith("+"):
            scenario_with_more = _with_more(resolver.scenario, text)
            assert optimize(scenario_with_more, catalog).status == "optimal", text
            fewer = _with_more(resolver.scenario, text, one_less=True)
            assert optimize(fewer, catalog).status == "infeasible", text


def _with_more(given: Scenario, text: str, *, one_less: bool = False) -> Scenario:
    """The scenario with the servers that a change asks for: `+2 servers of node (rent)`."""
    count, rest = text.removeprefix("+").split(" ", 1)
    offer, label = rest.split(" of ", 1)[1].removesuffix(")").split(" (")
    now = given.inventory[offer].own if label == "own" else getattr(given.inventory[offer], label).max
    return with_most_servers(given, offer, label, (now or 0) + int(count) - one_less)


# Servers of one GPU that serve 1/s each, over two years with 1/s in the first and 4/s in the second.
GROWING = {**workload(1, [("l4", 1, 1.0)]), "requests_per_period": ["1/s", "4/s"]}
del GROWING["requests"]


@pytest.mark.parametrize(
    ("offer", "limits", "conflict", "change", "served"),  # per cent of 1/s and 4/s
    [
        ({"rent": {"price": "$1/gpu/h", "max": 2}}, {}, "offer_limits[node,rent]", "+2 servers of node (rent)", 60),
        (
            {"buy": {"price": "$1k/server", "life": "48mo", "max": 1}},
            {},
            "order_limits[node,buy]",
            "+3 servers of node (buy)",
            40,
        ),
        (
            {"reserve": [{"term": "12mo", "price": "$1/gpu/h", "max": 3}]},
            {},
            "order_limits[node,reserve 12mo]",
            "+1 server of node (reserve 12mo)",
            80,
        ),
        (
            {"buy": {"price": "$1k/server", "life": "48mo"}},
            {"budget": {"capex": "$2k"}},
            "capex_budget",
            "budget.capex $2,000 → $4,000",
            60,
        ),
        # What is bought lives for a year, so that all four of the second year are bought in it.
        (
            {"buy": {"price": "$1k/server", "life": "12mo"}},
            {"budget": {"capex_per_period": ["$9k", "$3k"]}},
            "capex_per_period[2]",
            "budget.capex_per_period of period 2 $3,000 → $4,000",
            80,
        ),
        # 4 × 730 h
        (
            {"rent": {"price": "$1/gpu/h"}},
            {"budget": {"monthly": "$1k"}},
            "monthly_budget",
            "budget.monthly $1,000 → $2,920",
            40,
        ),
        (
            {"buy": {"price": "$1k/server", "life": "48mo", "lead_time": "3mo"}},
            {},
            "fleet_balance[node]",
            "node: no lead_time",
            80,
        ),
    ],
)
def test_over_several_periods_the_limit_that_the_largest_one_breaks_is_named(
    offer: dict[str, Any], limits: dict[str, Any], conflict: str, change: str, served: int, catalog: Catalog
) -> None:
    inventory = {"node": {"gpu": "l4", "gpus_per_server": 1, **offer}}
    found = explained(scenario({"a": GROWING}, inventory, horizon="24mo", periods=2, **limits), catalog)
    assert named(found) == {"serve_demand[a]", conflict}
    assert "needs up to 4 requests/s" in found.conflict[0].message
    assert found.changes[0] == change
    assert found.changes[-1] == f"serve {served}% of demand, by priority: drop {100 - served}% of a"


def test_a_lead_time_that_delays_nothing_needed_is_not_named(catalog: Catalog) -> None:
    # The one server to rent carries the first year, and what is bought has arrived for the second; $2k buys only two.
    node = {
        "gpu": "l4",
        "gpus_per_server": 1,
        "rent": {"price": "$1/gpu/h", "max": 1},
        "buy": {"price": "$1k/server", "life": "48mo", "lead_time": "3mo"},
    }
    given = scenario({"a": GROWING}, {"node": node}, horizon="24mo", periods=2, budget={"capex": "$2k"})
    found = explained(given, catalog)
    assert named(found) == {"serve_demand[a]", "offer_limits[node,rent]", "capex_budget"}
    # Three of 4/s in the second year are 75 %; in the first all of 1/s is served.
    assert set(found.changes) == {
        "+1 server of node (rent)",
        "budget.capex $2,000 → $3,000",
        "a: serve 75% of its demand",
        "serve 80% of demand, by priority: drop 20% of a",
    }


def test_spare_is_named_with_the_limit_that_leaves_no_place_for_it(catalog: Catalog) -> None:
    # 3 replicas of 1 GPU fit on the one server of 4; to lose it there must be another.
    given = scenario(
        {"a": workload(3, [("h100-sxm", 1, 1.0)], spare="n+1")}, {"node": rented("h100-sxm", 4, 2.0, most=1)}
    )
    found = explained(given, catalog)
    assert named(found) == {"serve_demand[a]", "spare_server[a]", "offer_limits[node,rent]"}
    assert found.changes == ("a: spare: none", "+1 server of node (rent)")


def test_spare_is_not_named_where_the_demand_alone_is_too_much(catalog: Catalog) -> None:
    # 5 GPUs do not fit on one server of 4; with spare that takes three: 5 must be left when one of 4 is lost.
    given = scenario(
        {"a": workload(5, [("h100-sxm", 1, 1.0)], spare="n+1")}, {"node": rented("h100-sxm", 4, 2.0, most=1)}
    )
    found = explained(given, catalog)
    assert named(found) == {"serve_demand[a]", "offer_limits[node,rent]"}
    assert found.changes == ("+2 servers of node (rent)",)


def test_spares_of_spot_servers_are_named(catalog: Catalog) -> None:
    # Of 3 in use 0.05 × 3 = 0.15 are missing on average: P(at most 1) = 1.15·e^−0.15 = 0.9898, so that 99 % take two.
    spot = {"price": "$1/gpu/h", "interruption": "5%/h", "recovery": "1h", "availability": "99%", "max": 3}
    given = scenario(
        {"a": workload(11, [("h100-sxm", 1, 1.0)])}, {"node": {"gpu": "h100-sxm", "gpus_per_server": 4, "spot": spot}}
    )
    found = explained(given, catalog)
    assert named(found) == {"serve_demand[a]", "spot_spares[node]", "offer_limits[node,spot]"}
    assert found.changes[0] == "+2 servers of node (spot)"


def crowded(seed: int) -> dict[str, Any]:
    """Fourteen workloads on stock for about half of them."""
    rng = random.Random(seed)
    cards = ("l4", "a10", "h100-sxm")
    workloads = {
        f"w{i}": workload(
            rng.randint(2, 12),
            [(gpu, n, n * rng.choice((1.0, 1.5, 2.0))) for gpu in cards for n in (1, 2)],
            priority=rng.randint(1, 2),
        )
        for i in range(14)
    }
    offers = {gpu: rented(gpu, 4, rng.uniform(1, 3), most=rng.randint(1, 3)) for gpu in cards}
    return scenario(workloads, offers)


@pytest.mark.parametrize("seed", range(4))
def test_of_large_scenarios_what_is_said_is_true_as_well(
    seed: int, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if fourteen workloads were many: the conflict is one, every change makes a plan possible."""
    given = crowded(seed)
    loaded = load_scenario(given, catalog)
    candidates = build_candidates(loaded, catalog)
    monkeypatch.setattr("optimizer.explain.resolver.LARGE", 3)
    found = explain_infeasible(loaded, catalog, candidates, time_limit_s=60.0)
    monkeypatch.undo()
    assert found.not_looked_for == ()
    assert found.further_conflicts == ()
    assert not is_possible(kept_only(found, given), catalog)
    added = [text for text in found.changes if text.startswith("+")]
    assert added
    for text in added:
        count, _, _, offer, _ = text[1:].split()
        more = given["inventory"][offer]["rent"]["max"] + int(count)
        assert is_possible(with_rent(given, offer, more), catalog), text
    share = int(found.changes[-1].split("%")[0].removeprefix("serve "))
    best = sum(level.served_rps for level in optimize(load_scenario(given | {"objective": "served"}, catalog)).served)
    asked = sum(float(one["requests"].removesuffix("/s")) for one in given["workloads"].values())
    assert share <= 100 * best / asked + 1e-6


def kept_only(found: Infeasibility, given: dict[str, Any]) -> dict[str, Any]:
    """The scenario with nothing but the workloads and limits of the conflict."""
    members = {(one.family, one.index) for one in found.conflict}
    return given | {
        "workloads": {name: one for name, one in given["workloads"].items() if ("serve_demand", name) in members},
        "inventory": {
            name: one
            if ("offer_limits", f"{name},rent") in members
            else one | {"rent": {"price": one["rent"]["price"]}}
            for name, one in given["inventory"].items()
        },
    }


def with_rent(given: dict[str, Any], offer: str, most: int) -> dict[str, Any]:
    one = given["inventory"][offer]
    return given | {"inventory": given["inventory"] | {offer: one | {"rent": one["rent"] | {"max": most}}}}


def is_possible(given: dict[str, Any], catalog: Catalog) -> bool:
    return optimize(load_scenario(given, catalog), catalog, gap=1.0).status != "infeasible"


def test_what_the_time_does_not_suffice_for_is_said(catalog: Catalog) -> None:
    loaded = load_scenario(crowded(0), catalog)
    found = explain_infeasible(loaded, catalog, build_candidates(loaded, catalog), time_limit_s=1e-6)
    assert found.changes == ()
    assert found.not_looked_for == ("whether fewer demands and limits conflict", "what can be served by priority")


def test_conflicts_about_the_same_stock_are_ended_by_one_change(catalog: Catalog) -> None:
    # Each asks for five of four cards by itself; together they ask for ten.
    both = {name: workload(5, [("h100-sxm", 1, 1.0)]) for name in ("a", "b")}
    found = explained(scenario(both, {"node": rented("h100-sxm", 1, 2.0, most=4)}), catalog)
    assert len(found.further_conflicts) == 1
    assert "+6 servers of node (rent)" in found.changes
