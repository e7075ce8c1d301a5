"""A replica's scheduler step by step, and a plan under traffic: what the closed form is measured against."""

from optimizer.simulation.arrivals import arrival_times_ms
from optimizer.simulation.attainment import Attainment
from optimizer.simulation.outcome import Outcome
from optimizer.simulation.plan import (
    DURATION_S,
    PlanOutcome,
    Traffic,
    WorkloadOutcome,
    simulate_plan,
    traffic_of,
)
from optimizer.simulation.pooling import Pooling, pooling_gain
from optimizer.simulation.replica import SimulatedReplica, simulated_replica
from optimizer.simulation.requests import Requests, TokenSizes
from optimizer.simulation.scheduler import closed_loop, open_loop

__all__ = [
    "DURATION_S",
    "Attainment",
    "Outcome",
    "PlanOutcome",
    "Pooling",
    "Requests",
    "SimulatedReplica",
    "TokenSizes",
    "Traffic",
    "WorkloadOutcome",
    "arrival_times_ms",
    "closed_loop",
    "open_loop",
    "pooling_gain",
    "simulate_plan",
    "simulated_replica",
    "traffic_of",
]
