"""llama.cpp: for each server a script that starts its replicas, every option on its command line."""

from __future__ import annotations

from optimizer.exporters.base import Export
from optimizer.exporters.scripts import render_scripts
from optimizer.topology import Topology


def render(topology: Topology) -> Export:
    """`llamacpp-SERVER.sh`, to be run on its server."""
    return render_scripts(topology, "llamacpp", None)
