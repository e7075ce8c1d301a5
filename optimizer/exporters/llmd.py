"""llm-d: values of the Helm chart llm-d-modelservice, one file for each replica group (vLLM only)."""

from __future__ import annotations

import math
import shlex
from typing import Any

from optimizer.exporters.base import (
    Export,
    NamedGroup,
    cannot_join_servers,
    chosen,
    finished,
    header,
)
from optimizer.exporters.containers import (
    JOINING_PORT,
    PORT,
    gpu_resource,
    node_note,
    node_selector,
    probes,
    resources_of,
)
from optimizer.exporters.engines import Node, shell_lines
from optimizer.topology import Topology
from optimizer.yaml_text import block_yaml

IMAGE = "ghcr.io/llm-d/llm-d-cuda:v0.5.0"
"""vLLM with the libraries of llm-d (https://github.com/llm-d/llm-d/pkgs/container/llm-d-cuda)."""
WRITTEN_BY_THE_CHART = ("served-model-name", "tensor-parallel-size")
"""What `modelCommand: vllmServe` adds itself, beside the model and the port."""
DISK_SHARE = 1.2
"""Of the weights: room for the files beside them."""


def render(topology: Topology) -> Export:
    """`llm-d-GROUP.yaml`: `helm install GROUP llm-d-modelservice/llm-d-modelservice -f …`."""
    started, left_out = chosen(topology, "llm-d", _cannot)
    files = {f"llm-d-{named.name}.yaml": _file(named, topology) for named in started}
    return finished(files, left_out, "llm-d", started)


def _cannot(named: NamedGroup) -> str:
    start = named.start
    if start.engine != "vllm":
        return f"runs on {start.engine}, and the chart starts vllm"
    if start.planned.gpu.vendor.lower() != "nvidia":
        return f"there is no llm-d image for {start.planned.gpu.vendor} cards here"
    return cannot_join_servers(named)


def _file(named: NamedGroup, topology: Topology) -> str:
    weights = named.start.weights
    lines = [note] if (note := node_note(named, topology)) else []
    if weights.needs:
        lines.append(f"put the name of {weights.needs} in place of {weights.placeholder}")
    return header(topology, *lines) + block_yaml(_values(named, topology))


def _values(named: NamedGroup, topology: Topology) -> dict[str, Any]:
    start, n_servers = named.start, named.n_servers
    disk_gib = math.ceil(start.planned.weights_gib * DISK_SHARE) + 1
    container: dict[str, Any] = {"name": "vllm", "image": IMAGE, **_command(named)}
    container |= {
        "ports": [{"containerPort": PORT, "name": "http", "protocol": "TCP"}],
        "resources": {
            kind: {key: value for key, value in row.items() if key != gpu_resource(named)}
            for kind, row in resources_of(named).items()
        },  # the chart adds the GPUs by `parallelism`
        **probes(named),
        "mountModelVolume": True,
    }
    return {
        "modelArtifacts": {
            "name": start.planned.model.id,
            "uri": f"hf://{start.checkpoint}",
            "size": f"{disk_gib}Gi",
            "authSecretName": "hf-token",
        },
        "accelerator": {"type": "nvidia"},
        "multinode": n_servers > 1,
        "routing": {"servicePort": PORT, "proxy": {"enabled": False}},
        "decode": {
            "create": True,
            "replicas": named.group.replicas,
            "parallelism": {
                "tensor": named.group.gpus_per_replica // n_servers // start.planned.dp,
                "data": start.planned.dp,
                "dataLocal": start.planned.dp,
                "workers": n_servers,
            },
            "nodeSelector": node_selector(named, topology),
            "containers": [container],
        },
        "prefill": {"create": False},
    }


def _command(named: NamedGroup) -> dict[str, Any]:
    """The chart's own command on one server; over several a command of ours, in which the pods find each other."""
    start = named.start
    if named.n_servers == 1 and start.planned.pp == 1:
        return {"modelCommand": "vllmServe", "args": start.options_without(*WRITTEN_BY_THE_CHART)}
    words = [shlex.quote(word) for word in (*start.dialect.program, start.checkpoint, *start.options)]
    words += start.dialect.listen_words(PORT)
    script = ""
    if named.n_servers > 1:
        assert start.dialect.node_words is not None, "left out before"
        node = Node(str(named.n_servers), '"$LWS_WORKER_INDEX"', '"$LWS_LEADER_ADDRESS"', JOINING_PORT, follows=False)
        words += [*start.dialect.node_words(node), "$FOLLOW"]
        script = 'if [ "$LWS_WORKER_INDEX" != 0 ]; then FOLLOW=--headless; fi\n'
    return {"modelCommand": "custom", "command": ["/bin/sh", "-c"], "args": [f"{script}exec {shell_lines(words)}\n"]}
