"""Plans as files of other systems: one renderer a target, each a pure function of the topology."""

from optimizer.exporters.base import Export, Exporter
from optimizer.exporters.everything import render_everything, render_together
from optimizer.exporters.targets import EXPORTERS
from optimizer.exporters.validators import Verdict, judge_files, verdicts_text

__all__ = [
    "EXPORTERS",
    "Export",
    "Exporter",
    "Verdict",
    "judge_files",
    "render_everything",
    "render_together",
    "verdicts_text",
]
