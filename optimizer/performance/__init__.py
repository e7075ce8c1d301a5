"""Latency and throughput of replicas: a calibrated analytical model, vectorised over configurations."""

from optimizer.performance.estimate import PerformanceEstimate, estimate_performance
from optimizer.performance.mix import TokenMix
from optimizer.performance.replica import LIMITS, PerformanceModel, ReplicaPerformance, replica_performance

__all__ = [
    "LIMITS",
    "PerformanceEstimate",
    "PerformanceModel",
    "ReplicaPerformance",
    "TokenMix",
    "estimate_performance",
    "replica_performance",
]
