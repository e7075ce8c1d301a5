"""Why there is no plan: who conflicts, what was rejected, and what would help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from optimizer.layout import Layout
from optimizer.plan_notes import Conflict
from optimizer.report.words import bullets, count

MOST_DEMANDS = 8
"""Workloads of a conflict that are shown one by one; the plan file holds all."""


def infeasible_report(layout: Layout) -> RenderableType:
    """The conflict in the scenario's words, with file and line, the candidates rejected by reason, and the changes."""
    if layout.infeasible is None:
        return Text(f"{layout.scenario}: infeasible. No layout meets every requirement.")
    lines: list[RenderableType] = [
        Text(
            f"{layout.scenario}: infeasible. No layout meets every requirement; together these cannot hold:",
            style="bold",
        ),
        *_conflict(layout.infeasible.conflict),
    ]
    for further in layout.infeasible.further_conflicts:
        lines += [Text("Nor, whatever becomes of that, can these:", style="bold"), *_conflict(further)]
    rejections = list(layout.infeasible.rejections.items())[:MOST_DEMANDS]
    rejected = [_rejected(workload, reasons) for workload, reasons in rejections if reasons]
    lines += bullets("Candidates rejected", rejected)
    lines += bullets("What would help", layout.infeasible.changes)
    lines += bullets("Not looked for in the time; a longer time limit looks further", layout.infeasible.not_looked_for)
    lines += bullets("Warnings", layout.warnings)
    return Group(*lines)


def _conflict(conflict: Sequence[Conflict]) -> list[RenderableType]:
    """A line for each member; of many demands only the largest, which stand last."""
    demands = [one for one in conflict if one.family == "serve_demand"]
    hidden = demands[: max(0, len(demands) - MOST_DEMANDS)]
    shown = [one for one in conflict if one not in hidden]
    width = max((len(_name(one)) for one in shown), default=0)
    lines: list[RenderableType] = []
    if hidden:
        names = f"serve_demand of {count(len(hidden), 'smaller workload')}, among them {hidden[-1].index}"
        lines.append(Padding(Text(names), (0, 0, 0, 2)))
    for one in shown:
        where = f"  ({one.location})" if one.location else ""
        lines.append(Padding(Text(f"{_name(one):{width}}  {one.message}{where}", overflow="fold"), (0, 0, 0, 2)))
    return [*lines, Text("")]


def _rejected(workload: str, reasons: Mapping[str, int]) -> str:
    counted = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return f"{workload}: " + ", ".join(f"{number:,} {reason}" for reason, number in counted)


def _name(conflict: Conflict) -> str:
    return conflict.family if conflict.index is None else f"{conflict.family}[{conflict.index}]"
