"""What is kept of a solved scenario: one row."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

from optimizer.layout import Layout, Status, WorkloadPlan
from optimizer.scenario import Scenario, Workload
from optimizer.solve import SolverName


@dataclass(frozen=True, slots=True)
class Settings:
    """How every scenario of a batch is solved."""

    time_limit_s: float = 10.0
    gap: float = 0.001
    solver: SolverName = "highs"
    """Of the two the quicker on small programs; `benchmarks/batch.py` measures both."""

    @property
    def text(self) -> str:
        return f"time_limit_s={self.time_limit_s:g} gap={self.gap:g} solver={self.solver}"


@dataclass(frozen=True, slots=True)
class Made:
    """What an answer was made by, beside the scenario."""

    catalog_version: str
    gpuplan_version: str
    settings: str


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario's answer. A figure that an answer without a plan does not have is None."""

    scenario: str
    status: Status
    usd_per_hour: float | None
    bound_usd_per_hour: float | None
    gap: float | None
    usd_over_horizon: float | None
    capex_usd: float | None
    gpus: dict[str, int]
    """GPUs of the servers in the plan, by id."""
    servers: dict[str, int]
    """Servers by term."""
    worst_latency_slack: float | None
    """Least (target − predicted) / target of all targets; None without targets or for measured replicas."""
    seconds: float
    solver: str
    scenario_sha256: str
    catalog_version: str
    gpuplan_version: str
    settings: str
    values: tuple[str, ...] = ()
    """Of each axis of the sweep, as its file writes them."""

    @property
    def identity(self) -> bytes:
        """Equal for answers to the same question asked in the same way."""
        made = Made(self.catalog_version, self.gpuplan_version, self.settings)
        return identity(self.scenario_sha256, made, self.values)


def identity(scenario_sha256: str, made: Made, values: tuple[str, ...]) -> bytes:
    """Of the scenario's content, the catalog, the version and the settings: what `--resume` compares."""
    parts = (scenario_sha256, made.catalog_version, made.gpuplan_version, made.settings, *values)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()


def row_of(name: str, layout: Layout, scenario: Scenario, made: Made, values: tuple[str, ...]) -> Row:
    """The row of an answer."""
    gpus, servers = Counter[str](), Counter[str]()
    for line in layout.servers:
        gpus[line.gpu] += line.count * line.gpus_per_server
        servers[line.term] += line.count
    cost = layout.cost
    return Row(
        scenario=name,
        status=layout.status,
        usd_per_hour=cost.usd_per_hour if cost else None,
        bound_usd_per_hour=cost.bound_usd_per_hour if cost else None,
        gap=layout.gap,
        usd_over_horizon=cost.usd_over_horizon if cost else None,
        capex_usd=cost.capex_usd if cost else None,
        gpus=dict(sorted(gpus.items())),
        servers=dict(sorted(servers.items())),
        worst_latency_slack=_worst_slack(layout, scenario),
        seconds=layout.solve_seconds,
        solver=layout.solver,
        scenario_sha256=layout.scenario_sha256,
        catalog_version=made.catalog_version,
        gpuplan_version=made.gpuplan_version,
        settings=made.settings,
        values=values,
    )


def _worst_slack(layout: Layout, scenario: Scenario) -> float | None:
    slacks = [slack for plan in layout.workloads for slack in _slacks(plan, scenario.workloads[plan.name])]
    return min(slacks, default=None)


def _slacks(plan: WorkloadPlan, workload: Workload) -> list[float]:
    slacks = []
    for group in plan.replica_groups:
        predicted = {"ttft": group.ttft_ms, "tpot": group.tpot_ms, "e2e": group.e2e_ms}
        for target in workload.targets:
            latency_ms = (predicted[target.metric] or {}).get(target.statistic)
            if latency_ms is not None:
                slacks.append(1 - latency_ms / target.limit_ms)
    return slacks
