"""TensorRT-LLM: a configuration file for each replica group, and for each server a script that starts its replicas."""

from __future__ import annotations

from optimizer.exporters.base import Export
from optimizer.exporters.engines.trtllm import configuration
from optimizer.exporters.scripts import render_scripts
from optimizer.topology import Topology


def render(topology: Topology) -> Export:
    """`trtllm-GROUP.yaml` for `--config`, and `trtllm-SERVER.sh`, to be run on its server beside them."""
    return render_scripts(topology, "trtllm", lambda start: configuration(start.planned))
