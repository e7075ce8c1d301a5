"""Kubernetes: a Deployment and a Service for each replica group, on nodes with the planned card."""

from __future__ import annotations

from typing import Any

from optimizer.exporters.base import (
    Export,
    NamedGroup,
    cannot_run_in_a_container,
    chosen,
    finished,
    header,
)
from optimizer.exporters.containers import container, labels_of, notes, plan_annotation, pod_spec, start_up_s
from optimizer.topology import Topology
from optimizer.yaml_text import block_yaml

ROLLOUT_S = 600
"""Kubernetes' default of `progressDeadlineSeconds`: for scheduling and fetching the image."""


def render(topology: Topology) -> Export:
    """`k8s-GROUP.yaml`, for `kubectl apply`."""
    started, left_out = chosen(topology, "k8s", cannot)
    files = {f"k8s-{named.name}.yaml": _file(named, topology) for named in started}
    return finished(files, left_out, "k8s", started)


def cannot(named: NamedGroup) -> str:
    """Why a pod cannot hold a replica of the group; empty when it can."""
    if named.n_servers > 1:
        return f"a replica stretches over {named.n_servers} servers, a pod stays on one; export to lws"
    return cannot_run_in_a_container(named)


def _file(named: NamedGroup, topology: Topology) -> str:
    documents = (_deployment(named, topology), service(named))
    return header(topology, *notes(named, topology)) + "---\n".join(block_yaml(document) for document in documents)


def _deployment(named: NamedGroup, topology: Topology) -> dict[str, Any]:
    labels = labels_of(named)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": named.name, "labels": labels, "annotations": plan_annotation(topology)},
        "spec": {
            "replicas": named.group.replicas,
            # Kubernetes calls a rollout failed after ten minutes, and weights may take longer.
            "progressDeadlineSeconds": start_up_s(named) + ROLLOUT_S,
            "selector": {"matchLabels": {"app.kubernetes.io/name": named.name}},
            # A new pod finds no free GPUs before an old one is gone.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "template": {"metadata": {"labels": labels}, "spec": pod_spec(named, topology, [container(named)])},
        },
    }


def service(named: NamedGroup, **selector: str) -> dict[str, Any]:
    """One address for all replicas of the group."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": named.name},
        "spec": {
            "selector": {"app.kubernetes.io/name": named.name, **selector},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }
