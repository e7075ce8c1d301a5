"""What `check`, `verify` and `export --list` say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.errors import Fault, InputError
from optimizer.layout import Layout
from optimizer.report.words import count, listed
from optimizer.scenario import Scenario


def check_all(files: Iterable[str], read: Callable[[str], Scenario]) -> tuple[dict[str, Scenario], InputError | None]:
    """The sound scenarios by file, and the faults of all others together."""
    scenarios: dict[str, Scenario] = {}
    faults: list[Fault] = []
    for file in files:
        try:
            scenarios[file] = read(file)
        except InputError as error:
            faults += error.faults
    return scenarios, InputError(faults) if faults else None


def check_data(scenarios: Mapping[str, Scenario]) -> list[dict[str, Any]]:
    """Sound scenarios by file, with what this version does not solve."""
    return [
        {
            "file": file,
            "scenario": scenario.name,
            "scenario_sha256": scenario.sha256,
            "workloads": len(scenario.workloads),
            "offers": len(scenario.inventory),
            "unsupported": [fault.message for fault in scenario.unsupported()],
        }
        for file, scenario in scenarios.items()
    ]


def check_report(scenarios: Mapping[str, Scenario]) -> RenderableType:
    """A line a scenario, and one for each key that `solve` would refuse."""
    lines = []
    for file, scenario in scenarios.items():
        size = f"{count(len(scenario.workloads), 'workload')}, {count(len(scenario.inventory), 'offer')}"
        lines.append(f"{file}: sound ({size})")
        lines += [
            f"{fault.location or file}: solve will refuse this: {fault.message}" for fault in scenario.unsupported()
        ]
    return Group(*(Text(line, no_wrap=True, overflow="ignore") for line in lines))  # file:line stays in one piece


def verify_report(layout: Layout, problems: Sequence[str]) -> RenderableType:
    """`sound`, or every broken promise; without servers nothing is promised."""
    if not problems and layout.cost is None:
        return Text(f"{layout.scenario}: {layout.status}; it promises nothing, so there is nothing to derive again.")
    if not problems:
        return Text(f"{layout.scenario}: sound; every promise of the plan was derived again and holds.")
    broken = count(len(problems), "promise is broken", "promises are broken")
    return Group(Text(f"{layout.scenario}: not sound; {broken}:", style="bold"), *map(Text, problems))


def targets_report(summaries: Mapping[str, str]) -> RenderableType:
    """A line a target."""
    return listed(summaries.items())
