"""One module an engine: how it spells what the plan decided. Nothing else knows an engine's words."""

from optimizer.exporters.engines.dialect import Dialect, Loan, Node, Planned, Setting, Share, command_line, shell_lines
from optimizer.exporters.engines.start import DIALECTS, Start, Weights, start_of

__all__ = [
    "DIALECTS",
    "Dialect",
    "Loan",
    "Node",
    "Planned",
    "Setting",
    "Share",
    "Start",
    "Weights",
    "command_line",
    "shell_lines",
    "start_of",
]
