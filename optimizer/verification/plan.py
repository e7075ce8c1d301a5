"""The whole of a plan, checked promise by promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from catalog import Catalog
from optimizer.layout import Layout
from optimizer.scenario import Scenario, scenario_catalog, with_own_entries
from optimizer.verification.claims import Claims
from optimizer.verification.fleet import fleet
from optimizer.verification.identity import identity
from optimizer.verification.lawful import lawful
from optimizer.verification.machines import machines
from optimizer.verification.measured import measured
from optimizer.verification.money import money
from optimizer.verification.predicted import predicted
from optimizer.verification.service import service
from optimizer.verification.spare import spare

OF_ALL: tuple[Callable[[Claims], Iterator[str]], ...] = (identity, money, fleet)
OF_EACH_PERIOD: tuple[Callable[[Claims], Iterator[str]], ...] = (
    machines,
    service,
    spare,
    lawful,
    measured,
    predicted,
)


def verify(layout: Layout, scenario: Scenario, catalog: Catalog) -> list[str]:
    """Broken promises of a plan, a sentence each; [] = sound. A layout without a plan promises nothing.

    Everything is derived again from scenario and catalog; numbers must agree to a relative 1e-6. What nobody else can
    know is taken as it is: how long the solve took, by whom, the words of warnings and assumptions, that a search
    proved `optimal` and its bound, and which limit a larger batch would have hit first.
    """
    if layout.status in ("infeasible", "no_plan"):
        return []
    scenario = with_own_entries(scenario, catalog)
    claims = Claims(layout, scenario, scenario_catalog(scenario, catalog), catalog.shipped_version)
    problems = [problem for promise in OF_ALL for problem in promise(claims)]
    for part in claims.periods():
        where = f"period {part.period + 1}: " if layout.periods else ""
        problems += [f"{where}{problem}" for promise in OF_EACH_PERIOD for problem in promise(part)]
    return problems
