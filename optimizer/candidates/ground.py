"""Configurations prepared to be rated: for many workloads alike on the same offers once, for others when asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from catalog import Catalog
from optimizer.candidates.asked import Asked
from optimizer.candidates.enumerate import Choices, accepted_only, batch_sizes, choices_of, places_on, ways_to_draft
from optimizer.candidates.formats import Covered, worth_rating
from optimizer.candidates.physics import Physics
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
_Place = tuple[Here, Here]
"""Offers equally far from a workload, and all that it may be served on, near and far."""
_Way = tuple[str, Speculation | None]
"""An engine and how tokens are drafted."""


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
        beaten_go: bool,
        only: Callable[[Configurations], BoolArray] | None = None,
    ) -> None:
        """`nearness` is the offers of each workload, by distance; without `share` all are prepared apart.

        Formats that others beat at every mix of requests are left out where `beaten_go`; with `only`, only some
        configurations are prepared.
        """
        self.catalog, self._offers, self._only = catalog, list(scenario.inventory.values()), only
        self._share, self._beaten_go = share, beaten_go
        self._alike: dict[tuple[_Kind, _Place], list[Workload]] = {}
        for name, workload in scenario.workloads.items():
            for here in nearness[name].values():
                self._alike.setdefault((_kind(workload), (here, all_of(nearness[name]))), []).append(workload)
        self._known: dict[tuple[_Kind, _Place, str, Sequence[_Way]], list[_Shared]] = {}

    def offers(self, here: Here) -> list[Offer]:
        """Those offers."""
        return [self._offers[s] for s in here]

    def prepared(self, workload: Workload, here: Here, reach: Here) -> Prepared:
        """Every model on every engine, on the cards of some offers; `reach` is all that the workload may use."""
        rejected: Counter[str] = Counter()
        asked, n_evaluated, floor = [], 0, workload.min_quality_fraction
        for model in workload.models:
            for shared in self._shared(workload, (here, reach), model):
                asked.append(Asked(workload, shared.physics, shared.rows[floor], shared.holds))
                rejected.update(shared.rejected[floor])
                n_evaluated += shared.n_evaluated
        return Prepared(tuple(asked), rejected, n_evaluated)

    def _shared(self, workload: Workload, place: _Place, model: str) -> list[_Shared]:
        """One for each engine and way to draft."""
        kind, models = _kind(workload), self.catalog.models
        ways = tuple(
            (engine, drafts)
            for engine in workload.engines
            for drafts in ways_to_draft(workload, models[model], engine, models)
        )
        alike = self._alike[kind, place]
        if not self._share or len(alike) < MANY:
            return self._of([workload], place, model, ways)
        key = kind, place, model, ways
        if key not in self._known:
            self._known[key] = self._of(alike, place, model, ways)
        return self._known[key]

    def _of(self, alike: Sequence[Workload], place: _Place, model: str, ways: Sequence[_Way]) -> list[_Shared]:
        one, catalog = alike[0], self.catalog
        near, reach = map(self.offers, place)
        choices = [choices_of(one, near, catalog, model, *way, reach=reach) for way in ways]
        floors = list(dict.fromkeys(workload.min_quality_fraction for workload in alike))
        refused = [{floor: of_way.refused(floor) for floor in floors} for of_way in choices]
        counts = [of_way.n_configurations for of_way in choices]
        choices = accepted_only(choices, min(floors))
        accepted = [[of_way.accepted(floor) for of_way in choices] for floor in floors]
        if self._beaten_go and not one.heterogeneous_pipelines:  # stages may need what whole replicas do not
            covered = [Covered.of(of_way.at_degrees(), catalog.calibration) for of_way in choices]
            accepted = [worth_rating(masks, covered, mix=not one.single_format) for masks in accepted]
        longest = min(max(workload.max_context_tokens for workload in alike), catalog.models[model].max_context_tokens)
        table_tokens = longest if len(alike) >= MANY else None
        found = []
        for of_way, masks, why, n in zip(choices, zip(*accepted, strict=True), refused, counts, strict=True):
            physics, unknown = self._physics(of_way, np.logical_or.reduce(masks), batch_sizes(one), table_tokens)
            places, kind = places_on(near, physics.configurations)
            rows = [np.flatnonzero(of_way.among(mask, physics.configurations)) for mask in masks]
            rejected = {floor: unknown + why[floor] for floor in floors}
            found.append(_Shared(physics, dict(zip(floors, rows, strict=True)), packed(places)[kind], rejected, n))
        return found

    def _physics(
        self, choices: Choices, chosen: BoolArray, sizes: IntArray, table_tokens: int | None
    ) -> tuple[Physics, Counter[str]]:
        """Of the chosen formats [G, W, K], and what is not known of them; with a table of memory at that length."""
        c = choices.configurations(chosen)
        known = times_known(c, self.catalog.calibration)
        unknown = Counter({"silicon tables": int((~known).sum())})
        c = c.take(known if self._only is None else known & self._only(c))
        physics = Physics.of(c, sizes, self.catalog.calibration)
        if table_tokens is not None and len(c):
            physics = physics.tabulated(np.flatnonzero(holds_at_every_length(c)), table_tokens)
        return physics, unknown


def all_of(nearness: Mapping[float, Here]) -> Here:
    """The offers at any distance, in order."""
    return tuple(sorted(s for here in nearness.values() for s in here))


def _kind(workload: Workload) -> _Kind:
    """What decides which configurations are looked at: all but the requests, their targets and the quality."""
    w = workload
    degrees = (w.tp, w.pp, w.dp, w.max_batch_size, w.max_gpus_per_replica, w.speculative, w.heterogeneous_pipelines)
    return (w.models, w.engines, w.weight_dtypes, w.kv_cache_dtypes, w.single_format, *degrees)
