"""Small scenarios of measured replicas: no physics, so that an optimum can be worked out by hand."""

from __future__ import annotations

from typing import Any


def workload(rate: float, measured: list[tuple[str, int, float | dict[str, float]]], **more: Any) -> dict[str, Any]:
    """A workload of `rate` requests/s; `measured` lists (gpu, gpus, requests/s of one replica, or of each class)."""
    classes = more.pop("classes", {"all": "100%"})
    return {
        "model": "Qwen/Qwen3-8B",
        "requests": f"{rate}/s",
        "classes": {n: {"share": s, "input_tokens": 1000, "output_tokens": 200} for n, s in classes.items()},
        "slo": "throughput",
        "measured": [
            {"gpu": gpu, "gpus": gpus, "requests_per_s": rps if isinstance(rps, dict) else {"all": rps}}
            for gpu, gpus, rps in measured
        ],
        **more,
    }


def rented(gpu: str, gpus: int, usd_per_gpu_hour: float, most: int | None = None) -> dict[str, Any]:
    """An offer of servers to rent."""
    rent: dict[str, Any] = {"price": f"${usd_per_gpu_hour}/gpu/h"}
    return {"gpu": gpu, "gpus_per_server": gpus, "rent": rent if most is None else rent | {"max": most}}


def scenario(workloads: dict[str, Any], inventory: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A scenario that uses replicas fully, so that capacity is rate × replicas."""
    return {"name": "measured", "workloads": workloads, "inventory": inventory, "max_utilization": "100%", **more}
