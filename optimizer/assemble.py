"""A layout from a decision: groups with their figures, placed on servers, with what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog import Catalog
from catalog.units import HOURS_PER_MONTH
from optimizer.candidates import Candidates, ReplicaFigures, ReplicaSpec, replica_figures
from optimizer.formulation import Instance
from optimizer.layout import Cost, Placement, ReplicaGroup, Servers, WorkloadPlan
from optimizer.placement import place
from optimizer.scenario import Scenario
from optimizer.serving_config import FloatArray, IntArray
from optimizer.solve import Decision, fewest_terms


@dataclass(frozen=True, slots=True)
class Assembled:
    """The parts of a layout that a decision determines."""

    servers: tuple[Servers, ...]
    workloads: tuple[WorkloadPlan, ...]
    cost: Cost
    extrapolated: tuple[str, ...]
    """Workloads whose figures lie outside what the performance model was fitted on."""


def assemble(
    scenario: Scenario,
    catalog: Catalog,
    candidates: Sequence[Candidates],
    inst: Instance,
    decision: Decision,
    bound_usd_per_hour: float,
) -> Assembled:
    """Groups in the order of workloads and candidates; servers in the order of offers and terms.

    `inst` asks for what is served, which may be less than the scenario asks for.
    """
    specs = [spec for c in candidates for spec in c.specs]
    placements, needed = _placements(inst, specs, decision.n_replicas)
    n_servers = fewest_terms(inst, decision.n_servers, needed)
    servers = tuple(
        Servers(
            offer=term.offer,
            term=term.term,
            gpu=scenario.inventory[term.offer].gpu,
            gpus_per_server=scenario.inventory[term.offer].gpus_per_server,
            count=int(count),
            usd_per_hour=term.usd_per_hour,
        )
        for term, count in zip(inst.terms, n_servers, strict=True)
        if count
    )
    load_rps = _load_matrix(inst, decision.load_share)
    workloads, extrapolated, first = [], [], 0
    for c in candidates:
        workload = scenario.workloads[c.workload]
        classes = [r.name for r in workload.request_classes]
        demands = [d for d, (name, _) in enumerate(inst.demand_names) if name == c.workload]
        groups = []
        for i, spec in enumerate(c.specs):
            k = first + i
            if not decision.n_replicas[k]:
                continue
            figures = None if spec.model is None else replica_figures(spec, workload, catalog)
            groups.append(
                _group(
                    spec=spec,
                    offer=inst.offer_names[int(c.offer[i])],
                    figures=figures,
                    load_rps=dict(zip(classes, load_rps[k, demands].tolist(), strict=True)),
                    rate_rps=dict(zip(classes, c.rate_rps[i].tolist(), strict=True)),
                    placements=placements[k],
                )
            )
            if figures is not None and figures.extrapolated:
                extrapolated.append(c.workload)
        asked_rps, served_rps = workload.demand_rps, float(inst.demand_rps[demands].sum())
        workloads.append(
            WorkloadPlan(
                name=c.workload,
                demand_rps=asked_rps,
                served_fraction=1.0 if math.isclose(served_rps, asked_rps) else served_rps / asked_rps,
                replica_groups=tuple(groups),
            )
        )
        first += len(c.specs)
    capex_usd = float(inst.capex_usd @ n_servers)
    cost = _cost(servers, capex_usd, bound_usd_per_hour, scenario.horizon_months)
    return Assembled(servers, tuple(workloads), cost, tuple(dict.fromkeys(extrapolated)))


def _placements(
    inst: Instance, specs: Sequence[ReplicaSpec], n_replicas: IntArray
) -> tuple[dict[int, tuple[tuple[int, ...], ...]], list[int]]:
    """Server indices of every replica of each used candidate, and how many servers each offer needs [S]."""
    placements: dict[int, tuple[tuple[int, ...], ...]] = {}
    needed = []
    for s in range(len(inst.offer_names)):
        used = [int(k) for k in np.flatnonzero((inst.offer_of_candidate == s) & (n_replicas > 0))]
        replicas = [_stages(specs[k]) for k in used for _ in range(n_replicas[k])]
        placed = place(replicas, int(inst.gpus_per_server[s]))
        ends = np.cumsum([n_replicas[k] for k in used], dtype=np.int64).tolist()
        for k, end in zip(used, ends, strict=True):
            placements[k] = tuple(placed[end - int(n_replicas[k]) : end])
        needed.append(1 + max((index for servers in placed for index in servers), default=-1))
    return placements, needed


def _stages(spec: ReplicaSpec) -> tuple[int, int]:
    """(GPUs of a stage, stages); a measured replica is one piece."""
    return (spec.gpus, 1) if spec.pp is None else (spec.gpus // spec.pp, spec.pp)


def _load_matrix(inst: Instance, load_share: FloatArray) -> FloatArray:
    """[K, D] requests/s of each demand on each candidate."""
    load = np.zeros((len(inst.candidate_names), len(inst.demand_names)))
    load[inst.candidate_of_load, inst.demand_of_load] = load_share * inst.demand_rps[inst.demand_of_load]
    return load


def _group(
    *,
    spec: ReplicaSpec,
    offer: str,
    figures: ReplicaFigures | None,
    load_rps: dict[str, float],
    rate_rps: dict[str, float],
    placements: Sequence[tuple[int, ...]],
) -> ReplicaGroup:
    total_rps = sum(load_rps.values())
    busy = sum(rps / rate_rps[name] for name, rps in load_rps.items() if rps > 0)
    return ReplicaGroup(
        offer=offer,
        gpu=spec.gpu,
        gpus_per_replica=spec.gpus,
        replicas=len(placements),
        model=spec.model,
        weight_dtype=spec.weight_dtype,
        kv_cache_dtype=spec.kv_cache_dtype,
        engine=spec.engine,
        engine_version=figures.engine_version if figures else None,
        tp=spec.tp,
        pp=spec.pp,
        dp=spec.dp,
        ep=spec.ep,
        max_batch_size=spec.max_batch_size,
        max_model_len=spec.max_model_len,
        max_num_batched_tokens=figures.max_num_batched_tokens if figures else None,
        gpu_memory_utilization=figures.gpu_memory_utilization if figures else None,
        load_rps=total_rps,
        capacity_rps=total_rps / busy * len(placements),
        utilization=busy / len(placements),
        class_rps=load_rps,
        rate_rps=rate_rps,
        placement=tuple(Placement(replica=i, servers=servers) for i, servers in enumerate(placements)),
        ttft_ms=figures.ttft_ms if figures else None,
        tpot_ms=figures.tpot_ms if figures else None,
        e2e_ms=figures.e2e_ms if figures else None,
        ttft_interval_ms=figures.ttft_interval_ms if figures else None,
        tpot_interval_ms=figures.tpot_interval_ms if figures else None,
        quality=figures.quality_fraction if figures else None,
        memory=figures.memory if figures else None,
        limit=spec.limit,
        source=figures.source if figures else "measured",
    )


def _cost(servers: Sequence[Servers], capex_usd: float, bound_usd_per_hour: float, horizon_months: float) -> Cost:
    usd_per_hour = sum(row.count * row.usd_per_hour for row in servers)
    usd_per_month = usd_per_hour * HOURS_PER_MONTH
    return Cost(
        usd_per_hour=usd_per_hour,
        usd_per_month=usd_per_month,
        usd_over_horizon=usd_per_month * horizon_months,
        capex_usd=capex_usd,
        bound_usd_per_hour=min(bound_usd_per_hour, usd_per_hour),
    )
