"""The topology as a file: its classes, its YAML and its JSON Schema (DESIGN §11)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ValidationError

from optimizer.errors import Fault, InputError, Location
from optimizer.layout import Term
from optimizer.plan_notes import Part
from optimizer.yaml_text import flow_yaml, parse_yaml


class GpuUse(Part):
    """What runs on a GPU."""

    replica: str
    stage: int
    rank: int
    """Within its stage, from 0."""


class Server(Part):
    """One server of the plan."""

    id: str
    """`offer/index`."""
    offer: str
    term: Term
    gpu: str
    gpus: tuple[GpuUse | None, ...]
    """One entry a GPU; null = idle."""
    rack: str | None = None
    """Where its offer names racks and it matters in which one the server stands; not written otherwise."""


class Rank(Part):
    """One process of a replica and the GPU it has for itself."""

    rank: int
    """Within its stage, from 0; each run of tp ranks is a tensor-parallel group."""
    server: str
    gpu: int
    """Index within the server, from 0."""


class Stage(Part):
    """One pipeline stage; it never leaves its server."""

    stage: int
    layers: tuple[int, int] | None
    """First and last layer, both included; null for a measured replica."""
    weight_dtype: str | None = None
    """Where the stages of its replica are in different formats; not written otherwise."""
    ranks: tuple[Rank, ...]


class Replica(Part):
    """One copy of a model. Null settings = unknown, because the replica was measured."""

    id: str
    """`workload/number`, over all replica groups of the workload."""
    workload: str
    model: str | None
    weight_dtype: str | None
    kv_cache_dtype: str | None
    engine: str | None
    tp: int | None
    pp: int | None
    dp: int | None
    ep: int | None
    max_batch_size: int | None
    max_model_len: int | None
    max_num_batched_tokens: int | None = None
    gpu_memory_utilization: float | None = None
    stages: tuple[Stage, ...]


class Link(Part):
    """What joins two neighbouring pipeline stages."""

    between: tuple[str, str]
    """`replica/stage` of the earlier and of the later one."""
    kind: Literal["nvlink", "pcie", "network"]
    """`nvlink` stands for any scale-up link (NVLink, Infinity Fabric …)."""
    gb_per_s: float
    """10^9 bytes per second, one direction: of one GPU; for `network` of the server, where its offer says so."""


class TopologyDocument(Part):
    """A plan placed on servers and GPUs."""

    kind: Literal["Topology"] = "Topology"
    scenario: str
    plan_sha256: str
    """Of the plan's canonical JSON without solve_seconds."""
    servers: tuple[Server, ...]
    """Offers in the order of the plan, each numbered from 0."""
    replicas: tuple[Replica, ...]
    links: tuple[Link, ...]


def topology_yaml(document: TopologyDocument) -> str:
    """The document as YAML: one line a server, a stage, a link."""
    keys = document.model_dump(mode="json")
    lines = [f"{key}: {flow_yaml(keys[key])}" for key in ("kind", "scenario", "plan_sha256")]
    lines += (
        ["servers:", *(f"  - {flow_yaml(_written(server, 'rack'))}" for server in keys["servers"])]
        if keys["servers"]
        else ["servers: []"]
    )
    lines.append("replicas:" if keys["replicas"] else "replicas: []")
    for replica in keys["replicas"]:
        stages = replica.pop("stages")
        first, *rest = (f"{key}: {flow_yaml(value)}" for key, value in replica.items())
        lines += [f"  - {first}", *(f"    {line}" for line in rest), "    stages:"]
        lines += [f"      - {flow_yaml(_written(stage, 'weight_dtype'))}" for stage in stages]
    lines += ["links:", *(f"  - {flow_yaml(link)}" for link in keys["links"])] if keys["links"] else ["links: []"]
    return "\n".join(lines) + "\n"


def _written(entry: dict[str, Any], optional: str) -> dict[str, Any]:
    """The entry without a key that only some have."""
    return {key: value for key, value in entry.items() if key != optional or value is not None}


def parse_topology(text: str, file_name: str = "topology.yaml") -> TopologyDocument:
    """The document in a YAML or JSON text; what is not a topology, or contradicts itself, raises InputError."""
    from optimizer.topology.graph import contradictions

    value = parse_yaml(text, file_name)
    if not isinstance(value, dict) or value.get("kind") != "Topology":
        message = "not a topology: `kind: Topology` is missing; expected what `gpuplan export --to topology` wrote"
        raise InputError([Fault(message, Location(file_name))])
    try:
        document = TopologyDocument.model_validate(value)
    except ValidationError as error:
        raise InputError(
            Fault(f"topology is damaged: {'.'.join(map(str, one['loc']))}: {one['msg']}", Location(file_name))
            for one in error.errors(include_url=False)
        ) from error
    if found := contradictions(document):
        raise InputError(Fault(f"topology contradicts itself: {message}", Location(file_name)) for message in found)
    return document


def topology_schema() -> dict[str, Any]:
    """JSON Schema of topology files."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TopologyDocument.model_json_schema()}
