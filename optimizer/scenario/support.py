"""What a scenario may ask for and this version does not solve: checked like everything else, refused by `solve`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optimizer.scenario.scenario import Scenario


def not_solved_yet(scenario: Scenario) -> Iterator[tuple[tuple[str, ...], str]]:
    """Key and what it asks for, in the order of the scenario's classes."""
    if scenario.objective not in ("cost", "served"):
        yield ("objective",), f"objective {scenario.objective}"
