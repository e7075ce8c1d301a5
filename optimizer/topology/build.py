"""A plan becomes a topology: every rank of every replica gets a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from catalog import Catalog
from optimizer.errors import InputError
from optimizer.layout import Layout, PipelineStage, Placement, ReplicaGroup
from optimizer.memory.stages import layers_per_stage
from optimizer.placement import stages_on_servers
from optimizer.plans import plan_sha256
from optimizer.scenario import Scenario, load_scenario, scenario_catalog
from optimizer.serving_config import links_over
from optimizer.topology.document import GpuUse, Link, Rank, Replica, Server, Stage, TopologyDocument
from optimizer.topology.graph import topology_graph

if TYPE_CHECKING:
    import networkx as nx


SEE_VERIFY = "the plan contradicts itself; `gpuplan verify` says where"

Places = Mapping[tuple[str, int], tuple[tuple[str, int], ...]]
"""(replica, stage) -> (server, GPU) of each of its ranks."""


@dataclass(frozen=True, slots=True)
class Group:
    """A replica group of the plan and its replicas, placed."""

    workload: str
    group: ReplicaGroup
    replicas: tuple[Replica, ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """A plan placed on servers and GPUs, with all an exporter needs to know of it."""

    document: TopologyDocument
    groups: tuple[Group, ...]
    """In the order of the plan."""
    catalog: Catalog
    """With the scenario's own models."""
    layout: Layout
    scenario: Scenario

    def graph(self) -> nx.DiGraph:
        """The document as a graph, see `topology_graph`."""
        return topology_graph(self.document)


@dataclass(frozen=True, slots=True)
class _Part:
    """Neighbouring stages of one replica on one server."""

    replica: str
    stages: range
    gpus_per_stage: int

    @property
    def gpus(self) -> int:
        return len(self.stages) * self.gpus_per_stage


def build_topology(layout: Layout, catalog: Catalog, period: int = 1, future: str | None = None) -> Topology:
    """The topology of a plan in a period, counted from 1, of a future (null: of the likeliest).

    A plan without servers (infeasible, or none found), and a period or future that it does not have raise InputError.

    Within a server the largest parts come first, so that groups whose sizes divide each other never straddle the border
    of a scale-up domain that they fit into.
    """
    if layout.cost is None:
        raise InputError(f"the plan of {layout.scenario} is {layout.status}: it has no servers to place anything on")
    n_periods = max(1, len(layout.periods))
    if not 1 <= period <= n_periods:
        raise InputError(f"the plan of {layout.scenario} has {n_periods} periods; there is no period {period}")
    of_whole_plan = plan_sha256(layout)
    if future is not None:
        layout = _in_future(layout, future)
    layout = layout.of_period(period)
    scenario = load_scenario(layout.inputs, catalog)
    known = scenario_catalog(scenario, catalog)
    named = _named_groups(layout)
    ranks = _ranks(layout, named)
    groups = tuple(
        Group(workload, group, tuple(_replica(id_, workload, group, known, ranks) for id_ in ids))
        for workload, group, ids in named
    )
    document = TopologyDocument(
        scenario=layout.scenario,
        plan_sha256=of_whole_plan,
        servers=_servers(layout, ranks),
        replicas=tuple(replica for one in groups for replica in one.replicas),
        links=tuple(_links(groups, scenario, known)),
    )
    return Topology(document, groups, known, layout, scenario)


def _in_future(layout: Layout, future: str) -> Layout:
    names = [one.name for one in layout.futures]
    if future not in names:
        known = f"it has {', '.join(names)}" if names else "it has no demand scenarios"
        raise InputError(f"the plan of {layout.scenario} knows no future {future}; {known}")
    return layout.of_future(future)


def stage_layers(n_layers: int, pp: int) -> tuple[tuple[int, int], ...]:
    """First and last layer of each pipeline stage, both included, as vLLM splits them."""
    ends = list(accumulate(layers_per_stage(n_layers, pp), initial=0))
    return tuple((first, end - 1) for first, end in pairwise(ends))


def _named_groups(layout: Layout) -> list[tuple[str, ReplicaGroup, tuple[str, ...]]]:
    """Workload, group and the ids of its replicas: `workload/number`, counted over the workload's groups."""
    found = []
    for workload in layout.workloads:
        number = 0
        for group in workload.replica_groups:
            ids = tuple(f"{workload.name}/{number + i}" for i in range(group.replicas))
            found.append((workload.name, group, ids))
            number += group.replicas
    return found


def _stages(group: ReplicaGroup) -> tuple[int, int]:
    """GPUs of a stage, and stages; a measured replica is one stage."""
    stages = group.pp or 1
    return group.gpus_per_replica // stages, stages


def _ranks(layout: Layout, named: list[tuple[str, ReplicaGroup, tuple[str, ...]]]) -> Places:
    """A GPU for every rank."""
    sizes = {row.offer: row.gpus_per_server for row in layout.servers}
    on_server: dict[str, list[_Part]] = {
        f"{offer}/{index}": []
        for offer in sizes
        for index in range(sum(row.count for row in layout.servers if row.offer == offer))
    }
    for _, group, ids in named:
        if group.offer not in sizes or len(group.placement) != len(ids):
            raise InputError(f"replicas {', '.join(ids)} are not placed: {SEE_VERIFY}")
        if group.stages is not None:
            _put_stages(group.stages, ids, group.placement, on_server)
            continue
        gpus_per_stage, n_stages = _stages(group)
        on_servers = stages_on_servers(gpus_per_stage, n_stages, sizes[group.offer])
        for replica, placement in zip(ids, group.placement, strict=True):
            servers = [f"{group.offer}/{server}" for server in placement.servers]
            if len(servers) != len(on_servers) or not on_server.keys() >= set(servers):
                raise InputError(f"replica {replica} is not placed on servers of {group.offer}: {SEE_VERIFY}")
            firsts = accumulate(on_servers, initial=0)
            for server, first, count in zip(servers, firsts, on_servers, strict=False):
                on_server[server].append(_Part(replica, range(first, first + count), gpus_per_stage))
    found: dict[tuple[str, int], tuple[tuple[str, int], ...]] = {}
    for server, parts in on_server.items():
        if sum(part.gpus for part in parts) > sizes[server.rpartition("/")[0]]:
            raise InputError(f"server {server} is given more replicas than it has GPUs for: {SEE_VERIFY}")
        gpu = 0
        for part in sorted(parts, key=lambda part: -part.gpus):
            for stage in part.stages:
                found[part.replica, stage] = tuple((server, gpu + i) for i in range(part.gpus_per_stage))
                gpu += part.gpus_per_stage
    return found


def _put_stages(
    stages: Sequence[PipelineStage],
    ids: Sequence[str],
    placement: Sequence[Placement],
    on_server: Mapping[str, list[_Part]],
) -> None:
    """Every stage of replicas over several offers as a part by itself."""
    for replica, place in zip(ids, placement, strict=True):
        servers = [f"{stage.offer}/{server}" for stage, server in zip(stages, place.servers, strict=False)]
        if len(servers) != len(stages) or not on_server.keys() >= set(servers):
            raise InputError(f"replica {replica} is not placed on servers of its stages: {SEE_VERIFY}")
        for number, (stage, server) in enumerate(zip(stages, servers, strict=True)):
            on_server[server].append(_Part(replica, range(number, number + 1), stage.tp))


def _servers(layout: Layout, ranks: Places) -> tuple[Server, ...]:
    uses = {
        place: GpuUse(replica=replica, stage=stage, rank=rank)
        for (replica, stage), places in ranks.items()
        for rank, place in enumerate(places)
    }
    racks = {
        f"{group.offer}/{server}": place.rack
        for plan in layout.workloads
        for group in plan.replica_groups
        for place in group.placement
        if place.rack is not None
        for server in place.servers
    }
    found: list[Server] = []
    for offer in dict.fromkeys(row.offer for row in layout.servers):
        here = [row for row in layout.servers if row.offer == offer]
        rows = [row for row in here for _ in range(row.in_use)] + [row for row in here for _ in range(row.idle)]
        for index, row in enumerate(rows):
            id_ = f"{offer}/{index}"
            gpus = tuple(uses.get((id_, gpu)) for gpu in range(row.gpus_per_server))
            found.append(Server(id=id_, offer=offer, term=row.term, gpu=row.gpu, gpus=gpus, rack=racks.get(id_)))
    return tuple(found)


def _replica(id_: str, workload: str, group: ReplicaGroup, catalog: Catalog, ranks: Places) -> Replica:
    _, n_stages = _stages(group)
    layers: tuple[tuple[int, int] | None, ...] = (None,) * n_stages
    formats: tuple[str | None, ...] = (None,) * n_stages
    if group.stages is not None:
        layers = tuple(stage.layers for stage in group.stages)
        own = tuple(stage.weight_dtype for stage in group.stages)
        formats = own if len(set(own)) > 1 else formats
    elif group.model is not None and group.pp is not None:
        layers = stage_layers(catalog.models[group.model].n_layers, group.pp)
    return Replica(
        id=id_,
        workload=workload,
        model=group.model,
        weight_dtype=group.weight_dtype,
        kv_cache_dtype=group.kv_cache_dtype,
        engine=group.engine,
        tp=group.tp,
        pp=group.pp,
        dp=group.dp,
        ep=group.ep,
        max_batch_size=group.max_batch_size,
        max_model_len=group.max_model_len,
        max_num_batched_tokens=group.max_num_batched_tokens,
        gpu_memory_utilization=group.gpu_memory_utilization,
        stages=tuple(
            Stage(
                stage=stage,
                layers=layers[stage],
                weight_dtype=formats[stage],
                ranks=tuple(
                    Rank(rank=rank, server=server, gpu=gpu) for rank, (server, gpu) in enumerate(ranks[id_, stage])
                ),
            )
            for stage in range(n_stages)
        ),
    )


def _links(groups: tuple[Group, ...], scenario: Scenario, catalog: Catalog) -> Iterator[Link]:
    for one in groups:
        stages = one.group.stages or ()
        offers = [stage.offer for stage in stages] or [one.group.offer] * (one.group.pp or 1)
        for replica in one.replicas:
            for stage, following in pairwise(replica.stages):
                here, there = (scenario.inventory[offers[number]] for number in (stage.stage, following.stage))
                between = (f"{replica.id}/{stage.stage}", f"{replica.id}/{following.stage}")
                if stage.ranks[0].server != following.ranks[0].server:
                    links = links_over(here, (here, there), catalog.calibration.network_gb_per_s)
                    yield Link(between=between, kind="network", gb_per_s=links.network_gb_per_s or 0.0)
                    continue
                gpu = catalog.gpus[here.gpu]
                domain_gpus = here.link_domain_gpus or gpu.link_domain_gpus
                domains = {rank.gpu // domain_gpus for rank in (*stage.ranks, *following.ranks)}
                if gpu.link_gb_per_s is not None and domain_gpus > 1 and len(domains) == 1:
                    yield Link(between=between, kind="nvlink", gb_per_s=gpu.link_gb_per_s)
                else:
                    yield Link(between=between, kind="pcie", gb_per_s=gpu.pcie_gb_per_s)
