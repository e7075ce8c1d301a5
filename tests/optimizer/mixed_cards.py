"""Scenarios in which a model needs cards of two types, for all tests of pipelines over several offers."""

from __future__ import annotations

from typing import Any

T4 = {"gpu": "t4", "gpus_per_server": 1, "own": 1, "network": "25Gbit/s"}
L4 = {"gpu": "l4", "gpus_per_server": 1, "own": 1, "network": "25Gbit/s"}


def workload(**settings: Any) -> dict[str, Any]:
    """14.8 billion weights in 16 bit, 27.5 GiB: more than a T4 (14.6) or an L4 (22.1) holds, and less than both."""
    return {
        "model": "Qwen/Qwen3-14B",
        "requests": "0.02/s",
        "input_tokens": 1000,
        "output_tokens": 200,
        "max_context": 8192,
        "slo": {"ttft_p95": "30s", "tpot_p95": "500ms"},
        "weight_dtypes": ["fp16"],
        "kv_cache_dtypes": ["auto"],
        "max_batch_size": [4],
        "max_num_batched_tokens": [2048],
        "heterogeneous_pipelines": True,
    } | settings


def mixed(
    workloads: dict[str, Any] | None = None, inventory: dict[str, Any] | None = None, **keys: Any
) -> dict[str, Any]:
    """A scenario with one workload and an offer of each card, or others."""
    return {
        "name": "mixed",
        "workloads": workloads or {"chat": workload()},
        "inventory": inventory or {"old": T4, "new": L4},
        "max_utilization": "100%",
    } | keys
