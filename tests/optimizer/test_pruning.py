"""Dropping dominated candidates never changes what the best plan costs, whatever else the scenario demands."""

from __future__ import annotations

import functools
import math
import random
from typing import Any

import pytest

from catalog import Catalog
from optimizer import load_scenario, optimize, verify
from optimizer.candidates import build_candidates
from optimizer.layout import Layout

SEEDS = range(40)
CARDS = {"t4": 0.5, "l4": 0.8, "a10g": 1.0, "l40s": 1.7, "a100-80gb-sxm": 2.0, "h100-sxm": 3.2}  # $/GPU/h
SIZES = ({"input_tokens": 200, "output_tokens": 60}, {"input_tokens": 3000, "output_tokens": 400})
PROMISES = ("throughput", {"tpot_p95": "60ms"}, {"ttft_p95": "700ms", "tpot_p95": "80ms"}, {"ttft_p95": "250ms"})


def draw(seed: int) -> dict[str, Any]:
    """One or two workloads of one or two classes on one to three offers, with random limits on all of it."""
    rng = random.Random(seed)
    inventory = {
        f"{card}-{i}": offer(rng, card) for i, card in enumerate(rng.choices(sorted(CARDS), k=rng.randint(1, 3)))
    }
    given: dict[str, Any] = {
        "name": "drawn",
        "horizon": "12mo",
        "workloads": {f"w{i}": workload(rng) for i in range(rng.randint(1, 2))},
        "inventory": inventory,
        "facility": {"power_price": "$0.12/kWh", "pue": 1.3, "opex": "$100/server/mo"},
    }
    if rng.random() < 0.3:
        given["facility"]["power_cap"] = f"{rng.choice([1, 3, 8])}kW"
    if rng.random() < 0.3:
        given["budget"] = {"monthly": f"${rng.choice([1500, 4000, 9000])}"}
    elif rng.random() < 0.3:
        given["budget"] = {"capex": f"${rng.choice([20, 60, 200])}k"}
    return given


def offer(rng: random.Random, card: str) -> dict[str, Any]:
    gpus = rng.choice((1, 2, 4))
    drawn: dict[str, Any] = {"gpu": card, "gpus_per_server": gpus}
    terms = rng.sample(("own", "rent", "buy"), rng.choice((1, 1, 2)))
    usd = CARDS[card] * rng.uniform(0.7, 1.4)
    if "own" in terms:
        drawn["own"] = rng.randint(1, 2)
    if "rent" in terms or terms == ["own"]:
        drawn["rent"] = {"price": f"${usd:.2f}/gpu/h", **limit(rng)}
    if "buy" in terms:
        drawn["buy"] = {"price": f"${8000 * usd:.0f}/gpu", "life": "48mo", "residual": "20%", **limit(rng)}
    return drawn


def limit(rng: random.Random) -> dict[str, int]:
    return {"max": rng.randint(1, 6)} if rng.random() < 0.5 else {}


def workload(rng: random.Random) -> dict[str, Any]:
    drawn: dict[str, Any] = {
        "model": rng.choice(("Qwen/Qwen3-8B", "Qwen/Qwen3-14B")),
        "requests": f"{rng.uniform(0.3, 12):.2f}/s",
        "peak": rng.choice(("1x", "2x")),
        "max_context": "6k",
        "slo": rng.choice(PROMISES),
        "engines": rng.choice((["vllm"], ["sglang"], ["vllm", "sglang"])),
        "weight_dtypes": rng.sample(("bf16", "fp16", "fp8", "fp8-static", "int8", "awq-int4"), 3),
        "kv_cache_dtypes": rng.choice((["auto"], ["auto", "fp8"])),
        "single_format": rng.random() < 0.6,
        "tp": [1, 2, 4],
        "pp": [1, 2],
        "max_gpus_per_replica": 8,
        "max_batch_size": [1, 4, 16, 64],
    }
    if rng.random() < 0.5:
        return drawn | rng.choice(SIZES)
    share = rng.randint(20, 80)
    shares = {"short": share, "long": 100 - share}
    return drawn | {
        "classes": {
            name: {"share": f"{part}%", **sizes} for (name, part), sizes in zip(shares.items(), SIZES, strict=True)
        }
    }


def draw_apart(seed: int) -> dict[str, Any]:
    """One workload whose few servers at home and elsewhere must often serve it together, in one format."""
    rng = random.Random(f"apart/{seed}")
    inventory = {}
    for i, card in enumerate(rng.sample(sorted(CARDS), k=rng.randint(2, 3))):
        few = {"gpu": card, "gpus_per_server": rng.choice((1, 2)), "region": ("home", "far")[i % 2]}
        inventory[card] = few | {"rent": {"price": f"${CARDS[card]:.2f}/gpu/h", "max": rng.randint(1, 3)}}
    asked = {
        "model": "Qwen/Qwen3-14B",
        "requests": f"{rng.uniform(0.5, 6):.2f}/s",
        "max_context": "6k",
        "slo": {"ttft_p95": "1s", "tpot_p95": "80ms"},
        "weight_dtypes": ["bf16", "fp16", "fp8", "fp8-static", "int8", "awq-int4"],
        "max_gpus_per_replica": 2,
        "max_batch_size": [1, 4, 16, 64],
        "region": "home",
        "spare": rng.choice(("none", "region")),
    }
    latency = {"home": {"far": f"{rng.choice((20, 90))}ms"}}
    return {
        "name": "apart",
        "workloads": {"w": asked | rng.choice(SIZES)},
        "inventory": inventory,
        "region_latency": latency,
    }


def usd_per_hour(layout: Layout) -> float:
    return math.inf if layout.cost is None else layout.cost.usd_per_hour


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cheapest_plan_costs_the_same_with_every_candidate(
    seed: int, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropping_changes_nothing(draw(seed), catalog, monkeypatch)


@pytest.mark.parametrize("seed", range(12))
def test_it_costs_the_same_where_servers_are_at_several_distances(
    seed: int, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropping_changes_nothing(draw_apart(seed), catalog, monkeypatch)


def dropping_changes_nothing(given: dict[str, Any], catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load_scenario(given, catalog)
    pruned = optimize(scenario, catalog, gap=0.0)
    monkeypatch.setattr("optimizer.api.build_candidates", functools.partial(build_candidates, prune=False))
    whole = optimize(scenario, catalog, gap=0.0)
    assert pruned.status == whole.status
    assert pruned.status in ("optimal", "infeasible")
    assert usd_per_hour(pruned) == pytest.approx(usd_per_hour(whole), rel=1e-6)
    assert verify(whole, scenario, catalog) == []


def test_there_is_something_to_drop_and_not_every_scenario_fails(catalog: Catalog) -> None:
    first = SEEDS[:12]
    dropped = solved = 0
    for seed in first:
        scenario = load_scenario(draw(seed), catalog)
        whole, pruned = (build_candidates(scenario, catalog, prune=prune) for prune in (False, True))
        dropped += sum(len(a.specs) - len(b.specs) for a, b in zip(whole, pruned, strict=True))
        solved += optimize(scenario, catalog).status == "optimal"
    assert dropped > 10 * len(first)
    assert len(first) // 2 <= solved < len(first)
