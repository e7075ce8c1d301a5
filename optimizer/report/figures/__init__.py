"""Pictures as SVG text: pure functions of plain data, the same for reports, commands and notebooks."""

from optimizer.report.figures.charts import Line, Point, line_chart, point_chart, range_chart
from optimizer.report.figures.heat import heat_chart
from optimizer.report.figures.marks import STYLE, standalone
from optimizer.report.figures.servers import ServerBox, server_chart
from optimizer.report.figures.stacks import Stack, stack_chart, waterfall_chart
from optimizer.report.figures.targets import Target, target_chart

__all__ = [
    "STYLE",
    "Line",
    "Point",
    "ServerBox",
    "Stack",
    "Target",
    "heat_chart",
    "line_chart",
    "point_chart",
    "range_chart",
    "server_chart",
    "stack_chart",
    "standalone",
    "target_chart",
    "waterfall_chart",
]
