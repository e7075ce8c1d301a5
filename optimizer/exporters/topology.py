"""gpuplan's own YAML: every server, replica, stage and rank (DESIGN §11)."""

from __future__ import annotations

from optimizer.exporters.base import Export
from optimizer.topology import Topology, topology_yaml


def render(topology: Topology) -> Export:
    """`topology.yaml`; measured replicas stand in it too, their settings null."""
    return Export({"topology.yaml": topology_yaml(topology.document)})
