"""vLLM: a configuration file for each replica group, and for each server a script that starts its replicas."""

from __future__ import annotations

from typing import Any

from optimizer.exporters.base import Export
from optimizer.exporters.engines import Start
from optimizer.exporters.scripts import render_scripts
from optimizer.topology import Topology


def render(topology: Topology) -> Export:
    """`vllm-GROUP.yaml` for `--config`, and `vllm-SERVER.sh`, to be run on its server beside them."""
    return render_scripts(topology, "vllm", settings_file)


def settings_file(start: Start) -> dict[str, Any]:
    """Options under their own names, the checkpoint among them when it is known."""
    known = start.weights.checkpoint
    return {**({start.dialect.model_key: known} if known and start.dialect.model_key else {}), **start.settings}
