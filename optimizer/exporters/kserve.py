"""KServe: an InferenceService for each group on single servers, an LLMInferenceService for one over several."""

from __future__ import annotations

import shlex
from typing import Any

from optimizer.exporters.base import (
    Export,
    NamedGroup,
    cannot_join_servers,
    cannot_run_in_a_container,
    chosen,
    finished,
    header,
)
from optimizer.exporters.containers import (
    JOINING_PORT,
    container,
    environment,
    labels_of,
    notes,
    plan_annotation,
    pod_spec,
    probes,
    resources_of,
)
from optimizer.topology import Topology
from optimizer.yaml_text import block_yaml

SAID_BY_THE_SERVICE = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size", "served-model-name")
"""Options that KServe itself writes from `parallelism` and `model.name`."""


def render(topology: Topology) -> Export:
    """`kserve-GROUP.yaml`, for `kubectl apply`."""
    started, left_out = chosen(topology, "kserve", _cannot)
    files = {f"kserve-{named.name}.yaml": _file(named, topology) for named in started}
    return finished(files, left_out, "kserve", started)


def _cannot(named: NamedGroup) -> str:
    group = named.group
    if named.n_servers > 1 and group.engine != "vllm":
        return f"an LLMInferenceService starts vllm, and this runs on {group.engine}"
    if named.n_servers > 1 and group.pp != named.n_servers:
        return f"KServe gives each pipeline stage a server, and pp {group.pp} is on {named.n_servers}; export to lws"
    return cannot_join_servers(named) or cannot_run_in_a_container(named)


def _file(named: NamedGroup, topology: Topology) -> str:
    if named.n_servers > 1:
        document, lines = _over_servers(named, topology), []
        if named.start.weights.needs:
            lines = [f"put the name of {named.start.weights.needs} in place of {named.start.weights.placeholder}"]
    else:
        document, lines = _on_one_server(named, topology), notes(named, topology)
    return header(topology, *lines) + block_yaml(document)


def _metadata(named: NamedGroup, topology: Topology, **annotations: str) -> dict[str, Any]:
    return {
        "name": named.name,
        "labels": labels_of(named),
        "annotations": {**annotations, **plan_annotation(topology)},
    }


def _on_one_server(named: NamedGroup, topology: Topology) -> dict[str, Any]:
    """The engine's own container, because the version inside KServe's runtimes is not ours to choose."""
    pod = pod_spec(named, topology, [container(named, "kserve-container")])
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": _metadata(named, topology, **{"serving.kserve.io/deploymentMode": "RawDeployment"}),
        "spec": {
            "predictor": {
                "minReplicas": named.group.replicas,
                "maxReplicas": named.group.replicas,
                # A new pod finds no free GPUs before an old one is gone.
                "deploymentStrategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
                },
                **pod,
            }
        },
    }


def _over_servers(named: NamedGroup, topology: Topology) -> dict[str, Any]:
    start = named.start
    parallelism = {"tensor": start.planned.tp, "pipeline": start.planned.pp}
    if start.planned.ep > 1:
        parallelism["expert"] = True
    return {
        "apiVersion": "serving.kserve.io/v1alpha2",
        "kind": "LLMInferenceService",
        "metadata": _metadata(named, topology),
        "spec": {
            "model": {"uri": f"hf://{start.checkpoint}", "name": start.planned.model.id},
            "replicas": named.group.replicas,
            "parallelism": parallelism,
            "router": {"scheduler": {}, "route": {}, "gateway": {}},
            "template": _pod(named, topology, follows=False),
            "worker": _pod(named, topology, follows=True),
        },
    }


def _pod(named: NamedGroup, topology: Topology, follows: bool) -> dict[str, Any]:
    start = named.start
    options = start.options_without(*SAID_BY_THE_SERVICE)
    assert start.dialect.name == "vLLM", "left out before"
    main: dict[str, Any] = {
        "name": "main",
        "image": start.image,
        "env": [
            *environment(named)[:1],
            {"name": "VLLM_ADDITIONAL_ARGS", "value": shlex.join([*options, "--master-port", str(JOINING_PORT)])},
        ],
        "resources": resources_of(named),
        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
    }
    if not follows:
        # KServe's own probes speak HTTPS to its own port; only their patience is ours.
        patience = probes(named)["startupProbe"]
        main["startupProbe"] = {
            **patience,
            "httpGet": {"path": start.dialect.health_path, "port": 8000, "scheme": "HTTPS"},
        }
    return pod_spec(named, topology, [main])
