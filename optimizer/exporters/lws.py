"""LeaderWorkerSet: replicas that stretch over several servers, one pod on each (https://lws.sigs.k8s.io, v1)."""

from __future__ import annotations

from typing import Any

from optimizer.exporters.base import (
    Export,
    NamedGroup,
    cannot_join_servers,
    cannot_run_in_a_container,
    chosen,
    finished,
    header,
    unlike_stages,
)
from optimizer.exporters.containers import JOINING_PORT, container, labels_of, notes, plan_annotation, pod_spec
from optimizer.exporters.engines import Node
from optimizer.exporters.k8s import service
from optimizer.exporters.parts import NODES_OF_UNEQUAL_STAGES
from optimizer.topology import Topology
from optimizer.yaml_text import block_yaml

LEADER = {"leaderworkerset.sigs.k8s.io/worker-index": "0"}
"""Label that the controller puts on each leader."""


def render(topology: Topology) -> Export:
    """`lws-GROUP.yaml`, for `kubectl apply`."""
    started, left_out = chosen(topology, "lws", _cannot, joins_offers=NODES_OF_UNEQUAL_STAGES)
    files = {f"lws-{named.name}.yaml": _file(named, topology) for named in started}
    return finished(files, left_out, "lws", started)


def _cannot(named: NamedGroup) -> str:
    if named.n_servers == 1:
        return "a replica stays on one server; export to k8s"
    if not named.followers_alike:  # one template for the leader, and one for all workers
        return unlike_stages(named)
    return cannot_join_servers(named) or cannot_run_in_a_container(named)


def lws_node(named: NamedGroup, follows: bool) -> Node:
    """A pod's part, in variables that the controller sets in every container."""
    return Node(str(named.n_nodes), "$(LWS_WORKER_INDEX)", "$(LWS_LEADER_ADDRESS)", JOINING_PORT, follows)


def _file(named: NamedGroup, topology: Topology) -> str:
    documents = (_set(named, topology), service(named, **LEADER))
    return header(topology, *notes(named, topology)) + "---\n".join(block_yaml(document) for document in documents)


def _set(named: NamedGroup, topology: Topology) -> dict[str, Any]:
    def template(follows: bool) -> dict[str, Any]:
        pod = pod_spec(named, topology, [container(named, node=lws_node(named, follows))], follows=follows)
        return {"metadata": {"labels": labels_of(named)}, "spec": pod}

    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": named.name, "labels": labels_of(named), "annotations": plan_annotation(topology)},
        "spec": {
            "replicas": named.group.replicas,
            # A new group finds no free GPUs before an old one is gone.
            "rolloutStrategy": {
                "type": "RollingUpdate",
                "rollingUpdateConfiguration": {"maxSurge": 0, "maxUnavailable": 1},
            },
            "leaderWorkerTemplate": {
                "size": named.n_nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": template(follows=False),
                "workerTemplate": template(follows=True),
            },
        },
    }
