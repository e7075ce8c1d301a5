"""The whole of a plan, checked promise by promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from catalog import Catalog
from optimizer.layout import Layout
from optimizer.scenario import Scenario, scenario_catalog, with_own_entries
from optimizer.verification.claims import Claims
from optimizer.verification.identity import identity
from optimizer.verification.lawful import lawful
from optimizer.verification.machines import machines
from optimizer.verification.measured import measured
from optimizer.verification.money import money
from optimizer.verification.predicted import predicted
from optimizer.verification.service import served, service

PROMISES: tuple[Callable[[Claims], Iterator[str]], ...] = (
    identity,
    machines,
    money,
    service,
    served,
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
    return [problem for promise in PROMISES for problem in promise(claims)]
