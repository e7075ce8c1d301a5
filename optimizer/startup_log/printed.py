"""Figures of an estimate as the engine's log words them."""

from __future__ import annotations

from math import hypot

from catalog.schema.engine import Rules, VllmRules
from optimizer.memory import MemoryEstimate


def printed(name: str, estimate: MemoryEstimate, rules: Rules) -> float:
    """A figure of the estimate, which the engine may print together with another."""
    value = float(getattr(estimate, name))
    return value + estimate.cuda_graph_gib if _with_graphs(name, rules) else value


def printed_plus_minus_gib(name: str, estimate: MemoryEstimate, rules: Rules) -> float | None:
    """By which that may be off; None for what is no part of the memory."""
    part_gib = estimate.plus_minus_gib.get(name.removesuffix("_gib"))
    if part_gib is None or not _with_graphs(name, rules):
        return part_gib
    return hypot(part_gib, estimate.plus_minus_gib["cuda_graph"])


def _with_graphs(name: str, rules: Rules) -> bool:
    """Whether the figure covers graphs as well.

    Where vLLM estimates graphs before it sizes the cache, what it prints for "peak activation" includes them
    (vllm/v1/worker/gpu_worker.py, peak_activation_memory).
    """
    return name == "activation_gib" and isinstance(rules, VllmRules) and rules.graphs.inside_budget
