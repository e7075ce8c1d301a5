"""A plan placed on servers and GPUs: as a document, as YAML, as a networkx graph."""

from optimizer.topology.build import Group, Topology, build_topology, stage_layers
from optimizer.topology.document import (
    GpuUse,
    Link,
    Rank,
    Replica,
    Server,
    Stage,
    TopologyDocument,
    parse_topology,
    topology_schema,
    topology_yaml,
)
from optimizer.topology.graph import contradictions, topology_graph

__all__ = [
    "GpuUse",
    "Group",
    "Link",
    "Rank",
    "Replica",
    "Server",
    "Stage",
    "Topology",
    "TopologyDocument",
    "build_topology",
    "contradictions",
    "parse_topology",
    "stage_layers",
    "topology_graph",
    "topology_schema",
    "topology_yaml",
]
