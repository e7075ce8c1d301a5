"""Latency and throughput of replicas: a calibrated analytical model, vectorised over configurations."""

from optimizer.performance.capacity import (
    LOAD_STEPS,
    RatedReplicas,
    RowTarget,
    bands_at,
    largest_load,
    open_replicas,
    rated_replicas,
    row_targets,
)
from optimizer.performance.estimate import PerformanceEstimate, estimate_performance
from optimizer.performance.formats import caches_no_slower, weights_no_slower
from optimizer.performance.mix import TokenMix
from optimizer.performance.models import performance_model, source_of, times_known
from optimizer.performance.replica import LIMITS, ReplicaPerformance, capacity_of, replica_performance
from optimizer.performance.step import PerformanceModel
from optimizer.performance.words import Latency, Statistic

__all__ = [
    "LIMITS",
    "LOAD_STEPS",
    "Latency",
    "PerformanceEstimate",
    "PerformanceModel",
    "RatedReplicas",
    "ReplicaPerformance",
    "RowTarget",
    "Statistic",
    "TokenMix",
    "bands_at",
    "caches_no_slower",
    "capacity_of",
    "estimate_performance",
    "largest_load",
    "open_replicas",
    "performance_model",
    "rated_replicas",
    "replica_performance",
    "row_targets",
    "source_of",
    "times_known",
    "weights_no_slower",
]
