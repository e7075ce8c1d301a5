"""The names of latencies and of their statistics, and when a latency is none."""

from __future__ import annotations

from typing import Literal

Latency = Literal["ttft", "tpot", "e2e"]
Statistic = Literal["mean", "p50", "p90", "p95", "p99"]
ENDLESS_MS = 1e7
"""Nearly three hours: beyond it a prediction says that the queue of a replica that is always full never ends."""


def bounded(latency_ms: float) -> float | None:
    """The latency, or None where it has no bound."""
    return latency_ms if latency_ms < ENDLESS_MS else None
