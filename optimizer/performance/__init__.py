"""Latency and throughput of replicas: a calibrated analytical model, vectorised over configurations."""

from optimizer.performance.estimate import PerformanceEstimate, estimate_performance
from optimizer.performance.mix import TokenMix
from optimizer.performance.replica import (
    LIMITS,
    Latency,
    PerformanceModel,
    ReplicaPerformance,
    Statistic,
    replica_performance,
)

__all__ = [
    "LIMITS",
    "Latency",
    "PerformanceEstimate",
    "PerformanceModel",
    "ReplicaPerformance",
    "Statistic",
    "TokenMix",
    "estimate_performance",
    "replica_performance",
]
