"""A plan under traffic: who gets which requests, what holds, and what cannot be simulated."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from catalog import Catalog, load_catalog
from optimizer import load_scenario, optimize
from optimizer.errors import InputError
from optimizer.layout import Layout
from optimizer.scenario import Scenario
from optimizer.simulation import Traffic, pooling_gain, simulate_plan, traffic_of

CLASSES = {
    "short": {"share": "70%", "input_tokens": 300, "output_tokens": 60},
    "long": {"share": "30%", "input_tokens": 3000, "output_tokens": 150},
}
SHORT = Traffic(duration_s=120.0)


def scenario_of(**changes: Any) -> dict[str, Any]:
    chat = {
        "model": "Qwen/Qwen3-8B", "requests": "30/s", "classes": CLASSES, "slo": {"ttft_p95": "2s", "tpot_p95": "50ms"},
        "weight_dtypes": ["fp8"], "tp": [1], "pp": [1],
    }  # fmt: skip
    return {
        "name": "traffic",
        "workloads": {"chat": {**chat, **changes}},
        "inventory": {"node": {"gpu": "h100-sxm", "gpus_per_server": 1, "rent": {"price": "$2.40/gpu/h"}}},
    }


@lru_cache
def solved(**changes: Any) -> tuple[Layout, Scenario, Catalog]:
    catalog = load_catalog()
    scenario = load_scenario(scenario_of(**changes), catalog)
    return optimize(scenario, catalog), scenario, catalog


def test_a_plan_holds_its_targets_at_the_load_it_was_made_for() -> None:
    outcome = simulate_plan(*solved(), SHORT)
    (chat,) = outcome.workloads
    assert chat.rate_rps == pytest.approx(30.0, rel=0.05)
    assert outcome.holds
    assert [kind.name for kind in chat.classes] == ["all", "short", "long"]
    assert not chat.classes[0].targets  # targets are those of each class
    assert {target.target for target in chat.classes[1].targets} == {"ttft_p95", "tpot_p95"}
    # 70 % and 30 % of what arrived after the warm-up
    everybody, short, long = (kind.requests for kind in chat.classes)
    assert short + long == everybody
    assert short / everybody == pytest.approx(0.7, abs=0.03)


def test_the_same_seed_gives_the_same_outcome_and_another_does_not() -> None:
    one, two = (simulate_plan(*solved(), SHORT) for _ in range(2))
    assert one == two
    assert simulate_plan(*solved(), Traffic(duration_s=120.0, seed=1)) != one


def test_more_than_it_can_carry_is_late() -> None:
    outcome = simulate_plan(*solved(), Traffic(duration_s=120.0, rate_rps={"chat": 200.0}))
    assert not outcome.holds
    assert {target.target for target in outcome.workloads[0].missed} >= {"ttft_p95"}


def test_near_capacity_the_least_loaded_replica_is_earlier_than_a_random_one() -> None:
    plan = solved(requests="100/s")
    groups = plan[0].workloads[0].replica_groups
    assert sum(group.replicas for group in groups) > 1
    rate = {"chat": sum(group.capacity_rps for group in groups)}
    (chat,) = simulate_plan(*plan, Traffic(duration_s=60.0, rate_rps=rate, arrivals="bursty")).workloads
    assert chat.pooled_ttft_p95_ms < chat.ttft_p95_ms


def test_bursts_make_requests_wait() -> None:
    waits = {
        arrivals: simulate_plan(*solved(), Traffic(arrivals=arrivals, cv=cv, duration_s=120.0)).workloads[0].ttft_p95_ms
        for arrivals, cv in (("poisson", None), ("bursty", 4.0))
    }
    assert waits["bursty"] > waits["poisson"]


def test_requests_come_as_the_scenario_says_unless_told_otherwise() -> None:
    plan = solved(arrivals="bursty")
    (own,), (random,) = (
        simulate_plan(*plan, Traffic(arrivals=arrivals, duration_s=60.0)).workloads for arrivals in (None, "poisson")
    )
    assert (own.arrival_cv, random.arrival_cv) == (2.0, 1.0)
    assert own == simulate_plan(*plan, Traffic(arrivals="bursty", cv=2.0, duration_s=60.0)).workloads[0]


def test_pooled_replicas_carry_more_and_are_used_less() -> None:
    plan = solved(requests="100/s", arrivals="bursty")
    pooling = pooling_gain(*plan, Traffic(duration_s=40.0))["chat"]
    assert pooling.offered_rps == pytest.approx(100.0, rel=0.1)
    assert pooling.pooled_rps > pooling.one_by_one_rps
    assert pooling.gain_fraction == pytest.approx(pooling.pooled_rps / pooling.one_by_one_rps - 1)


def test_one_replica_cannot_be_pooled() -> None:
    assert pooling_gain(*solved(requests="2/s"), Traffic(duration_s=40.0)) == {}


def trace_file(folder: Path, rows: int = 600) -> Path:
    """Ten requests a second, of the two classes in turn and then one that is too long."""
    lines = [f"{i / 10},{(300, 3000)[i % 2]},{(60, 150)[i % 2]}" for i in range(rows)]
    file = folder / "trace.csv"
    file.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens", *lines, f"{rows / 10},90000,10"]))
    return file


def asked(layout: Layout, **changes: Any) -> Traffic:
    plain = {"arrivals": None, "cv": None, "rate_rps": None, "trace": None, "duration_s": 60.0, "seed": 0}
    return traffic_of(layout, **{**plain, **changes})


def test_a_trace_is_replayed_and_what_is_too_long_refused(tmp_path: Path) -> None:
    traffic = asked(solved()[0], trace=trace_file(tmp_path), duration_s=60.05)
    assert traffic.arrivals == "trace"
    (chat,) = simulate_plan(*solved(), traffic).workloads
    assert chat.rate_rps == pytest.approx(600 / 60.05)
    assert chat.refused == 1
    _, short, long = (kind.requests for kind in chat.classes)
    assert abs(short - long) <= 1  # each goes to the class nearest in size


def test_a_trace_can_be_replayed_at_another_rate(tmp_path: Path) -> None:
    traffic = asked(solved()[0], trace=trace_file(tmp_path), rate_rps=20.0, duration_s=20.0)
    (chat,) = simulate_plan(*solved(), traffic).workloads
    assert chat.rate_rps == pytest.approx(20.0, rel=0.01)


def test_a_trace_is_simulated_no_longer_than_it_is(tmp_path: Path) -> None:
    # 601 requests, one every 0.1 s: with a gap after the last 60.1 s, at 20 a second 30.05 s.
    trace = trace_file(tmp_path)
    assert asked(solved()[0], trace=trace, duration_s=900.0).duration_s == pytest.approx(60.1)
    faster = asked(solved()[0], trace=trace, duration_s=900.0, rate_rps=20.0)
    assert faster.duration_s == pytest.approx(30.05)
    (chat,) = simulate_plan(*solved(), faster).workloads
    assert chat.rate_rps == pytest.approx(600 / 30.05)


def test_more_requests_than_are_held_in_memory_are_refused() -> None:
    traffic = Traffic(rate_rps={"chat": 1e6}, duration_s=7200.0)
    with pytest.raises(InputError, match="ask for 20 s at the most"):
        simulate_plan(*solved(), traffic)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate_rps": 0.0}, "--rate must be more than 0/s"),
        ({"arrivals": "trace"}, "need --trace FILE"),
        ({"arrivals": "bursty", "trace": Path("x.csv")}, "--trace goes with --arrivals trace"),
        ({"cv": 2.0}, "--cv goes with --arrivals bursty, not with those of the scenario"),
        ({"trace": Path("no-such-file.csv")}, "no such file"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        asked(solved()[0], **changes)


def test_a_trace_of_one_moment_has_no_rate(tmp_path: Path) -> None:
    file = tmp_path / "one.csv"
    file.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n5,10,10\n5,10,10\n")
    with pytest.raises(InputError, match="at different times"):
        asked(solved()[0], trace=file)


def test_measured_replicas_are_named_as_not_simulated(catalog: Catalog) -> None:
    keys = scenario_of()
    keys["workloads"] = {
        "chat": {"model": "Qwen/Qwen3-8B", "requests": "3/s", "input_tokens": 100, "output_tokens": 10,
                 "measured": [{"gpu": "h100-sxm", "gpus": 1, "requests_per_s": {"all": 5}}]}
    }  # fmt: skip
    scenario = load_scenario(keys, catalog)
    outcome = simulate_plan(optimize(scenario, catalog), scenario, catalog, SHORT)
    assert outcome.not_simulated == {"chat": "its replicas were measured, not predicted"}
    assert outcome.workloads == ()


def test_what_was_never_planned_is_not_simulated(catalog: Catalog) -> None:
    keys = scenario_of(slo={"ttft_p50": "1ms"})
    scenario = load_scenario(keys, catalog)
    layout = optimize(scenario, catalog)
    assert layout.status == "infeasible"
    with pytest.raises(InputError, match="no plan to simulate"):
        simulate_plan(layout, scenario, catalog, SHORT)
