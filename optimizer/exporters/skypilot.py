"""SkyPilot: a service for each replica group on single servers (`sky serve up`, https://docs.skypilot.co)."""

from __future__ import annotations

import math
import shlex
from typing import Any

from optimizer.exporters.base import Export, NamedGroup, chosen, finished, header
from optimizer.exporters.containers import PORT, start_up_s
from optimizer.exporters.engines import shell_lines
from optimizer.topology import Topology
from optimizer.yaml_text import block_yaml

PACKAGES = {"vllm": "vllm=={release}", "sglang": "sglang[all]=={release}"}
"""What `pip` calls the engines that it can install."""
DISK_GB = 128
"""System, engine and CUDA libraries, beside the weights (estimate)."""


def render(topology: Topology) -> Export:
    """`skypilot-GROUP.yaml`: `sky serve up -n GROUP …`."""
    started, left_out = chosen(topology, "skypilot", _cannot)
    files = {f"skypilot-{named.name}.yaml": _file(named, topology) for named in started}
    return finished(files, left_out, "skypilot", started)


def _cannot(named: NamedGroup) -> str:
    start = named.start
    if named.n_servers > 1:
        return f"a replica stretches over {named.n_servers} servers, a SkyPilot service has one machine for each"
    if start.engine not in PACKAGES:
        return f"runs on {start.engine}, which pip does not install; export to k8s"
    if start.planned.gpu.called.skypilot is None:
        return f"SkyPilot has no name for {start.planned.gpu.name}"
    return ""


def _file(named: NamedGroup, topology: Topology) -> str:
    start, group = named.start, named.group
    terms = {server.term for server in topology.document.servers if server.offer == group.offer}
    # Weights of 1 GiB take at most 1.1 GB of disk.
    disk_gb = DISK_GB + math.ceil(1.1 * start.planned.weights_gib)
    package = PACKAGES[start.engine].format(release=start.release)
    # The model is a variable, so that `sky serve up --env MODEL=…` can name another checkpoint.
    model = ['"$MODEL"' if word == "MODEL" else word for word in start.dialect.model_words("MODEL")]
    words = [*start.dialect.program, *model]
    words += [shlex.quote(word) for word in (*start.options, *start.dialect.listen_words(PORT))]
    document: dict[str, Any] = {
        "name": named.name,
        "resources": {
            "accelerators": f"{start.planned.gpu.called.skypilot}:{group.gpus_per_replica}",
            "ports": PORT,
            "use_spot": terms == {"spot"},
            "disk_size": disk_gb,
        },
        "envs": {"MODEL": start.checkpoint},
        "secrets": {"HF_TOKEN": None},
        "service": {
            "replicas": group.replicas,
            "readiness_probe": {"path": "/v1/models", "initial_delay_seconds": start_up_s(named)},
        },
        "setup": f"uv pip install --system '{package}'",
        "run": shell_lines(words) + "\n",
    }
    lines = []
    if start.weights.needs:
        lines.append(f"put the name of {start.weights.needs} in place of {start.weights.placeholder}")
    return header(topology, *lines) + block_yaml(document)
