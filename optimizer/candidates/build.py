"""The candidates of every workload: enumerated, rated, pruned, and spread over the offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.ma  # np.unique loads it at its first call, which is in the middle of a solve

from catalog import Catalog
from optimizer.candidates.asked import Asked
from optimizer.candidates.ground import Ground, Here, Prepared, all_of
from optimizer.candidates.pipelines import pipeline_candidates, unbeaten
from optimizer.candidates.preference import Preference, Reluctance
from optimizer.candidates.prune import Rows, alone_replicas, alone_rps, narrowed, numbered, undominated, unpacked
from optimizer.candidates.race import Entrant
from optimizer.candidates.rated import Rated
from optimizer.candidates.ratings import Rating, Ratings, candidates_key, rating_key, shared_key
from optimizer.candidates.search import Search
from optimizer.candidates.spec import Candidates, ReplicaSpec
from optimizer.scenario import MeasuredReplica, Scenario, Workload
from optimizer.serving_config import BoolArray, Configurations, IntArray

Kept = Literal["undominated", "every_structure", "all"]

ROWS_AT_ONCE = 40_000
"""Configurations rated together: more do not fit into the caches of a core, and fewer take longer each."""


def build_candidates(
    scenario: Scenario,
    catalog: Catalog,
    *,
    prune: bool = True,
    every_structure: bool = False,
    ratings: Ratings | None = None,
) -> tuple[Candidates, ...]:
    """The candidates of every workload, in the scenario's order: those that can be in a cheapest plan.

    With `every_structure`, those that can be in a cheapest plan with a given structure, whatever the demand.
    `prune=False` keeps dominated ones, for tests. With `ratings`, what was rated for an earlier scenario is not rated
    again, and what is rated now is kept there (give it to calls that keep the same only).
    """
    keep: Kept = "all" if not prune else "every_structure" if every_structure else "undominated"
    nearness = {name: _by_distance(workload, scenario) for name, workload in scenario.workloads.items()}
    best = keep == "undominated"
    ground = Ground(scenario, catalog, nearness, share=best and ratings is None, beaten_go=best)
    parts = [
        _Part(name, workload.with_network(round_trip_ms), here, all_of(nearness[name]), alone_rps(name, scenario))
        for name, workload in scenario.workloads.items()
        for round_trip_ms, here in nearness[name].items()
    ]
    predicted = [part for part in parts if part.workload.measured is None]
    if ratings is None:
        rated = _all_rated(predicted, _as_prepared(ground), race=best)
        found = {part.place: _chosen(part, rating, keep) for part, rating in rated}
    else:
        shared = shared_key(scenario, catalog)
        found = {part.place: _remembered(part, ground, keep, ratings, shared) for part in predicted}
    found |= {part.place: _measured(part, ground) for part in parts if part.workload.measured is not None}
    on_one = {name: _joined([found[name, here] for here in nearness[name].values()]) for name in scenario.workloads}
    if best:
        for name, workload in scenario.workloads.items():
            if len(nearness[name]) > 1 and workload.measured is None:  # formats, judged over all of its parts
                on_one[name] = narrowed(on_one[name], workload, alone_rps(name, scenario))
    several: dict[str, list[Candidates]] = {name: [] for name in scenario.workloads}
    for part in predicted:
        if part.workload.heterogeneous_pipelines:
            several[part.name].append(_over_several(part, scenario, catalog, ratings))
    if prune:
        for name, workload in scenario.workloads.items():
            mix, offers = not workload.single_format, list(scenario.inventory)
            several[name] = [unbeaten(one, on_one[name], offers, mix=mix) for one in several[name]]
    return tuple(_joined([on_one[name], *several[name]]) for name in scenario.workloads)


@dataclass(frozen=True, slots=True)
class _Part:
    """A workload on offers that are equally far away."""

    name: str
    workload: Workload
    """With the time on the way in its targets."""
    here: Here
    reach: Here
    """These and the offers at other distances."""
    demand_alone_rps: float

    @property
    def is_one_of_several(self) -> bool:
        """Whether others of the workload are on offers at other distances."""
        return len(self.reach) > len(self.here)

    @property
    def place(self) -> tuple[str, Here]:
        return self.name, self.here


def _remembered(part: _Part, ground: Ground, keep: Kept, ratings: Ratings, shared: str) -> Candidates:
    """Rated by itself, unless it was before."""
    reach = ground.offers(part.reach) if keep == "undominated" else ()
    key = rating_key(shared, part.workload, ground.offers(part.here), reach)

    def rated() -> Rating:
        ((_, rating),) = _all_rated([part], _as_prepared(ground), race=False)
        return rating

    rating = ratings.rated.get(key, rated)
    return ratings.candidates.get(
        candidates_key(key, part.name, part.demand_alone_rps, part.is_one_of_several),
        lambda: _chosen(part, rating, keep),
    )


def _over_several(part: _Part, scenario: Scenario, catalog: Catalog, ratings: Ratings | None) -> Candidates:
    """Pipelines whose stages stand on several of the offers; with `ratings`, found once."""
    names = list(scenario.inventory)
    offers = {names[s]: scenario.inventory[names[s]] for s in part.here}
    if ratings is None:
        return pipeline_candidates(part.name, part.workload, offers, scenario, catalog)
    rating = rating_key(shared_key(scenario, catalog), part.workload, list(offers.values()))
    return ratings.candidates.get(
        candidates_key(f"{rating} {names} {list(offers)}", part.name, 0.0, part.is_one_of_several),
        lambda: pipeline_candidates(part.name, part.workload, offers, scenario, catalog),
    )


def _by_distance(workload: Workload, scenario: Scenario) -> dict[float, Here]:
    """Round trip in ms -> the offers that far away on which the workload may be served."""
    found: dict[float, list[int]] = {}
    for s, offer in enumerate(scenario.inventory.values()):
        if scenario.may_serve(workload, offer):
            found.setdefault(scenario.round_trip_ms(workload, offer), []).append(s)
    return {round_trip_ms: tuple(here) for round_trip_ms, here in sorted(found.items())}


def _joined(found: Sequence[Candidates]) -> Candidates:
    """Candidates of one workload as one, in the order of offers."""
    if len(found) == 1:
        return found[0]
    offer = np.concatenate([one.offer for one in found])
    order = np.argsort(offer, kind="stable")
    specs = [spec for one in found for spec in one.specs]
    nearest_ms: dict[str, float] = {}
    for one in found:
        nearest_ms |= {key: min(value, nearest_ms.get(key, np.inf)) for key, value in one.nearest_ms.items()}
    return Candidates(
        workload=found[0].workload,
        specs=tuple(specs[k] for k in order.tolist()),
        offer=offer[order],
        gpus_per_replica=np.concatenate([one.gpus_per_replica for one in found])[order],
        rate_rps=np.concatenate([one.rate_rps for one in found])[order],
        n_evaluated=sum(one.n_evaluated for one in found),
        rejected=dict(sum((Counter(one.rejected) for one in found), Counter())),
        nearest_ms=nearest_ms,
    )


def _measured(part: _Part, ground: Ground) -> Candidates:
    """Each measured replica on every offer of its card with enough GPUs per server; never across servers."""
    measured: Sequence[MeasuredReplica] = part.workload.measured or ()
    classes = [c.name for c in part.workload.request_classes]
    rows = [
        (s, ReplicaSpec(gpu=entry.gpu, gpus=entry.gpus), [entry.requests_per_s.get(c, 0.0) for c in classes])
        for s, offer in zip(part.here, ground.offers(part.here), strict=True)
        for entry in measured
        if entry.gpu == offer.gpu and entry.gpus <= offer.gpus_per_server
    ]
    return Candidates(
        workload=part.name,
        specs=tuple(spec for _, spec, _ in rows),
        offer=np.array([s for s, _, _ in rows], np.int64),
        gpus_per_replica=np.array([spec.gpus for _, spec, _ in rows], np.int64),
        rate_rps=np.array([rates for _, _, rates in rows], float).reshape(len(rows), len(classes)),
        n_evaluated=len(measured),
        rejected={"no offer of that GPU with enough GPUs a server": len(measured)} if not rows else {},
    )


def _as_prepared(ground: Ground) -> Callable[[_Part], Prepared]:
    return lambda part: ground.prepared(part.workload, part.here, part.reach)


def _all_rated(
    parts: Sequence[_Part], prepare: Callable[[_Part], Prepared], *, race: bool
) -> Iterator[tuple[_Part, Rating]]:
    """Each part with what may serve it, parts alike together; in a race, without all that is worse than others."""
    alike: dict[Hashable, list[_Part]] = {}
    for part in parts:
        alike.setdefault(part.workload.models, []).append(part)
    waiting: dict[Hashable, list[tuple[_Part, Prepared]]] = {}
    for part in (part for group in alike.values() for part in group):
        prepared = prepare(part)
        kind = prepared.asked[0].kind
        batch = waiting.setdefault(kind, [])
        batch.append((part, prepared))
        if sum(len(one.rows) for _, some in batch for one in some.asked) >= ROWS_AT_ONCE:
            yield from _rated(waiting.pop(kind), race=race)
    for batch in waiting.values():
        yield from _rated(batch, race=race)


def _rated(batch: Sequence[tuple[_Part, Prepared]], *, race: bool) -> Iterator[tuple[_Part, Rating]]:
    """Parts of one kind, rated at once."""
    asked: list[Asked] = []
    entrants: list[Entrant] = []
    for number, (part, prepared) in enumerate(batch):
        asked += prepared.asked
        competing = Entrant(number, part.demand_alone_rps, not part.workload.single_format)
        entrants += [competing] * len(prepared.asked)
    single = len(batch[0][0].workload.request_classes) == 1
    found = iter(Search(asked).run(entrants if race and single else ()))
    for part, prepared in batch:
        own = [next(found) for _ in prepared.asked]
        nearest_ms: dict[str, float] = {}
        for one in own:
            nearest_ms |= {key: min(value, nearest_ms.get(key, np.inf)) for key, value in one.nearest_ms.items()}
        rejected = sum((one.rejected for one in own), prepared.rejected)
        yield part, Rating(tuple(one.rated for one in own), prepared.n_evaluated, rejected, nearest_ms)


def _chosen(part: _Part, rating: Rating, keep: Kept) -> Candidates:
    """What of a rating has a place on the offers and is worth keeping."""
    found = rating.found
    rate_rps = np.concatenate([rated.rate_rps for rated in found])
    gpus = np.concatenate([rated.configurations.gpus_per_replica for rated in found])
    card = np.concatenate([rated.card for rated in found])
    holds = np.concatenate([rated.holds for rated in found])
    keep_row = holds.any(axis=1)
    if keep == "undominated":
        choice = np.concatenate([rated.choice for rated in found])
        alone = alone_replicas(part.workload, rate_rps, part.demand_alone_rps)
        rows = Rows(numbered(card), numbered(choice), gpus, holds, rate_rps, alone)
        every_choice = part.is_one_of_several or bool(part.workload.heterogeneous_pipelines)
        keep_row &= undominated(rows, mix=not part.workload.single_format, every_choice=every_choice)
    elif keep == "every_structure":
        structure = np.char.add(card, np.concatenate([rated.structure for rated in found]))
        never = np.full(len(gpus), np.inf)
        rows = Rows(numbered(structure), np.zeros_like(gpus), gpus, holds, rate_rps, never)
        keep_row &= undominated(rows, mix=True)
    kept = np.flatnonzero(keep_row)
    specs = _specs(found, kept)
    offer_of, spec_of = np.nonzero(unpacked(holds[kept], len(part.here)).T)
    return Candidates(
        workload=part.name,
        specs=tuple(specs[k] for k in spec_of.tolist()),
        offer=np.array(part.here, np.int64)[offer_of],
        gpus_per_replica=gpus[kept[spec_of]],
        rate_rps=rate_rps[kept[spec_of]],
        n_evaluated=rating.n_evaluated,
        rejected=dict(+rating.rejected),
        nearest_ms=rating.nearest_ms,
    )


def _specs(found: Sequence[Rated], rows: IntArray) -> list[ReplicaSpec]:
    """The specifications of some rows, ascending, of all the rated configurations, counted through."""
    starts = np.cumsum([0, *(len(rated.max_batch_size) for rated in found)])
    parts = np.split(rows, np.searchsorted(rows, starts[1:-1]))
    return [
        spec for rated, start, part in zip(found, starts, parts, strict=False) for spec in rated.specs(part - start)
    ]


@dataclass(frozen=True, slots=True)
class InUse:
    """Where a plan runs replicas of a workload, and what it would take in their place."""

    models: frozenset[str]
    places: frozenset[tuple[int, int]]
    """Indices of offers, and the GPUs of a replica there."""
    at_worst: Reluctance


def build_alike(
    scenario: Scenario, catalog: Catalog, preference: Preference, in_use: Mapping[str, InUse]
) -> dict[str, Candidates]:
    """What could run some workloads in the place of their replicas: the same models in formats that are no worse."""
    workloads = {name: scenario.workloads[name] for name in in_use}
    offers = {s for one in in_use.values() for s, _ in one.places}
    sizes = list({gpus for one in in_use.values() for _, gpus in one.places})
    nearness = {name: _only(offers, _by_distance(workload, scenario)) for name, workload in workloads.items()}

    def may_do(c: Configurations) -> BoolArray:
        at_worst = max((one.at_worst for one in in_use.values() if c.model.id in one.models), default=None)
        if at_worst is None:
            return np.zeros(len(c), bool)
        return np.isin(c.gpus_per_replica, sizes) & preference.no_worse(c, at_worst)

    asking = scenario.model_copy(update={"workloads": workloads})
    ground = Ground(asking, catalog, nearness, share=True, beaten_go=False, only=may_do)

    def prepare(part: _Part) -> Prepared:
        prepared, one = ground.prepared(part.workload, part.here, part.reach), in_use[part.name]
        asked = [replace(a, rows=a.rows[_in_place(a, part.here, one, preference)]) for a in prepared.asked]
        return replace(prepared, asked=tuple(asked))

    found: dict[str, list[Candidates]] = {name: [] for name in in_use}
    parts = [
        _Part(name, workload.with_network(round_trip_ms), here, all_of(nearness[name]), alone_rps(name, scenario))
        for name, workload in workloads.items()
        for round_trip_ms, here in nearness[name].items()
    ]
    for part, rating in _all_rated(parts, prepare, race=False):
        found[part.name].append(_chosen(part, rating, "all"))
    return {name: _joined(some) for name, some in found.items()}


def _only(offers: Collection[int], nearness: Mapping[float, Here]) -> dict[float, Here]:
    """Some of the offers, where there are any at that distance."""
    known = {ms: tuple(s for s in here if s in offers) for ms, here in nearness.items()}
    return {ms: here for ms, here in known.items() if here}


def _in_place(asked: Asked, here: Here, in_use: InUse, preference: Preference) -> BoolArray:
    """[n] the rows of those asked that have a place where replicas are in use, and no worse formats."""
    c = asked.physics.configurations.take(asked.rows)
    if c.model.id not in in_use.models:
        return np.zeros(len(c), bool)
    holds = unpacked(asked.holds[asked.rows], len(here))
    placed = np.zeros(len(c), bool)
    for s, gpus in in_use.places:
        if s in here:
            placed |= holds[:, here.index(s)] & (c.gpus_per_replica == gpus)
    return placed & preference.no_worse(c, in_use.at_worst)
