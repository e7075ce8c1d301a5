"""A small valid scenario that tests change."""

from __future__ import annotations

import copy
from typing import Any

BASE: dict[str, Any] = {
    "name": "base",
    "workloads": {
        "chat": {
            "model": "Qwen/Qwen3-8B",
            "requests": "2/s",
            "input_tokens": 1000,
            "output_tokens": 200,
            "slo": {"ttft_p95": "3s", "tpot_p95": "80ms"},
        }
    },
    "inventory": {"node": {"gpu": "h100-sxm", "gpus_per_server": 8, "rent": {"price": "$2.40/gpu/h", "max": 4}}},
}


def scenario_with(
    *, workload: dict[str, Any] | None = None, offer: dict[str, Any] | None = None, **top: Any
) -> dict[str, Any]:
    """The base with other keys at the top, in its workload and in its offer; None takes a key away."""
    scenario = copy.deepcopy(BASE)
    for place, changes in ((scenario["workloads"]["chat"], workload), (scenario["inventory"]["node"], offer)):
        place.update(changes or {})
        for key in [key for key, value in place.items() if value is None]:
            del place[key]
    return scenario | top
