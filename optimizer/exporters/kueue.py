"""Kueue: a quota of exactly the plan's GPUs, a flavor for each kind of card (v1beta2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from optimizer.exporters.base import Export, dns_labels, finished, header
from optimizer.exporters.containers import CPUS_PER_GPU, HOST_GIB_PER_GPU, OFFER_LABEL, RESOURCES, offer_labels
from optimizer.topology import Server, Topology
from optimizer.yaml_text import block_yaml

API = "kueue.x-k8s.io/v1beta2"
QUEUE = "gpuplan"
HOST_SHARE = 4
"""Times the processors and memory that exported pods request for their GPUs: room for routers, heads and your own."""


def render(topology: Topology) -> Export:
    """`kueue.yaml`, for `kubectl apply`; it holds measured replicas' servers too, for a quota needs no engine."""
    flavors: dict[tuple[str, str], Counter[str]] = {}
    left_out = []
    labels = offer_labels(topology)
    for server in topology.document.servers:
        resource = RESOURCES.get(topology.catalog.gpus[server.gpu].vendor.lower())
        if resource is None:
            vendor = topology.catalog.gpus[server.gpu].vendor
            left_out.append(f"{server.offer}: what {vendor}'s device plugin calls a card is not known here")
            continue
        label = _node_label(server, topology, labels)
        flavors.setdefault(label, Counter())[resource] += len(server.gpus)
    names = dict(zip(flavors, dns_labels(value for _, value in flavors), strict=True))
    documents = [
        {"apiVersion": API, "kind": "ResourceFlavor", "metadata": {"name": name},
         "spec": {"nodeLabels": {key: value}}}
        for (key, value), name in names.items()
    ]  # fmt: skip
    documents.append(_cluster_queue(flavors, names))
    documents.append(
        {"apiVersion": API, "kind": "LocalQueue", "metadata": {"name": QUEUE, "namespace": "default"},
         "spec": {"clusterQueue": QUEUE}}
    )  # fmt: skip
    own = [label for key, label in names if key == OFFER_LABEL]
    lines = [f"nodes: kubectl label node NODE {OFFER_LABEL}={label}" for label in own]
    lines.append(f"what is to queue carries the label kueue.x-k8s.io/queue-name: {QUEUE}")
    text = header(topology, *lines) + "---\n".join(block_yaml(document) for document in documents)
    return finished({"kueue.yaml": text} if flavors else {}, dict.fromkeys(left_out), "kueue")


def _node_label(server: Server, topology: Topology, labels: Mapping[str, str]) -> tuple[str, str]:
    product = topology.catalog.gpus[server.gpu].called.kubernetes
    return ("nvidia.com/gpu.product", product) if product else (OFFER_LABEL, labels[server.offer])


def _cluster_queue(
    flavors: Mapping[tuple[str, str], Mapping[str, int]], names: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """One group, because Kueue admits nothing that asks for a resource without a quota, and a resource may be in one
    group only: processors and memory have quotas too, so wide that GPUs alone decide."""
    resources = tuple(dict.fromkeys(resource for gpus in flavors.values() for resource in gpus))
    return {
        "apiVersion": API,
        "kind": "ClusterQueue",
        "metadata": {"name": QUEUE},
        "spec": {
            "namespaceSelector": {},
            "resourceGroups": [
                {
                    "coveredResources": ["cpu", "memory", *resources],
                    "flavors": [
                        {"name": names[label], "resources": _quotas(gpus, resources)} for label, gpus in flavors.items()
                    ],
                }
            ],
        },
    }


def _quotas(gpus: Mapping[str, int], resources: Sequence[str]) -> list[dict[str, Any]]:
    """In the order of the covered resources, which Kueue asks for."""
    n_gpus = sum(gpus.values())
    return [
        {"name": "cpu", "nominalQuota": HOST_SHARE * CPUS_PER_GPU * n_gpus},
        {"name": "memory", "nominalQuota": f"{HOST_SHARE * HOST_GIB_PER_GPU * n_gpus}Gi"},
        *({"name": resource, "nominalQuota": gpus.get(resource, 0)} for resource in resources),
    ]
