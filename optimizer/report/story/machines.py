"""What runs where: latency against targets, what fills the cards, and the topology."""

from __future__ import annotations

from collections.abc import Iterator

from catalog import Catalog
from optimizer.layout import Layout, ReplicaGroup
from optimizer.report.figures import ServerBox, Stack, server_chart, stack_chart
from optimizer.report.periods import TERMS
from optimizer.report.plan import degrees, named_groups
from optimizer.report.story.money import Bill
from optimizer.report.story.parts import Block, Figure, Words, table
from optimizer.report.words import UNKNOWN, count, figure, gib, interval, milliseconds, percent
from optimizer.scenario import Scenario
from optimizer.topology import Server, Topology

METRICS = {"ttft": "first token", "tpot": "next tokens", "e2e": "whole request"}
MEMORY = ("weights", "activations", "CUDA and NCCL", "graphs", "KV cache")
MOST_IN_MERMAID = 24
"""Servers; larger graphs cannot be read."""


def demand_blocks(layout: Layout, scenario: Scenario) -> Iterator[Block]:
    """Per workload and target: the prediction as a part of the target, its band, and what binds."""
    stacks: list[Stack] = []
    rows: list[tuple[str, ...]] = []
    for name, workload, group in named_groups(layout):
        for target in scenario.workloads[workload.name].targets:
            predicted = (getattr(group, f"{target.metric}_ms") or {}).get(target.statistic)
            band = getattr(group, f"{target.metric}_interval_ms", None)
            said = f"{METRICS[target.metric]} {target.statistic}"
            rows.append(
                (
                    name,
                    said,
                    milliseconds(target.limit_ms),
                    milliseconds(predicted),
                    interval(band) if band else UNKNOWN,
                )
            )
            if predicted is not None:
                note = f"{milliseconds(predicted)} of {milliseconds(target.limit_ms)}"
                stacks.append(Stack(f"{name}: {said}", (predicted / target.limit_ms,), limit=1.0, note=note))
    if stacks:
        yield Figure(
            "Latency at full load, as a part of its target",
            stack_chart("Predicted latency as a part of its target", ("prediction",), stacks, percent, "target"),
            table(
                "Latency; the mean is within its band in 80 % of cases",
                "workload|what|>target|>predicted|>mean, band",
                rows,
            ),
        )
    yield table(
        f"Replicas; at most {percent(scenario.max_utilization_fraction)} of what they could carry is planned on",
        "workload|model, weights, KV cache|on|>replicas|GPUs each|>requests/s|>used|bound by",
        [
            (name, _runs(group), group.offer, count(group.replicas), degrees(group),
             f"{figure(group.load_rps)} of {figure(group.capacity_rps)}", percent(group.utilization),
             group.limit or UNKNOWN)
            for name, _, group in named_groups(layout)
        ],
    )  # fmt: skip


def memory_blocks(layout: Layout, catalog: Catalog) -> Iterator[Block]:
    """What fills a card of each group, and how many requests its KV cache holds."""
    stacks, rows = [], []
    for name, _, group in named_groups(layout):
        if (memory := group.memory) is None:
            continue
        parts = (memory.weights_gib, memory.activation_gib, memory.non_torch_gib, memory.cuda_graph_gib,
                 memory.kv_cache_gib)  # fmt: skip
        visible = catalog.gpus[group.gpu].visible_memory_gib
        stacks.append(
            Stack(f"{name} on {group.gpu}" if group.offer not in name else name, parts, memory.budget_gib, visible)
        )
        rows.append(
            (name, group.gpu, *map(gib, parts), gib(visible), figure(memory.max_concurrency),
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


def topology_blocks(topology: Topology, paid: tuple[Bill, ...]) -> Iterator[Block]:
    """Every server, its GPUs and what they serve."""
    kw = {bill.row.offer: bill.power_kw / bill.row.count for bill in paid if bill.row.count}
    boxes = [_box(server, kw.get(server.offer, 0.0)) for server in topology.document.servers]
    yield Figure(
        "Servers and their GPUs; numbers are replicas",
        server_chart("Servers, their GPUs, and the replicas on them", boxes),
        table(
            "Servers",
            "server|term|GPUs|>idle|>kW|replicas",
            [
                (server.id, TERMS[server.term], f"{len(server.gpus)} × {server.gpu}",
                 count(sum(use is None for use in server.gpus)), figure(kw.get(server.offer)),
                 ", ".join(dict.fromkeys(use.replica for use in server.gpus if use is not None)) or "none")
                for server in topology.document.servers
            ],
        ),
        mermaid(topology),
    )  # fmt: skip
    links = [link for link in topology.document.links if link.kind == "network"]
    if links:
        yield Words(
            f"{count(len(links), 'pipeline hand-over crosses', 'pipeline hand-overs cross')} the network, at "
            f"{figure(min(link.gb_per_s for link in links))} GB/s or more."
        )


def mermaid(topology: Topology) -> str:
    """Servers as boxes around their replicas; nothing for fleets too large to read."""
    servers = topology.document.servers
    if len(servers) > MOST_IN_MERMAID:
        return ""
    lines, ends = ["flowchart LR"], dict[str, str]()
    for at, server in enumerate(servers):
        lines.append(f'  subgraph s{at}["{_label(f"{server.id} · {TERMS[server.term]} · {server.gpu}")}"]')
        parts: dict[tuple[str, int], int] = {}
        for use in server.gpus:
            if use is not None:
                parts[use.replica, use.stage] = parts.get((use.replica, use.stage), 0) + 1
        for (replica, stage), gpus in parts.items():
            ends[f"{replica}/{stage}"] = node = f"n{len(ends)}"
            lines.append(f'    {node}["{_label(replica + " · " + count(gpus, "GPU"))}"]')
        if not parts:
            lines.append(f'    i{at}["idle"]')
        lines.append("  end")
    lines += [f"  {ends[a]} --> {ends[b]}" for a, b in (link.between for link in topology.document.links)]
    return "\n".join(lines)


def _label(text: str) -> str:
    """Text in quotes, in which Mermaid reads nothing but entities."""
    return "".join(c if c.isalnum() or c in " ._/-·" else f"#{ord(c)};" for c in text)


def _box(server: Server, kw: float) -> ServerBox:
    gpus: list[tuple[str, str] | None] = []
    for use in server.gpus:
        if use is None:
            gpus.append(None)
        else:
            workload, _, number = use.replica.rpartition("/")
            gpus.append((workload, number))
    return ServerBox(
        server.id, f"{TERMS[server.term]} · {len(server.gpus)} × {server.gpu} · {figure(kw)} kW", tuple(gpus)
    )


def _runs(group: ReplicaGroup) -> str:
    """Model, and on a second line its formats."""
    if group.model is None:
        return "measured"
    return f"{group.model}\n{group.weight_dtype}, KV cache {group.kv_cache_dtype}"
