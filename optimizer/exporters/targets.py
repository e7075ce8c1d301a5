"""The targets that a plan can be exported to."""

from __future__ import annotations

from optimizer.exporters import compose, k8s, topology, vllm
from optimizer.exporters.base import Exporter

EXPORTERS: dict[str, Exporter] = {
    "topology": Exporter("gpuplan's own YAML: servers, GPUs, replicas, stages, ranks, links", topology.render),
    "vllm": Exporter("vLLM: a configuration file a replica group, a start script a server", vllm.render),
    "compose": Exporter("Docker Compose: a file a server, a service a replica, each on its own GPUs", compose.render),
    "k8s": Exporter("Kubernetes: a Deployment and a Service a replica group", k8s.render),
}
