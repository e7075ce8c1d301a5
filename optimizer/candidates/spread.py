"""The candidates of many workloads, rated by the workers of an engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from catalog import Catalog
from optimizer.candidates.build import build_candidates
from optimizer.candidates.spec import Candidates
from optimizer.scenario import Scenario
from optimizer.workers import Calls, Engine

PARTS_PER_WORKER = 4
"""So that none waits long for the last; more would share less of what workloads alike have in common."""


def build_candidates_on(engine: Engine, scenario: Scenario, catalog: Catalog) -> tuple[Candidates, ...]:
    """What `build_candidates` gives, in the scenario's order."""
    # Those alike go together: a part tabulates once what they share.
    alike = sorted(scenario.workloads, key=lambda name: scenario.workloads[name].models)
    n_parts = min(len(alike), PARTS_PER_WORKER * engine.n_workers)
    ends = [len(alike) * i // n_parts for i in range(n_parts + 1)]
    parts = [alike[first:end] for first, end in itertools.pairwise(ends)]
    with Calls(engine, _Rater(scenario, catalog)) as rate:
        found = {one.workload: one for of_part in rate(parts) for one in of_part}
    return tuple(found[name] for name in scenario.workloads)


@dataclass(frozen=True, slots=True)
class _Rater:
    """What a worker has to know."""

    scenario: Scenario
    catalog: Catalog

    def __call__(self) -> Callable[[Sequence[str]], tuple[Candidates, ...]]:
        return self.candidates

    def candidates(self, names: Sequence[str]) -> tuple[Candidates, ...]:
        """Of some workloads."""
        some = {name: self.scenario.workloads[name] for name in names}
        return build_candidates(self.scenario.model_copy(update={"workloads": some}), self.catalog)
