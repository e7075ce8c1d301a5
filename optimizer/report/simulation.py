"""A plan under traffic in words and tables: which targets hold, how surely, and what pooling would gain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.layout import Layout
from optimizer.report.tables import table
from optimizer.report.words import bullets, count, figure, milliseconds, percent
from optimizer.scenario.traffic import POISSON_CV
from optimizer.simulation import Attainment, PlanOutcome, Pooling, WorkloadOutcome


def simulation_data(
    layout: Layout, outcome: PlanOutcome, pooling: Mapping[str, Pooling] | None = None
) -> dict[str, Any]:
    """Everything that was seen; milliseconds, fractions, requests/s; `pooling` where it was asked for."""
    traffic = outcome.traffic
    return {
        "scenario": layout.scenario,
        "arrivals": traffic.arrivals,
        "duration_s": traffic.duration_s,
        "seed": traffic.seed,
        "workloads": outcome.workloads,
        "not_simulated": list(outcome.not_simulated),
        "holds": outcome.holds,
        "pooling": pooling
        and {name: {**asdict(one), "gain_fraction": one.gain_fraction} for name, one in pooling.items()},
    }


def simulation_report(
    layout: Layout, outcome: PlanOutcome, pooling: Mapping[str, Pooling] | None = None
) -> RenderableType:
    """Verdict, targets, latencies, then what was and was not simulated."""
    return Group(
        Text(f"{layout.scenario}: {_verdict(outcome)}", style="bold"),
        Text(_traffic(outcome)),
        Text(""),
        *_targets(outcome),
        *([_latencies(outcome), Text("")] if outcome.workloads else []),
        *bullets("How", [*_how(outcome), *_carried(pooling or {})]),
    )


def _verdict(outcome: PlanOutcome) -> str:
    missed = sum(len(one.missed) for one in outcome.workloads)
    judged = sum(len(kind.targets) for one in outcome.workloads for kind in one.classes)
    if not outcome.workloads:
        return "nothing was simulated"
    if not judged:
        return "there is no latency target to judge by"
    unclear = sum(not target.held for one in outcome.workloads for kind in one.classes for target in kind.targets)
    if not missed and unclear:
        return f"{unclear} of {count(judged, 'target')} may be missed; a longer --duration tells"
    if not missed:
        return f"every target holds ({count(judged, 'target')})"
    return f"{missed} of {count(judged, 'target')} missed"


def _traffic(outcome: PlanOutcome) -> str:
    traffic, kinds = outcome.traffic, {_evenness(one) for one in outcome.workloads}
    how = kinds.pop() if len(kinds) == 1 else "arrivals as the scenario says of each workload"
    return f"{how}, {figure(traffic.duration_s)} s, seed {traffic.seed}"


def _targets(outcome: PlanOutcome) -> list[RenderableType]:
    rows = [
        (one.name, kind.name, target.target, milliseconds(target.seen_ms), milliseconds(target.limit_ms),
         percent(target.within_fraction, 1), _between(target), _word(target))
        for one in outcome.workloads
        for kind in one.classes
        for target in kind.targets
    ]  # fmt: skip
    if not rows:
        return []
    columns = (
        ("workload", "left"), ("class", "left"), ("target", "left"), ("seen", "right"), ("limit", "right"),
        ("in time", "right"), ("95% interval", "left"), ("", "left"),
    )  # fmt: skip
    return [table("Targets, and the part of the requests that is in time", columns, rows), Text("")]  # type: ignore[arg-type]


def _word(target: Attainment) -> str:
    return "missed" if target.missed else "holds" if target.held else "unclear"


def _between(target: Attainment) -> str:
    low, high = target.within_interval
    return f"{percent(low, 1)}–{percent(high, 1)}"


def _latencies(outcome: PlanOutcome) -> RenderableType:
    rows = []
    for one in outcome.workloads:
        for kind in one.classes:
            for metric, statistics in kind.statistics.items():
                rows.append((one.name, kind.name, metric.upper(), *map(milliseconds, statistics.values())))
        rows.append((one.name, "", "ITL", *map(milliseconds, one.itl_ms.values())))
    return table(
        "Latencies",
        (("workload", "left"), ("class", "left"), ("", "left"), ("mean", "right"), ("p50", "right"), ("p90", "right"),
         ("p95", "right"), ("p99", "right")),
        rows,
    )  # fmt: skip


def _how(outcome: PlanOutcome) -> list[str]:
    lines = []
    for one in outcome.workloads:
        seen = sum(kind.requests for kind in one.classes if len(one.classes) == 1 or kind.name == "all")
        when = f" in {one.when}, where they are busiest" if one.when else ""
        lines.append(
            f"{one.name}: {figure(one.rate_rps)} requests/s, {_evenness(one)}, over {_replicas(one)}{when}; "
            f"{count(seen, 'request')} seen"
        )
        lines.append(f"{one.name}: {_pooling(one)}")
        if one.preemptions:
            lines.append(f"{one.name}: {count(one.preemptions, 'preemption')}: the KV cache ran full")
        if one.refused:
            lines.append(
                f"{one.name}: {count(one.refused, 'request')} of the trace left out, longer than max_model_len"
            )
    lines += [f"{name}: not simulated: {why}" for name, why in outcome.not_simulated.items()]
    return lines


def _evenness(one: WorkloadOutcome) -> str:
    if one.arrival_cv is None:
        return "arrivals of the trace"
    return "Poisson arrivals" if one.arrival_cv == POISSON_CV else f"bursty arrivals (cv {figure(one.arrival_cv)})"


def _carried(pooling: Mapping[str, Pooling]) -> list[str]:
    return [
        f"{name}: carries {figure(one.one_by_one_rps)} requests/s within its targets with replicas chosen at random, "
        f"{figure(one.pooled_rps)} with the least loaded one, {percent(one.gain_fraction)} more: used to "
        f"{percent(one.offered_rps / one.one_by_one_rps)} and {percent(one.offered_rps / one.pooled_rps)}"
        for name, one in pooling.items()
    ]


def _replicas(one: WorkloadOutcome) -> str:
    whole = count(one.replicas, "replica")
    return whole if one.simulated == one.replicas else f"{whole}, of which {one.simulated} were simulated"


def _pooling(one: WorkloadOutcome) -> str:
    split = milliseconds(one.ttft_p95_ms)
    if one.replicas == 1:
        return f"one replica; TTFT p95 {split}"
    return (
        f"TTFT p95 {split} with replicas chosen at random, as planned; {milliseconds(one.pooled_ttft_p95_ms)} "
        "with the least loaded one"
    )
