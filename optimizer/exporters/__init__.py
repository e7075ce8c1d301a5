"""Plans as files of other systems: one renderer a target, each a pure function of the topology."""

from optimizer.exporters.base import Export, Exporter
from optimizer.exporters.targets import EXPORTERS

__all__ = ["EXPORTERS", "Export", "Exporter"]
