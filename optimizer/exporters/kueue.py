"""Kueue: a quota of exactly the plan's GPUs, a flavor for each kind of card (v1beta2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optimizer.exporters.base import Export, dns_labels, finished, header
from optimizer.exporters.containers import OFFER_LABEL, RESOURCES, offer_labels
from optimizer.topology import Server, Topology
from optimizer.yaml_text import block_yaml

API = "kueue.x-k8s.io/v1beta2"
QUEUE = "gpuplan"


def render(topology: Topology) -> Export:
    """`kueue.yaml`, for `kubectl apply`; it holds measured replicas' servers too, for a quota needs no engine."""
    flavors: dict[str, dict[tuple[str, str], int]] = {}
    left_out = []
    labels = offer_labels(topology)
    for server in topology.document.servers:
        resource = RESOURCES.get(topology.catalog.gpus[server.gpu].vendor.lower())
        if resource is None:
            vendor = topology.catalog.gpus[server.gpu].vendor
            left_out.append(f"{server.offer}: what {vendor}'s device plugin calls a card is not known here")
            continue
        of_resource = flavors.setdefault(resource, {})
        label = _node_label(server, topology, labels)
        of_resource[label] = of_resource.get(label, 0) + len(server.gpus)
    names = _flavor_names(flavors)
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
    text = header(topology, *lines) + "---\n".join(block_yaml(document) for document in documents)
    return finished({"kueue.yaml": text} if flavors else {}, dict.fromkeys(left_out), "kueue")


def _node_label(server: Server, topology: Topology, labels: Mapping[str, str]) -> tuple[str, str]:
    product = topology.catalog.gpus[server.gpu].called.kubernetes
    return ("nvidia.com/gpu.product", product) if product else (OFFER_LABEL, labels[server.offer])


def _flavor_names(flavors: Mapping[str, Mapping[tuple[str, str], int]]) -> dict[tuple[str, str], str]:
    found = [label for of_resource in flavors.values() for label in of_resource]
    return dict(zip(found, dns_labels(value for _, value in found), strict=True))


def _cluster_queue(
    flavors: Mapping[str, Mapping[tuple[str, str], int]], names: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    return {
        "apiVersion": API,
        "kind": "ClusterQueue",
        "metadata": {"name": QUEUE},
        "spec": {
            "namespaceSelector": {},
            "resourceGroups": [
                {
                    "coveredResources": [resource],
                    "flavors": [
                        {"name": names[label], "resources": [{"name": resource, "nominalQuota": gpus}]}
                        for label, gpus in of_resource.items()
                    ],
                }
                for resource, of_resource in flavors.items()
            ],
        },
    }
