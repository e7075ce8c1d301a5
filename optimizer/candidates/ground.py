"""Configurations prepared to be rated: for many workloads alike on the same offers once, for others when asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from catalog import Catalog
from optimizer.candidates.asked import Asked
from optimizer.candidates.enumerate import (
    batch_sizes,
    enumerate_configurations,
    places_on,
    quality_fractions,
    ways_to_draft,
)
from optimizer.candidates.physics import Physics
from optimizer.candidates.pointwise import facts_of, worth_rating
from optimizer.candidates.prune import packed
from optimizer.memory import holds_at_every_length
from optimizer.performance import times_known
from optimizer.scenario import Offer, Scenario, Speculation, Workload
from optimizer.serving_config import BoolArray, Configurations, IntArray

MANY = 3
"""Workloads alike in all but their requests and their floors of quality, from which on sharing saves time."""

Here = tuple[int, ...]
"""Indices of offers."""
_Kind = tuple[object, ...]
_Way = tuple[str, str, Speculation | None]
"""A model, an engine and how tokens are drafted."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What may serve a workload on some offers, one for each model on each engine; and what was refused before."""

    asked: tuple[Asked, ...]
    rejected: Counter[str]
    n_evaluated: int


@dataclass(frozen=True, slots=True)
class _Shared:
    """Configurations of the workloads of a kind."""

    physics: Physics
    rows: Mapping[float, IntArray]
    """Floor of quality -> those that are worth rating."""
    holds: IntArray
    """[n, words] the offers with a place for each configuration, as bits."""
    rejected: Mapping[float, Counter[str]]
    n_evaluated: int


class Ground:
    """Prepares the configurations of the workloads of a scenario."""

    def __init__(
        self,
        scenario: Scenario,
        catalog: Catalog,
        nearness: Mapping[str, Mapping[float, Here]],
        *,
        share: bool,
        only: Callable[[Configurations], BoolArray] | None = None,
    ) -> None:
        """`nearness` is the offers of each workload, by distance; without `share` all are prepared apart.

        With `only`, some configurations are prepared: of these also what others beat at every mix of requests.
        """
        self.catalog, self._offers, self._only = catalog, list(scenario.inventory.values()), only
        asked: dict[tuple[_Kind, Here], list[Workload]] = {}
        for name, workload in scenario.workloads.items():
            for here in nearness[name].values():
                if not workload.heterogeneous_pipelines:  # sharing, whole formats go, which stages may need
                    asked.setdefault((_kind(workload), here), []).append(workload)
        self._sharing = {key: alike for key, alike in asked.items() if share and len(alike) >= MANY}
        self._known: dict[tuple[_Kind, Here, _Way], _Shared] = {}

    def near(self, here: Here) -> list[Offer]:
        """Those offers."""
        return [self._offers[s] for s in here]

    def prepared(self, workload: Workload, here: Here) -> Prepared:
        """Every model on every engine, on the cards on offer."""
        rejected: Counter[str] = Counter()
        asked, n_evaluated, floor = [], 0, workload.min_quality_fraction
        for model in workload.models:
            for engine in workload.engines:
                for drafts in ways_to_draft(workload, self.catalog.models[model], engine, self.catalog.models):
                    shared = self._shared(workload, here, (model, engine, drafts))
                    asked.append(Asked(workload, shared.physics, shared.rows[floor], shared.holds))
                    rejected.update(shared.rejected[floor])
                    n_evaluated += shared.n_evaluated
        return Prepared(tuple(asked), rejected, n_evaluated)

    def _shared(self, workload: Workload, here: Here, way: _Way) -> _Shared:
        kind = _kind(workload)
        alike = None if workload.heterogeneous_pipelines else self._sharing.get((kind, here))
        if alike is None:
            return self._of([workload], here, way)
        key = (kind, here, way)
        if key not in self._known:
            self._known[key] = self._of(alike, here, way)
        return self._known[key]

    def _of(self, alike: Sequence[Workload], here: Here, way: _Way) -> _Shared:
        """Enumerated at the lowest floor; at every floor what falls short of it is refused."""
        model, engine, drafts = way
        least = min(alike, key=lambda workload: workload.min_quality_fraction)
        refused: Counter[str] = Counter()
        c = enumerate_configurations(least, self.near(here), self.catalog, model, engine, refused, drafts)
        n_evaluated = len(c) + refused["quality"] + refused["format"]
        known = times_known(c, self.catalog.calibration)
        refused["silicon tables"] += int((~known).sum())
        c = c.take(known if self._only is None else known & self._only(c))
        physics = Physics.of(c, batch_sizes(least), self.catalog.calibration)
        quality = quality_fractions(c)
        rows = {floor: np.flatnonzero(quality >= floor - 1e-9) for floor in {one.min_quality_fraction for one in alike}}
        rejected = {floor: refused + Counter(quality=len(c) - len(accepted)) for floor, accepted in rows.items()}
        if len(alike) >= MANY and len(c):
            length = min(max(one.max_context_tokens for one in alike), self.catalog.models[model].max_context_tokens)
            if self._only is None:
                physics, rows = _worth_sharing(physics, rows, length, mix=not least.single_format)
            physics = physics.tabulated(np.flatnonzero(holds_at_every_length(physics.configurations)), length)
        places, kind = places_on(self.near(here), physics.configurations)
        return _Shared(physics, rows, packed(places)[kind], rejected, n_evaluated)


def _worth_sharing(
    physics: Physics, rows: Mapping[float, IntArray], max_model_len: int, *, mix: bool
) -> tuple[Physics, dict[float, IntArray]]:
    """Without what others beat at every mix of requests."""
    c, facts = physics.configurations, facts_of(physics, max_model_len)
    kept = {
        floor: accepted[worth_rating(c.take(accepted), facts.take(accepted), mix=mix)]
        for floor, accepted in rows.items()
    }
    union = np.unique(np.concatenate([*kept.values()]))
    return physics.take(union), {floor: np.searchsorted(union, best) for floor, best in kept.items()}


def _kind(workload: Workload) -> _Kind:
    """What decides which configurations are looked at: all but the requests, their targets and the quality."""
    w = workload
    degrees = (w.tp, w.pp, w.dp, w.max_batch_size, w.max_gpus_per_replica, w.speculative)
    return (w.models, w.engines, w.weight_dtypes, w.kv_cache_dtypes, w.single_format, *degrees)
