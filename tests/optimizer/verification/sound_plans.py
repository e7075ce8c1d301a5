"""Sound plans for tests to break, and ways to change one leaf of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from measured import workload

Path = tuple[str | int, ...]

MEASURED: dict[str, Any] = {
    "name": "measured",
    "horizon": "12mo",
    "workloads": {
        # More than one server of 4 pairs carries, so the owned one is used and another is bought; L4 takes short ones.
        "mixed": workload(
            8,
            [("h100-sxm", 2, {"short": 3.0, "long": 0.5}), ("l4", 1, {"short": 1.0})],
            classes={"short": "75%", "long": "25%"},
        ),
        "plain": workload(2.0, [("h100-sxm", 1, 2.0)]),
    },
    "inventory": {
        "node": {
            "gpu": "h100-sxm",
            "gpus_per_server": 8,
            "own": 1,
            "buy": {"price": "$200k/server", "life": "48mo", "residual": "25%", "max": 1},
            "rent": {"price": "$9/gpu/h", "max": 3},
        },
        "box": {"gpu": "l4", "gpus_per_server": 4, "rent": {"price": "$0.50/gpu/h"}},
    },
    "facility": {"power_price": "$0.10/kWh", "pue": 1.3, "opex": "$450/server/mo", "power_cap": "25kW"},
    "budget": {"capex": "$1M", "monthly": "$50k"},
}

PERIODS: dict[str, Any] = {
    "name": "periods",
    "horizon": "24mo",
    "periods": 2,
    "discount_rate": "8%/yr",
    "workloads": {
        # The owned server and a bought one carry the first year; then a second one of each of the other terms comes in.
        "grows": {
            **workload(1, [("l4", 1, 1.0)], spare="n+1"),
            "requests_per_period": ["2/s", "5/s"],
        }
    },
    "inventory": {
        "node": {
            "gpu": "l4",
            "gpus_per_server": 1,
            "own": 1,
            "buy": {"price": "$5k/server", "life": "48mo", "residual": "10%", "max": 2, "lead_time": "1mo"},
            "reserve": [{"term": "9mo", "price": "$0.60/gpu/h", "max": 2}],
            "spot": {"price": "$0.40/gpu/h", "interruption": "5%/h", "max": 2},
            "rent": {"price": "$1/gpu/h"},
        }
    },
    "facility": {"power_price": "$0.10/kWh", "opex": "$20/server/mo", "power_cap": "25kW"},
    "budget": {"capex": "$1M", "monthly": "$50k"},
}
del PERIODS["workloads"]["grows"]["requests"]

FUTURES: dict[str, Any] = {
    **PERIODS,
    "name": "futures",
    "workloads": {"grows": {**PERIODS["workloads"]["grows"], "requests_per_period": ["1/s", "2/s"]}},
    "demand_scenarios": {
        "usual": {"probability": "70%"},
        "surge": {"probability": "30%", "demand": "2x"},
    },
}

PREDICTED: dict[str, Any] = {
    "name": "predicted",
    "workloads": {
        "chat": {
            "model": "Qwen/Qwen3-14B",
            "requests": "9/s",
            "classes": {
                "short": {"share": "80%", "input_tokens": 300, "output_tokens": 150},
                "long": {"share": "20%", "input_tokens": {"p50": 2000, "p95": 6000}, "output_tokens": 300},
            },
            "max_context": "16k",
            "slo": {"ttft_p95": "5s", "tpot_p95": "80ms"},
            "weight_dtypes": ["bf16", "fp8"],
            "kv_cache_dtypes": ["fp8"],
        },
        "giant": {
            "model": "Qwen/Qwen3-235B-A22B",
            "requests": "0.5/s",
            "input_tokens": 1000,
            "output_tokens": 200,
            "slo": "throughput",
            "weight_dtypes": ["bf16"],
            "tp": [8],
            "pp": [2],
        },
    },
    "inventory": {"node": {"gpu": "h100-sxm", "gpus_per_server": 8, "rent": {"price": "$2.40/gpu/h"}}},
}


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is neither a mapping nor a list, and every empty one, with its path."""
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from leaves(child, (*path, key))
    elif isinstance(value, list) and value:
        for index, child in enumerate(value):
            yield from leaves(child, (*path, index))
    else:
        yield path, value


def changed(keys: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy of a plan's keys with another value at a path."""
    new = copy.deepcopy(keys)
    inner: Any = new
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return new


def without(keys: dict[str, Any], path: Path) -> dict[str, Any]:
    """A copy of a plan's keys with the list entry or key at a path taken out."""
    new = copy.deepcopy(keys)
    inner: Any = new
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return new


def other_values(value: Any) -> list[Any]:
    """Values of the same kind that say something else."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, value * 2 + 3, -5, 10**12, 10**30]
    if isinstance(value, float):
        return [value * 1.001 + 0.001, value * 0.999 - 0.001, -1.0, 1e300, float("inf"), float("nan")]
    if isinstance(value, str):
        return [value + "x", ""]
    return []
