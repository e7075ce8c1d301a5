"""Plans built by hand: figures are plausible and not checked, placement and settings are what tests look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from catalog import Catalog
from optimizer.layout import Cost, Layout, Placement, ReplicaGroup, Servers, WorkloadPlan
from optimizer.scenario import load_scenario

INVENTORY: dict[str, Any] = {
    "h100-node": {"gpu": "h100-sxm", "gpus_per_server": 8, "rent": {"price": "$2.40/gpu/h"}, "own": 2},
    "l40s-box": {"gpu": "l40s", "gpus_per_server": 4, "network": "200Gbit/s", "rent": {"price": "$0.90/gpu/h"}},
    "gaudi-node": {"gpu": "gaudi3", "gpus_per_server": 8, "rent": {"price": "$1/gpu/h"}},
    "mi300x-node": {"gpu": "mi300x", "gpus_per_server": 8, "rent": {"price": "$2/gpu/h"}},
}


def group(
    servers: Sequence[Sequence[int]],
    *,
    offer: str = "h100-node",
    model: str = "Qwen/Qwen3-32B",
    weight_dtype: str = "fp8",
    kv_cache_dtype: str = "fp8",
    engine: str = "vllm",
    tp: int = 1,
    pp: int = 1,
    dp: int = 1,
    ep: int = 1,
    max_batch_size: int = 64,
    max_model_len: int = 8192,
) -> ReplicaGroup:
    """A predicted group with one replica for each entry of `servers`."""
    return ReplicaGroup(
        offer=offer,
        gpu=INVENTORY[offer]["gpu"],
        gpus_per_replica=tp * pp * dp,
        replicas=len(servers),
        model=model,
        weight_dtype=weight_dtype,
        kv_cache_dtype=kv_cache_dtype,
        engine=engine,
        engine_version=None,
        tp=tp,
        pp=pp,
        dp=dp,
        ep=ep,
        max_batch_size=max_batch_size,
        max_model_len=max_model_len,
        load_rps=1.0,
        capacity_rps=2.0,
        utilization=0.5,
        class_rps={"all": 1.0},
        rate_rps={"all": 2.0},
        placement=tuple(Placement(replica=i, servers=tuple(where)) for i, where in enumerate(servers)),
        ttft_ms=None,
        tpot_ms=None,
        e2e_ms=None,
        ttft_interval_ms=None,
        tpot_interval_ms=None,
        extrapolated=(),
        quality=None,
        memory=None,
        limit=None,
        source="hand-built",
    )


def measured_group(servers: Sequence[Sequence[int]], *, offer: str = "h100-node", gpus: int = 1) -> ReplicaGroup:
    """A group of measured replicas: nothing but its GPUs is known."""
    known = group(servers, offer=offer)
    keys = [
        "model",
        "weight_dtype",
        "kv_cache_dtype",
        "engine",
        "tp",
        "pp",
        "dp",
        "ep",
        "max_batch_size",
        "max_model_len",
    ]
    return known.model_copy(update={**dict.fromkeys(keys), "gpus_per_replica": gpus, "source": "measured"})


def plan(
    catalog: Catalog,
    workloads: dict[str, list[ReplicaGroup]],
    servers: Sequence[tuple[str, str, int]],
    name: str = "hand-built",
) -> Layout:
    """A feasible plan of these groups on servers (offer, term, count)."""
    scenario = load_scenario(
        {
            "name": name,
            "workloads": {
                workload: {
                    "model": next((one.model for one in groups if one.model), "Qwen/Qwen3-8B"),
                    "requests": "1/s",
                    "input_tokens": 1000,
                    "output_tokens": 200,
                    "slo": "throughput",
                }
                for workload, groups in workloads.items()
            },
            "inventory": {offer: INVENTORY[offer] for offer in dict.fromkeys(offer for offer, _, _ in servers)},
        },
        catalog,
    )
    rows = tuple(
        Servers(
            offer=offer,
            term=term,
            gpu=INVENTORY[offer]["gpu"],
            gpus_per_server=INVENTORY[offer]["gpus_per_server"],
            count=count,
            usd_per_hour=1.0,
        )
        for offer, term, count in servers
    )
    total = float(sum(row.count for row in rows))
    return Layout(
        scenario=scenario.name,
        status="optimal",
        gap=0.0,
        solve_seconds=0.1,
        solver="by hand",
        cost=Cost(
            usd_per_hour=total,
            usd_per_month=730 * total,
            usd_over_horizon=730 * total,
            capex_usd=0.0,
            bound_usd_per_hour=total,
        ),
        servers=rows,
        workloads=tuple(
            WorkloadPlan(name=workload, demand_rps=1.0, replica_groups=tuple(groups))
            for workload, groups in workloads.items()
        ),
        catalog_version=catalog.shipped_version,
        scenario_sha256=scenario.sha256,
        inputs=scenario.canonical(),
    )
