"""A plan in words and tables: what to get, what runs where, how fast, what it costs and what is proven."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.layout import Cost, Layout, ReplicaGroup, Servers, WorkloadPlan
from optimizer.performance.bands import POINT_ESTIMATE
from optimizer.report.group_names import named_groups
from optimizer.report.infeasible import infeasible_report
from optimizer.report.periods import TERMS, counted, futures_report, likeliest, periods_report, term_words
from optimizer.report.stress import stress_report
from optimizer.report.tables import Justify, table
from optimizer.report.words import (
    UNKNOWN,
    bullets,
    count,
    cut,
    figure,
    gib,
    interval,
    milliseconds,
    percent,
    usd,
    usd_more,
)
from optimizer.scenario import Scenario, Workload

FIRST = "What follows is the first period, what to do now; `gpuplan export --period K` exports another."
LIKELIEST = "What follows is {}, the likeliest demand scenario; `gpuplan export --future NAME` exports another."
ALTERNATIVES = "The next best plans, each without something that every better one uses"
MOST_GIVEN_UP = 4
ROUNDING = 1e-9


def plan_report(layout: Layout, scenario: Scenario) -> RenderableType:
    """The whole plan; an infeasible one is the explanation, one that was not found says what to try."""
    if layout.status == "infeasible":
        return infeasible_report(layout)
    if layout.cost is None:
        return _not_found(layout)
    return Group(
        Text(f"{layout.scenario}: {usd(layout.cost.usd_per_hour)} per hour{_expected(layout)}", style="bold"),
        Text(_money(layout, layout.cost, scenario.horizon_months)),
        Text(proof(layout)),
        *map(Text, service(layout)),
        Text(""),
        *_ahead(layout),
        *(_now(layout, scenario) if layout.servers else ()),
        *_alternatives(layout),
        *stress_report(layout),
        *bullets("Warnings", layout.warnings),
        *bullets("Assumptions", layout.assumptions),
    )


def _expected(layout: Layout) -> str:
    return f" expected of {len(layout.futures)} demand scenarios" if layout.futures else ""


def _ahead(layout: Layout) -> Iterator[RenderableType]:
    """What may come, and when; then what the rest of the report is of."""
    if layout.futures:
        yield from (futures_report(layout), Text(""))
    if layout.periods:
        yield from (periods_report(layout.periods), Text(""))
    if layout.futures:
        yield from (Text(LIKELIEST.format(likeliest(layout))), Text(""))
    if len(layout.periods) > 1:
        yield from (Text(FIRST), Text(""))


def _now(layout: Layout, scenario: Scenario) -> Iterator[RenderableType]:
    """What serves, and what runs on it."""
    yield from (_servers(layout.servers), Text(""), _replicas(layout, scenario), Text(""))
    yield from _predicted(layout, scenario)


def _alternatives(layout: Layout) -> list[RenderableType]:
    """A table, if alternatives were asked for."""
    if not layout.alternatives:
        return []
    columns: tuple[tuple[str, Justify], ...] = (
        ("", "right"), ("$/h", "right"), ("more", "right"), ("does without", "left"), ("uses", "left"),
        ("servers", "left"),
    )  # fmt: skip
    return [table(ALTERNATIVES, columns, alternative_rows(layout)), Text("")]


def alternative_rows(layout: Layout) -> Iterator[tuple[str, ...]]:
    """A line an alternative: its number, its cost an hour, what it costs more, does without and uses, its servers."""
    for number, other in enumerate(layout.alternatives, start=1):
        assert layout.cost is not None, "only a plan has alternatives"
        more = other.cost.usd_per_hour - layout.cost.usd_per_hour
        yield (
            f"{number}",
            usd(other.cost.usd_per_hour),
            usd_more(more) + ("" if other.status == "optimal" else " (not proven)"),
            "\n".join(cut(other.gives_up, MOST_GIVEN_UP)),
            "\n".join(cut(other.uses_instead, MOST_GIVEN_UP)),
            "\n".join(f"{row.count} × {row.offer} ({TERMS[row.term]})" for row in other.servers),
        )


def proof(layout: Layout) -> str:
    """What is proven about the cost, in words."""
    if layout.cost is None:
        return "Nothing is proven."
    by = f"{layout.solver}, {figure(layout.solve_seconds)} s"
    bound = usd(layout.cost.bound_usd_per_hour)
    gap = percent(layout.gap, 2)
    of = " that serves as much" if layout.served else ""
    if layout.status == "optimal":
        return f"Optimal: it is proven that no plan{of} costs less than {bound} per hour (gap {gap}; {by})."
    return (
        f"Feasible, not proven optimal: the search was stopped. No plan{of} costs less than {bound} per hour, "
        f"so at most {gap} of this cost could still be saved ({by})."
    )


def service(layout: Layout) -> Iterator[str]:
    """With `objective: served`, what is served of each priority, and what is left out."""
    if not layout.served:
        return
    asked, carried = (sum(getattr(level, key) for level in layout.served) for key in ("demand_rps", "served_rps"))
    share = percent(carried / asked if asked else 1.0, 1)
    yield f"Serves {share} of the demand, {figure(carried)} of {figure(asked)} requests/s."
    for level in layout.served:
        most = (
            ""
            if math.isclose(level.bound_rps, level.served_rps, rel_tol=1e-6)
            else f"; at most {figure(level.bound_rps)}"
        )
        yield (
            f"Priority {level.priority}: {figure(level.served_rps)} of {figure(level.demand_rps)} requests/s"
            f"{most}{_left_out(layout, level.priority)}."
        )


def _left_out(layout: Layout, priority: int) -> str:
    """What is not served in full, by name, in the mean of all periods as expected.

    Each workload's priority is in the plan's own scenario.
    """
    parts: dict[str, list[tuple[float, float]]] = {}  # requests/s that count, the part of them that is served
    for _, probability, period in layout.states():
        for plan in period.workloads:
            if layout.inputs["workloads"][plan.name]["priority"] == priority and plan.demand_rps > 0:
                parts.setdefault(plan.name, []).append((probability * plan.demand_rps, plan.served_fraction))
    shares = {
        name: sum(rps * part for rps, part in several) / sum(rps for rps, _ in several)
        for name, several in parts.items()
    }
    named = [f"{name} {math.floor(100 * share)}%" for name, share in shares.items() if share < 1 - ROUNDING]
    return f", not in full: {', '.join(named)}" if named else ""


def _money(layout: Layout, cost: Cost, horizon_months: float) -> str:
    """Totals, and the share of each kind of term where there are several."""
    parts = [
        f"{usd(cost.usd_per_month)} per month",
        f"{usd(cost.usd_over_horizon)} over {figure(horizon_months)} months"
        if horizon_months != 1
        else f"{usd(cost.usd_over_horizon)} over 1 month",
        f"{usd(cost.capex_usd)} {'for purchases' if layout.periods else 'to pay up front'}",
    ]
    by_term: dict[str, float] = {}
    for row in () if layout.periods else layout.servers:
        by_term[row.term] = by_term.get(row.term, 0.0) + row.count * row.usd_per_hour
    if len(by_term) > 1:
        parts.append("per hour: " + ", ".join(f"{usd(paid)} {TERMS[term]}" for term, paid in by_term.items()))
    return "; ".join(parts) + "."


def _not_found(layout: Layout) -> RenderableType:
    lines = [
        Text(f"{layout.scenario}: no plan found", style="bold"),
        Text("The search was stopped before it found a plan; whether there is one is not known."),
        Text("Give it more time (--time-limit 10m) or a wider gap (--gap 1%)."),
        Text(""),
        *bullets("Warnings", layout.warnings),
    ]
    return Group(*lines)


def _servers(servers: tuple[Servers, ...]) -> RenderableType:
    rows = [
        (row.offer, term_words(row), row.gpu, count(row.gpus_per_server), counted(row),
         usd(row.usd_per_hour), usd(row.count * row.usd_per_hour))
        for row in servers
    ]  # fmt: skip
    return table(
        "Servers",
        (("offer", "left"), ("term", "left"), ("GPU", "left"), ("GPUs each", "right"), ("servers", "right"),
         ("$/h each", "right"), ("$/h", "right")),
        rows,
    )  # fmt: skip


def _replicas(layout: Layout, scenario: Scenario) -> RenderableType:
    rows = [
        (name, group.offers, count(group.replicas), degrees(group), count(group.max_batch_size),
         count(group.max_num_batched_tokens),
         f"{figure(group.load_rps)} of {figure(group.capacity_rps)}", percent(group.utilization),
         group.limit or UNKNOWN)
        for name, _, group in named_groups(layout)
    ]  # fmt: skip
    planned_on = percent(scenario.max_utilization_fraction)
    return table(
        f"Replicas, tokens of a step; at most {planned_on} of what they carry is planned on",
        (("workload", "left"), ("on", "left"), ("replicas", "right"), ("GPUs each", "left"), ("batch", "right"),
         ("tokens", "right"), ("requests/s", "right"), ("used", "right"), ("bound by", "left")),
        rows,
    )  # fmt: skip


def degrees(group: ReplicaGroup) -> str:
    """`4: tp 2, pp 2`; degrees of one are left out, unknown ones too."""
    named = (("tp", group.tp), ("pp", group.pp), ("dp", group.dp), ("ep", group.ep))
    above_one = ", ".join(f"{name} {degree}" for name, degree in named if degree is not None and degree > 1)
    return f"{group.gpus_per_replica}: {above_one}" if above_one else f"{group.gpus_per_replica}"


def _predicted(layout: Layout, scenario: Scenario) -> list[RenderableType]:
    """What runs, how fast and in what memory; all of it is unknown where replicas were measured."""
    groups = [(name, workload, group) for name, workload, group in named_groups(layout) if group.memory is not None]
    if not groups:
        return [Text("Formats, latency and memory are unknown: every replica was measured, not predicted."), Text("")]
    tables = (_formats(groups), _latency(groups, scenario), _memory(groups))
    return [part for drawn in tables for part in (drawn, Text(""))]


Named = list[tuple[str, WorkloadPlan, ReplicaGroup]]


def _formats(groups: Named) -> RenderableType:
    rows = [
        (name, group.model or UNKNOWN, group.weight_dtype or UNKNOWN, group.kv_cache_dtype or UNKNOWN,
         group.engine or UNKNOWN, percent(group.quality, 1))
        for name, _, group in groups
    ]  # fmt: skip
    return table(
        "Models; quality is relative to bf16",
        (("workload", "left"), ("model", "left"), ("weights", "left"), ("KV cache", "left"), ("engine", "left"),
         ("quality", "right")),
        rows,
    )  # fmt: skip


def _latency(groups: Named, scenario: Scenario) -> RenderableType:
    rows = []
    for name, workload, group in groups:
        needs = scenario.workloads[workload.name]
        beyond = "\nextrapolated" if group.extrapolated else ""
        rows.append((f"{name}{beyond}", *(_against(metric, needs, group) for metric in ("ttft", "tpot", "e2e"))))
    sure = scenario.confidence_fraction or POINT_ESTIMATE
    better = f" that {percent(sure)} of measurements are better than" if sure > POINT_ESTIMATE else ""
    return table(
        f"Latency at full capacity{better} against its target, and its mean (80% band)",
        (("workload", "left"), ("first token", "left"), ("each further token", "left"), ("whole request", "left")),
        rows,
    )


def _against(metric: str, needs: Workload, group: ReplicaGroup) -> str:
    """One line for each target of the metric, then the mean with its band."""
    predicted: dict[str, float | None] = getattr(group, f"{metric}_ms") or {}
    lines = [
        f"{target.statistic} {milliseconds(predicted.get(target.statistic))} of {milliseconds(target.limit_ms)}"
        for target in needs.targets
        if target.metric == metric
    ]
    band: tuple[float, float] | None = getattr(group, f"{metric}_interval_ms", None)
    spread = f" ({interval(band)})" if band else ""
    mean = "unbounded" if predicted and predicted["mean"] is None else milliseconds(predicted.get("mean"))
    return "\n".join([*lines, f"mean {mean}{spread}"])


def _memory(groups: Named) -> RenderableType:
    rows = [
        (name, gpu, gib(memory.weights_gib), gib(memory.activation_gib + memory.non_torch_gib + memory.cuda_graph_gib),
         gib(memory.kv_cache_gib), gib(memory.budget_gib), percent(group.gpu_memory_utilization),
         figure(memory.max_concurrency), figure(memory.typical_concurrency))
        for name, _, group in groups
        for gpu, memory in group.memories
    ]  # fmt: skip
    return table(
        "Memory of each GPU in GiB, and the part asked for; requests that fit: at full context, of mean size",
        (("workload", "left"), ("GPU", "left"), ("weights", "right"), ("other", "right"), ("KV cache", "right"),
         ("budget", "right"), ("asked", "right"), ("full", "right"), ("mean", "right")),
        rows,
    )  # fmt: skip
