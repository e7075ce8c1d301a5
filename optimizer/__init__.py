"""gpuplan: decide how to serve language models at least cost. Names are loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optimizer.api import optimize
    from optimizer.memory import estimate_memory
    from optimizer.performance import estimate_performance
    from optimizer.plans import load_plan
    from optimizer.scenario import load_scenario
    from optimizer.verification import verify

__all__ = ["estimate_memory", "estimate_performance", "load_plan", "load_scenario", "optimize", "verify"]

_HOME = {
    "estimate_memory": "optimizer.memory",
    "estimate_performance": "optimizer.performance",
    "load_plan": "optimizer.plans",
    "load_scenario": "optimizer.scenario",
    "optimize": "optimizer.api",
    "verify": "optimizer.verification",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'optimizer' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
