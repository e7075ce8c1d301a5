"""What a simulation saw: the times of every request, and the statistics made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from catalog.units import MS_PER_S
from optimizer.performance import Statistic
from optimizer.serving_config import FloatArray, IntArray

SimulatedMetric = Literal["ttft", "tpot", "itl", "e2e"]
PERCENT: Mapping[Statistic, float] = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
STATISTICS: tuple[Statistic, ...] = ("mean", "p50", "p90", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Outcome:
    """m requests that one replica has served to the end."""

    of_class: IntArray  # [m]
    output_tokens: IntArray  # [m]
    arrived_ms: FloatArray  # [m]
    first_ms: FloatArray  # [m] when the first token reached the client
    finished_ms: FloatArray  # [m] when the last one did
    gaps_ms: FloatArray  # [g] times between two tokens …
    gaps_n: FloatArray  # [g] … and how many of each there were
    elapsed_ms: float
    in_batch_ms: float
    """Integral over time of the number of requests in the batch."""
    preemptions: int

    @property
    def ttft_ms(self) -> FloatArray:
        """[m]"""
        return self.first_ms - self.arrived_ms

    @property
    def tpot_ms(self) -> FloatArray:
        """[m] mean gap after the first token; not a number where the first is the last."""
        gaps = np.where(self.output_tokens > 1, self.output_tokens - 1.0, np.nan)
        return (self.finished_ms - self.first_ms) / gaps

    @property
    def e2e_ms(self) -> FloatArray:
        """[m]"""
        return self.finished_ms - self.arrived_ms

    @property
    def mean_in_batch(self) -> float:
        """Requests in the batch, mean over time."""
        return self.in_batch_ms / self.elapsed_ms if self.elapsed_ms > 0 else 0.0

    def take(self, rows: IntArray) -> Outcome:
        """The chosen requests; gaps, times and counts stay those of the whole run."""
        return replace(
            self,
            of_class=self.of_class[rows],
            output_tokens=self.output_tokens[rows],
            arrived_ms=self.arrived_ms[rows],
            first_ms=self.first_ms[rows],
            finished_ms=self.finished_ms[rows],
        )

    def latency(self, metric: Literal["ttft", "tpot", "e2e"]) -> FloatArray:
        """[m] ms"""
        latency: FloatArray = getattr(self, f"{metric}_ms")
        return latency

    def statistics(self) -> dict[SimulatedMetric, dict[Statistic, float]]:
        """Every statistic of TTFT, TPOT and E2E over the requests, of ITL over all gaps; ms."""
        return {
            "ttft": statistics_of(self.ttft_ms),
            "tpot": statistics_of(self.tpot_ms),
            "itl": weighted_statistics(self.gaps_ms, self.gaps_n),
            "e2e": statistics_of(self.e2e_ms),
        }

    def requests_per_s(self, begin_ms: float, end_ms: float) -> float:
        """Requests that ended within a span, a second."""
        ended = (self.finished_ms >= begin_ms) & (self.finished_ms < end_ms)
        return float(ended.sum()) / (end_ms - begin_ms) * MS_PER_S


def statistics_of(values: FloatArray) -> dict[Statistic, float]:
    """Mean and percentiles of what is a number; not a number when there is none."""
    known = values[~np.isnan(values)]
    if not len(known):
        return dict.fromkeys(STATISTICS, float("nan"))
    percentiles = np.percentile(known, list(PERCENT.values())).tolist()
    return {"mean": float(known.mean()), **dict(zip(PERCENT, percentiles, strict=True))}


def weighted_statistics(values: FloatArray, weights: FloatArray) -> dict[Statistic, float]:
    """Of values that each stand for several equal ones: the least value that so many of them do not exceed."""
    total = weights.sum()
    if not total:
        return dict.fromkeys(STATISTICS, float("nan"))
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    rank = np.searchsorted(cumulative, total * np.array(list(PERCENT.values())) / 100.0)
    at = values[order][np.minimum(rank, len(values) - 1)].tolist()
    return {"mean": float(values @ weights / total), **dict(zip(PERCENT, at, strict=True))}
