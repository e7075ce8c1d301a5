"""What more money buys: of what a scenario asks for, or with `objective: served` of what a plan can serve."""

from __future__ import annotations

from collections.abc import Callable

from catalog import Catalog
from optimizer.api import optimize
from optimizer.errors import InputError
from optimizer.explain import Against, Front, as_served, pareto
from optimizer.scenario import Scenario, scenario_catalog


def front(
    scenario: Scenario,
    catalog: Catalog,
    against: Against,
    time_limit_s: float,
    *,
    progress: Callable[[str], None] = lambda _message: None,
) -> Front:
    """Cost against one other thing, see `pareto`; with `objective: served` the demand is what most is served of.

    Raises:
        InputError: with `objective: served`, no plan was found in time, or it serves nothing.
        NotSupportedYet: the scenario uses a key that this version checks but does not solve.
    """
    if scenario.objective == "served":
        layout = optimize(scenario, catalog, time_limit_s, progress=progress)
        if layout.cost is None:
            raise InputError(f"{scenario.name}: no plan was found within {time_limit_s:g} s")
        scenario = as_served(layout, scenario)
    own = scenario_catalog(scenario, catalog)
    return pareto(scenario, own, against, time_limit_s=time_limit_s, progress=progress)
