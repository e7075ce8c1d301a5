"""Are the replicas of measured workloads those that were measured?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from optimizer.layout import ReplicaGroup
from optimizer.scenario import MeasuredReplica
from optimizer.verification.claims import Claims, agree

UNKNOWN = (
    "weight_dtype",
    "kv_cache_dtype",
    "engine",
    "engine_version",
    "tp",
    "pp",
    "dp",
    "ep",
    "max_batch_size",
    "max_model_len",
    "ttft_ms",
    "tpot_ms",
    "e2e_ms",
    "ttft_interval_ms",
    "tpot_interval_ms",
    "quality",
    "memory",
    "limit",
)
"""What a measurement of requests per second says nothing about."""


def measured(claims: Claims) -> Iterator[str]:
    """Card, GPUs and rates of a measured replica are those of an entry of the scenario; nothing else is known of it."""
    for name, workload, group in claims.groups():
        if workload.measured is None:
            continue
        offer = claims.scenario.inventory.get(group.offer)
        if offer is not None and group.gpus_per_replica > offer.gpus_per_server:
            yield f"{name}: {group.gpus_per_replica} GPUs a replica, {group.offer} has {offer.gpus_per_server} a server"
        yield from _rates(name, workload.measured, group)
        if known := [key for key in UNKNOWN if getattr(group, key) is not None]:
            yield f"{name}: the replica was measured, so its {', '.join(known)} cannot be known"
        if group.extrapolated:
            yield f"{name}: the replica was measured, so nothing of it is extrapolated"
        if group.model is not None and group.model not in workload.models:
            yield f"{name}: model {group.model} is none that the workload accepts"
        if group.source != "measured":
            yield f"{name}: source is {group.source}, its rates are from the scenario's measurements"


def _rates(name: str, entries: Sequence[MeasuredReplica], group: ReplicaGroup) -> Iterator[str]:
    same = [one for one in entries if (one.gpu, one.gpus) == (group.gpu, group.gpus_per_replica)]
    if not same:
        yield f"{name}: no replica of {group.gpus_per_replica} × {group.gpu} was measured"
    elif not any(
        all(agree(rate, one.requests_per_s.get(key, 0.0)) for key, rate in group.rate_rps.items()) for one in same
    ):
        yield f"{name}: rate_rps {group.rate_rps} is not what was measured, {dict(same[0].requests_per_s)}"
