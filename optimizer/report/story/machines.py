"""What runs where: demand, latency against targets, what fills the cards, and the topology."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from catalog import Catalog
from optimizer.formulation.terms import server_power_kw
from optimizer.layout import Layout, ReplicaGroup
from optimizer.report.figures import (
    Line,
    ServerBox,
    Stack,
    Target,
    line_chart,
    server_chart,
    stack_chart,
    target_chart,
)
from optimizer.report.fleet import Kind, kinds, moments
from optimizer.report.memory import PARTS
from optimizer.report.periods import TERMS
from optimizer.report.plan import degrees
from optimizer.report.story.parts import Block, Figure, Table, Words, table
from optimizer.report.words import UNKNOWN, count, figure, gib, interval, milliseconds, percent
from optimizer.scenario import Scenario
from optimizer.topology import Server, Topology, build_topology
from optimizer.uses import months_between

METRICS = {"ttft": "first token", "tpot": "next tokens", "e2e": "whole request"}
MEMORY = (*PARTS.values(), "KV cache")
MOST_IN_MERMAID = 24
"""Servers; larger graphs cannot be read."""


def demand_blocks(layout: Layout, scenario: Scenario) -> Iterator[Block]:
    """Per workload and target: the prediction, its band, and what binds; with periods how demand grows."""
    if len(layout.periods) > 1:
        yield _growth(layout)
    yield from latency_blocks(layout, scenario)
    found = kinds(layout)
    yield table(
        f"Replicas; at most {percent(scenario.max_utilization_fraction)} of what they could carry is planned on"
        + ("; load and use are those of the period with the most" if len(layout.periods) > 1 else ""),
        "workload|model, weights, KV cache|on|>replicas|GPUs each|>requests/s|>used|bound by",
        [
            (kind.name, _runs(kind.group), kind.group.offers, _replicas(kind), degrees(kind.group),
             f"{figure(kind.group.load_rps)} of {figure(kind.group.capacity_rps)}", percent(kind.group.utilization),
             kind.group.limit or UNKNOWN)
            for kind in found
        ],
    )  # fmt: skip
    if len(layout.periods) > 1:
        yield _replicas_over_time(layout, found)


def _replicas_over_time(layout: Layout, found: Sequence[Kind]) -> Table:
    """Periods and kinds of replicas, the fewer of them side by side."""
    starts = [f"month {figure(plan.starts_month + 1)}" for plan in layout.periods]
    names, title = [kind.name for kind in found], "Replicas in each period"
    if len(starts) > len(names):
        rows = [(start, *(count(kind.replicas[at]) for kind in found)) for at, start in enumerate(starts)]
        return table(title, "|".join(["from", *(f">{name}" for name in names)]), rows)
    rows = [(kind.name, *map(count, kind.replicas)) for kind in found]
    return table(title, "|".join(["workload", *(f">{start}" for start in starts)]), rows)


def latency_blocks(layout: Layout, scenario: Scenario) -> Iterator[Block]:
    """Each target with the latency that is predicted at full load, and the band of its mean."""
    drawn: list[Target] = []
    rows: list[tuple[str, ...]] = []
    for kind in kinds(layout):
        for target in scenario.workloads[kind.workload].targets:
            group = kind.group
            predicted = (getattr(group, f"{target.metric}_ms") or {}).get(target.statistic)
            band = getattr(group, f"{target.metric}_interval_ms", None)
            said = f"{METRICS[target.metric]} {target.statistic}"
            rows.append(
                (kind.name, said, milliseconds(target.limit_ms), milliseconds(predicted),
                 interval(band) if band else UNKNOWN)
            )  # fmt: skip
            if predicted is not None:
                drawn.append(Target(f"{kind.name}: {said}", target.limit_ms, predicted, band))
    if drawn:
        yield Figure(
            "Latency at full load against its target",
            target_chart("Predicted latency against its target", drawn, milliseconds),
            table(
                "Latency; the mean is within its band in 80 % of cases",
                "workload|what|>target|>predicted|>mean, band",
                rows,
            ),
        )


def _growth(layout: Layout) -> Figure:
    """Requests per second of each workload at peak, period by period."""
    names = [one.name for one in layout.workloads]
    rps = {
        name: [next((one.demand_rps for one in plan.workloads if one.name == name), 0.0) for plan in layout.periods]
        for name in names
    }
    months = [plan.starts_month + plan.months / 2 for plan in layout.periods]
    return Figure(
        "Requests per second at peak",
        line_chart(
            "Requests per second of each workload over the months",
            [Line(name, tuple(zip(months, rps[name], strict=True))) for name in names],
            ("month", figure),
            ("requests/s", figure),
        ),
        table(
            "Requests per second at peak",
            "months|" + "|".join(f">{name.replace('|', '/')}" for name in names),
            [
                (months_between(plan.starts_month, plan.starts_month + plan.months),
                 *(figure(rps[name][at]) for name in names))
                for at, plan in enumerate(layout.periods)
            ],
        ),
    )  # fmt: skip


def _replicas(kind: Kind) -> str:
    low, high = min(kind.replicas), max(kind.replicas)
    return count(high) if low == high else f"{count(low)}–{count(high)}"


def memory_blocks(layout: Layout, catalog: Catalog) -> Iterator[Block]:
    """What fills a card of each kind of replica, and how many requests its KV cache holds."""
    stacks, rows = [], []
    each = [(kind.name, kind.group, gpu, memory) for kind in kinds(layout) for gpu, memory in kind.group.memories]
    for name, group, gpu, memory in each:
        parts = (memory.weights_gib, memory.activation_gib, memory.non_torch_gib, memory.cuda_graph_gib,
                 memory.kv_cache_gib)  # fmt: skip
        visible = catalog.gpus[gpu].visible_memory_gib
        label = f"{name}, {gpu}" if group.offer in name else f"{name} on {gpu}"
        stacks.append(Stack(label, parts, memory.budget_gib, visible))
        rows.append(
            (name, gpu, *map(gib, parts), gib(visible), figure(memory.max_concurrency),
             figure(memory.typical_concurrency))
        )  # fmt: skip
    if stacks:
        yield Figure(
            "What fills a card, GiB",
            stack_chart("Memory of one GPU of each replica group", MEMORY, stacks, gib, "the engine's budget"),
            table(
                "GiB of a GPU; requests that fit at once, all at full context or of mean size",
                "workload|GPU|" + "|".join(f">{part}" for part in MEMORY) + "|>card|>full|>mean",
                rows,
            ),
        )


def topology_blocks(layout: Layout, scenario: Scenario, catalog: Catalog) -> Iterator[Block]:
    """Every server by region, its GPUs and what they serve; with periods at the start and at the largest."""
    for name, period in moments(layout):
        topology = build_topology(layout, catalog, period)
        yield from _topology_at(f", {name}" if name else "", topology, scenario)
    if layout.periods:
        yield Words("Other periods: `gpuplan export PLAN --period K --to topology`")


def _topology_at(when: str, topology: Topology, scenario: Scenario) -> Iterator[Block]:
    region = {name: offer.region or "" for name, offer in scenario.inventory.items()}
    servers = sorted(topology.document.servers, key=lambda server: region[server.offer])
    kw = {
        server.offer: server_power_kw(scenario.inventory[server.offer], topology.catalog.gpus[server.gpu])
        for server in servers
    }
    yield Figure(
        f"Servers and their GPUs{when}; numbers are replicas",
        server_chart(
            f"Servers, their GPUs, and the replicas on them{when}",
            [_box(server, kw[server.offer], region[server.offer]) for server in servers],
        ),
        table(
            f"Servers{when}",
            ("region|" if any(region.values()) else "") + "server|term|GPUs|>idle|>kW|replicas",
            [
                (*((region[server.offer] or UNKNOWN,) if any(region.values()) else ()),
                 _place(server), TERMS[server.term], f"{len(server.gpus)} × {server.gpu}",
                 count(sum(use is None for use in server.gpus)), figure(kw[server.offer]),
                 ", ".join(dict.fromkeys(use.replica for use in server.gpus if use is not None)) or "none")
                for server in servers
            ],
        ),
        mermaid(topology, region),
    )  # fmt: skip
    links = [link for link in topology.document.links if link.kind == "network"]
    if links:
        yield Words(
            f"{count(len(links), 'pipeline hand-over crosses', 'pipeline hand-overs cross')} the network, at "
            f"{figure(min(link.gb_per_s for link in links))} GB/s or more."
        )


def mermaid(topology: Topology, region: Mapping[str, str]) -> str:
    """Servers as boxes around their replicas, in a box for each region (of an offer, "" = none).

    Nothing for fleets too large to read.
    """
    servers = sorted(topology.document.servers, key=lambda server: region[server.offer])
    if len(servers) > MOST_IN_MERMAID:
        return ""
    lines, ends = ["flowchart LR"], dict[str, str]()
    for number, (place, inside) in enumerate(groupby(enumerate(servers), key=lambda pair: region[pair[1].offer])):
        if place:
            lines.append(f'  subgraph r{number}["{_label(place)}"]')
        for at, server in inside:
            lines += _mermaid_server(at, server, ends)
        if place:
            lines.append("  end")
    lines += [f"  {ends[a]} --> {ends[b]}" for a, b in (link.between for link in topology.document.links)]
    return "\n".join(lines)


def _mermaid_server(at: int, server: Server, ends: dict[str, str]) -> Iterator[str]:
    """The lines of one server; adds its replicas' stages to `ends`."""
    yield f'  subgraph s{at}["{_label(f"{_place(server)} · {TERMS[server.term]} · {server.gpu}")}"]'
    parts: dict[tuple[str, int], int] = {}
    for use in server.gpus:
        if use is not None:
            parts[use.replica, use.stage] = parts.get((use.replica, use.stage), 0) + 1
    for (replica, stage), gpus in parts.items():
        ends[f"{replica}/{stage}"] = node = f"n{len(ends)}"
        yield f'    {node}["{_label(replica + " · " + count(gpus, "GPU"))}"]'
    if not parts:
        yield f'    i{at}["idle"]'
    yield "  end"


def _label(text: str) -> str:
    """Text in quotes, in which Mermaid reads nothing but entities."""
    return "".join(c if c.isalnum() or c in " .,_/-·" else f"#{ord(c)};" for c in text)


def _place(server: Server) -> str:
    """The server, and where it matters its rack."""
    return server.id if server.rack is None else f"{server.id}, rack {server.rack}"


def _box(server: Server, kw: float, region: str) -> ServerBox:
    gpus: list[tuple[str, str] | None] = []
    for use in server.gpus:
        if use is None:
            gpus.append(None)
        else:
            workload, _, number = use.replica.rpartition("/")
            gpus.append((workload, number))
    return ServerBox(
        _place(server),
        f"{TERMS[server.term]} · {len(server.gpus)} × {server.gpu} · {figure(kw)} kW",
        tuple(gpus),
        region,
    )


def _runs(group: ReplicaGroup) -> str:
    """Model, and on a second line its formats."""
    if group.model is None:
        return "measured"
    return f"{group.model}\n{group.weight_dtype}, KV cache {group.kv_cache_dtype}"
