"""SGLang: a configuration file for each replica group, and for each server a script that starts its replicas."""

from __future__ import annotations

from optimizer.exporters.base import Export
from optimizer.exporters.scripts import render_scripts
from optimizer.exporters.vllm import settings_file
from optimizer.topology import Topology


def render(topology: Topology) -> Export:
    """`sglang-GROUP.yaml` for `--config`, and `sglang-SERVER.sh`, to be run on its server beside them."""
    return render_scripts(topology, "sglang", settings_file)
