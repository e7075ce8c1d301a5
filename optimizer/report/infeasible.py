"""Why there is no plan: who conflicts, what was rejected, and what would help."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from optimizer.layout import Conflict, Layout
from optimizer.report.words import bullets


def infeasible_report(layout: Layout) -> RenderableType:
    """The conflict in the scenario's words, with file and line, the candidates rejected by reason, and the changes."""
    if layout.infeasible is None:
        return Text(f"{layout.scenario}: infeasible. No layout meets every requirement.")
    conflict = layout.infeasible.conflict
    width = max((len(_name(one)) for one in conflict), default=0)
    lines: list[RenderableType] = [
        Text(
            f"{layout.scenario}: infeasible. No layout meets every requirement; together these cannot hold:",
            style="bold",
        ),
    ]
    for one in conflict:
        where = f"  ({one.location})" if one.location else ""
        lines.append(Padding(Text(f"{_name(one):{width}}  {one.message}{where}", overflow="fold"), (0, 0, 0, 2)))
    lines.append(Text(""))
    rejected = [_rejected(workload, reasons) for workload, reasons in layout.infeasible.rejections.items() if reasons]
    lines += bullets("Candidates rejected", rejected)
    lines += bullets("What would help", layout.infeasible.changes)
    lines += bullets("Warnings", layout.warnings)
    return Group(*lines)


def _rejected(workload: str, reasons: Mapping[str, int]) -> str:
    counted = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return f"{workload}: " + ", ".join(f"{number:,} {reason}" for reason, number in counted)


def _name(conflict: Conflict) -> str:
    return conflict.family if conflict.index is None else f"{conflict.family}[{conflict.index}]"
