"""The names of latencies and of their statistics."""

from __future__ import annotations

from typing import Literal

Latency = Literal["ttft", "tpot", "e2e"]
Statistic = Literal["mean", "p50", "p90", "p95", "p99"]
