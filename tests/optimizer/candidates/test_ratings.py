"""What is rated once is not rated again, and no answer depends on whether it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from catalog import load_catalog
from optimizer import load_scenario, optimize
from optimizer.candidates import Candidates, Ratings, build_candidates
from optimizer.kept import Kept
from optimizer.plans import plan_sha256

CATALOG = load_catalog()
BASE: dict[str, Any] = {
    "name": "base",
    "workloads": {
        "chat": {
            "model": "Qwen/Qwen3-8B",
            "requests": "2/s",
            "input_tokens": 700,
            "output_tokens": 150,
            "slo": {"ttft_p95": "2s"},
        }
    },
    "inventory": {
        "l40s": {"gpu": "l40s", "gpus_per_server": 2, "rent": {"price": "$0.9/gpu/h"}},
        "h100": {"gpu": "h100-sxm", "gpus_per_server": 4, "rent": {"price": "$2.4/gpu/h"}},
    },
}
MONEY = {
    ("inventory", "h100", "rent", "price"): "$1.1/gpu/h",
    ("inventory", "h100", "buy"): {"price": "$200k/server", "life": "36mo"},
    ("inventory", "l40s", "power"): "1kW/server",
    ("facility",): {"opex": "$100/server/mo"},
    ("budget",): {"monthly": "$9k"},
    ("horizon",): "12mo",
    ("name",): "other",
    ("workloads", "chat", "priority"): 2,
}
DEMAND = {
    ("workloads", "chat", "requests"): "9/s",
    ("workloads", "chat", "peak"): "3x",
    ("max_utilization",): "60%",
}
PHYSICS = {
    ("workloads", "chat", "input_tokens"): 900,
    ("workloads", "chat", "slo", "ttft_p95"): "1s",
    ("workloads", "chat", "model"): "Qwen/Qwen3-14B",
    ("workloads", "chat", "prefix_hit"): "30%",
    ("workloads", "chat", "max_context"): "16k",
    ("inventory", "h100", "gpus_per_server"): 8,
    ("inventory", "h100", "gpu"): "h200-sxm",
    ("inventory", "h100", "link_domain"): 1,
}


def changed(data: Any, path: tuple[str, ...], value: Any) -> Any:
    return {**data, path[0]: changed(data.get(path[0], {}), path[1:], value)} if path else value


def same(one: Candidates, other: Candidates) -> bool:
    return (
        one.specs == other.specs
        and np.array_equal(one.offer, other.offer)
        and np.array_equal(one.rate_rps, other.rate_rps)
        and dict(one.rejected) == dict(other.rejected)
        and one.n_evaluated == other.n_evaluated
    )


@pytest.mark.parametrize("path", [*MONEY, *DEMAND, *PHYSICS], ids=".".join)
def test_candidates_are_the_same_whatever_was_rated_before(path: tuple[str, ...]) -> None:
    ratings = Ratings()
    build_candidates(load_scenario(BASE, CATALOG), CATALOG, ratings=ratings)
    scenario = load_scenario(changed(BASE, path, {**MONEY, **DEMAND, **PHYSICS}[path]), CATALOG)
    (kept,) = build_candidates(scenario, CATALOG, ratings=ratings)
    (fresh,) = build_candidates(scenario, CATALOG)
    assert same(kept, fresh)
    assert ratings.rated.n_made == (2 if path in PHYSICS else 1)
    assert ratings.candidates.n_made == (1 if path in MONEY else 2)


@pytest.mark.parametrize("path", [*MONEY, *DEMAND, *PHYSICS], ids=".".join)
def test_plans_are_the_same_whatever_was_solved_before(path: tuple[str, ...]) -> None:
    ratings, truths = Ratings(), Kept[Any]()
    optimize(load_scenario(BASE, CATALOG), CATALOG, ratings=ratings, truths=truths)
    scenario = load_scenario(changed(BASE, path, {**MONEY, **DEMAND, **PHYSICS}[path]), CATALOG)
    kept = optimize(scenario, CATALOG, ratings=ratings, truths=truths)
    assert plan_sha256(kept) == plan_sha256(optimize(scenario, CATALOG))


def test_the_one_not_used_for_longest_is_dropped() -> None:
    kept: Kept[int] = Kept(2)
    for key in ("a", "b", "a", "c", "a", "b"):  # c takes the place of b, and b has to be made again
        kept.get(key, lambda: 1)
    assert kept.n_made == 4
