"""Requests over equal replicas: each to a replica at random, or to the one with the fewest requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.serving_config import IntArray
from optimizer.simulation.outcome import Outcome
from optimizer.simulation.replica import SimulatedReplica
from optimizer.simulation.requests import Requests
from optimizer.simulation.scheduler import SchedulerRun, open_loop


def split_at_random(
    replica: SimulatedReplica, requests: Requests, to_replica: IntArray, replicas: int
) -> list[tuple[IntArray, Outcome]]:
    """The rows and the outcome of each of the first `replicas`, by a choice [m] that was made for every request."""
    rows = [np.flatnonzero(to_replica == index) for index in range(replicas)]
    return [(mine, open_loop(replica, requests.take(mine))) for mine in rows]


def to_least_loaded(replica: SimulatedReplica, requests: Requests, replicas: int) -> list[tuple[IntArray, Outcome]]:
    """The same where every request goes to the replica with the fewest requests in it, the first of equals."""
    runs = [SchedulerRun(replica, requests) for _ in range(replicas)]
    chosen = np.zeros(len(requests), np.int64)
    for request, arrived_ms in enumerate(requests.arrived_ms.tolist()):
        for run in runs:
            run.advance(arrived_ms)
        chosen[request] = least = min(range(replicas), key=lambda index: runs[index].in_system)
        runs[least].send(arrived_ms, request)
    rows = [np.flatnonzero(chosen == index) for index in range(replicas)]
    return [(mine, run.outcome().take(mine)) for mine, run in zip(rows, runs, strict=True)]


def joined(parts: Sequence[tuple[IntArray, Outcome]]) -> tuple[IntArray, Outcome]:
    """The outcomes of several replicas as one, with the rows of the requests in it."""
    outcomes = [outcome for _, outcome in parts]

    def together(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(outcome, name) for outcome in outcomes])

    whole = Outcome(
        of_class=together("of_class"),
        output_tokens=together("output_tokens"),
        arrived_ms=together("arrived_ms"),
        first_ms=together("first_ms"),
        finished_ms=together("finished_ms"),
        gaps_ms=together("gaps_ms"),
        gaps_n=together("gaps_n"),
        elapsed_ms=max(outcome.elapsed_ms for outcome in outcomes),
        in_batch_ms=sum(outcome.in_batch_ms for outcome in outcomes),
        preemptions=sum(outcome.preemptions for outcome in outcomes),
    )
    return np.concatenate([rows for rows, _ in parts]), whole
