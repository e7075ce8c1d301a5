"""The candidates of every workload: enumerated, rated, pruned, and spread over the offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.ma  # np.unique loads it at its first call, which is in the middle of a solve

from catalog import Catalog
from optimizer.candidates.batch import BatchSearch, Rated, served_context_tokens
from optimizer.candidates.enumerate import batch_sizes, enumerate_configurations, server_holds, ways_to_draft
from optimizer.candidates.physics import Physics
from optimizer.candidates.pointwise import worth_rating
from optimizer.candidates.prune import Rows, alone_replicas, alone_rps, numbered, undominated
from optimizer.candidates.ratings import Rating, Ratings, candidates_key, rating_key, shared_key
from optimizer.candidates.spec import Candidates, ReplicaSpec
from optimizer.memory import holds_at_every_length
from optimizer.performance import times_known
from optimizer.scenario import MeasuredReplica, Offer, Scenario, Speculation, Workload
from optimizer.serving_config import BoolArray, IntArray, links_on

Kept = Literal["undominated", "every_structure", "all"]

MANY = 3
"""Workloads alike in all but their requests, from which on tabulating what they share saves time."""


_Here = tuple[int, ...]
"""Indices of offers."""
Predict = Callable[[str, Workload, _Here], Candidates]
"""The predicted candidates of a workload, by name, on some of the offers."""


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
    ground = _Ground(scenario, catalog, nearness, share=keep == "undominated" and ratings is None)
    shared = "" if ratings is None else shared_key(scenario, catalog)

    def predict(name: str, workload: Workload, here: _Here) -> Candidates:
        alone, offers = alone_rps(name, scenario), ground.near(here)
        if ratings is None:
            return _chosen(name, workload, _rating(workload, here, ground), offers, alone, keep)
        key = rating_key(shared, workload, offers)
        rating = ratings.rated.get(key, lambda: _rating(workload, here, ground))
        return ratings.candidates.get(
            candidates_key(key, name, alone), lambda: _chosen(name, workload, rating, offers, alone, keep)
        )

    return tuple(
        _in_regions(name, workload, ground, nearness[name], predict) for name, workload in scenario.workloads.items()
    )


def _by_distance(workload: Workload, scenario: Scenario) -> dict[float, _Here]:
    """Round trip in ms -> the offers that far away on which the workload may be served."""
    found: dict[float, list[int]] = {}
    for s, offer in enumerate(scenario.inventory.values()):
        if scenario.may_serve(workload, offer):
            found.setdefault(scenario.round_trip_ms(workload, offer), []).append(s)
    return {round_trip_ms: tuple(here) for round_trip_ms, here in sorted(found.items())}


def _in_regions(
    name: str, workload: Workload, ground: _Ground, nearness: Mapping[float, _Here], predict: Predict
) -> Candidates:
    """The candidates on the offers where the workload may be served, rated for offers as far away together."""
    found = []
    for round_trip_ms, here in nearness.items():
        if workload.measured is not None:
            rated = _measured(name, workload, workload.measured, ground.near(here))
        else:
            rated = predict(name, workload.with_network(round_trip_ms), here)
        found.append(replace(rated, offer=np.array(here, np.int64)[rated.offer]))
    return found[0] if len(found) == 1 else _joined(found)


def _joined(found: Sequence[Candidates]) -> Candidates:
    """Candidates of one workload on disjoint offers as one, in the order of offers."""
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


_Kind = tuple[object, ...]


def _kind(workload: Workload) -> _Kind:
    """What decides which configurations are looked at: all but the requests and their targets."""
    w = workload
    degrees = (w.tp, w.pp, w.dp, w.max_batch_size, w.max_gpus_per_replica, w.speculative)
    return (w.models, w.engines, w.weight_dtypes, w.kv_cache_dtypes, w.min_quality_fraction, w.single_format, *degrees)


class _Ground:
    """Prepared configurations: for a kind of many workloads on the same offers once, for others when asked."""

    def __init__(
        self, scenario: Scenario, catalog: Catalog, nearness: Mapping[str, Mapping[float, _Here]], *, share: bool
    ) -> None:
        """`nearness` is the offers of each workload, by distance; without `share` all are prepared apart."""
        self.catalog, self._offers = catalog, list(scenario.inventory.values())
        asked: dict[tuple[_Kind, _Here], list[int]] = {}
        for name, workload in scenario.workloads.items():
            for here in nearness[name].values():
                asked.setdefault((_kind(workload), here), []).append(workload.max_context_tokens)
        self._longest = {key: max(tokens) for key, tokens in asked.items() if share and len(tokens) >= MANY}
        self._known: dict[tuple[_Kind, _Here, str, str, Speculation | None], tuple[Physics, Counter[str], int]] = {}

    def near(self, here: _Here) -> list[Offer]:
        """Those offers."""
        return [self._offers[s] for s in here]

    def physics(
        self, workload: Workload, here: _Here, model: str, engine: str, drafts: Speculation | None
    ) -> tuple[Physics, Counter[str], int]:
        """With what was rejected on the way, and how many configurations there were."""
        kind = _kind(workload)
        longest = self._longest.get((kind, here))
        if longest is None:
            return self._prepared(workload, here, model, engine, drafts)
        key = (kind, here, model, engine, drafts)
        if key not in self._known:
            physics, rejected, n = self._prepared(workload, here, model, engine, drafts)
            length = min(longest, self.catalog.models[model].max_context_tokens)
            if len(physics.configurations) and holds_at_every_length(physics.configurations):
                kept = worth_rating(physics, length, mix=not workload.single_format)
                physics = physics.take(kept).tabulated(length)
            self._known[key] = physics, rejected, n
        return self._known[key]

    def _prepared(
        self, workload: Workload, here: _Here, model: str, engine: str, drafts: Speculation | None
    ) -> tuple[Physics, Counter[str], int]:
        rejected: Counter[str] = Counter()
        configurations = enumerate_configurations(
            workload, self.near(here), self.catalog, model, engine, rejected, drafts
        )
        known = times_known(configurations, self.catalog.calibration)
        rejected["silicon tables"] += int((~known).sum())
        physics = Physics.of(configurations.take(known), batch_sizes(workload), self.catalog.calibration)
        return physics, rejected, len(configurations)


def _measured(
    name: str, workload: Workload, measured: Sequence[MeasuredReplica], offers: Sequence[Offer]
) -> Candidates:
    """Each measured replica on every offer of its card with enough GPUs per server; never across servers."""
    classes = [c.name for c in workload.request_classes]
    rows = [
        (s, ReplicaSpec(gpu=entry.gpu, gpus=entry.gpus), [entry.requests_per_s.get(c, 0.0) for c in classes])
        for s, offer in enumerate(offers)
        for entry in measured
        if entry.gpu == offer.gpu and entry.gpus <= offer.gpus_per_server
    ]
    return Candidates(
        workload=name,
        specs=tuple(spec for _, spec, _ in rows),
        offer=np.array([s for s, _, _ in rows], np.int64),
        gpus_per_replica=np.array([spec.gpus for _, spec, _ in rows], np.int64),
        rate_rps=np.array([rates for _, _, rates in rows], float).reshape(len(rows), len(classes)),
        n_evaluated=len(measured),
        rejected={"no offer of that GPU with enough GPUs a server": len(measured)} if not rows else {},
    )


def _rating(workload: Workload, here: _Here, ground: _Ground) -> Rating:
    """Every model on every engine, on the cards on offer."""
    rejected: Counter[str] = Counter()
    nearest_ms: dict[str, float] = {}
    found: list[Rated] = []
    n_evaluated = 0
    for model in workload.models:
        max_model_len = served_context_tokens(workload, ground.catalog.models[model].max_context_tokens)
        ways = [
            (engine, drafts)
            for engine in workload.engines
            for drafts in ways_to_draft(workload, ground.catalog.models[model], engine, ground.catalog.models)
        ]
        for engine, drafts in ways:
            physics, rejected_before, n = ground.physics(workload, here, model, engine, drafts)
            n_evaluated += n
            search = BatchSearch(workload, max_model_len)
            found.append(search.run(physics))
            rejected.update(rejected_before)
            rejected.update(search.rejected)
            for key, value in search.nearest_ms.items():
                nearest_ms[key] = min(value, nearest_ms.get(key, np.inf))
    n_evaluated += rejected["quality"] + rejected["format"]
    return Rating(tuple(found), n_evaluated, rejected, nearest_ms)


def _chosen(
    name: str, workload: Workload, rating: Rating, offers: Sequence[Offer], demand_alone_rps: float, keep: Kept
) -> Candidates:
    """What of a rating has a place on the offers and is worth keeping."""
    found = rating.found
    rate_rps = np.concatenate([rated.rate_rps for rated in found])
    gpus = np.concatenate([rated.configurations.gpus_per_replica for rated in found])
    card = np.concatenate([rated.card for rated in found])
    stage = np.concatenate([rated.configurations.gpus_per_stage for rated in found])
    holds = _holds(found, offers, stage, gpus)
    if keep == "undominated":
        choice = np.concatenate([rated.choice for rated in found])
        alone = alone_replicas(workload, rate_rps, demand_alone_rps)
        rows = Rows(numbered(card), numbered(choice), gpus, holds, rate_rps, alone)
        holds &= undominated(rows, mix=not workload.single_format)[:, None]
    elif keep == "every_structure":
        structure = np.char.add(card, np.concatenate([rated.structure for rated in found]))
        never = np.full(len(gpus), np.inf)
        rows = Rows(numbered(structure), np.zeros_like(gpus), gpus, holds, rate_rps, never)
        holds &= undominated(rows, mix=True)[:, None]
    kept = np.flatnonzero(holds.any(axis=1))
    specs = _specs(found, kept)
    offer_of, spec_of = np.nonzero(holds[kept].T)
    return Candidates(
        workload=name,
        specs=tuple(specs[k] for k in spec_of.tolist()),
        offer=offer_of,
        gpus_per_replica=gpus[kept[spec_of]],
        rate_rps=rate_rps[kept[spec_of]],
        n_evaluated=rating.n_evaluated,
        rejected=dict(+rating.rejected),
        nearest_ms=rating.nearest_ms,
    )


def _holds(found: Sequence[Rated], offers: Sequence[Offer], stage: IntArray, gpus: IntArray) -> BoolArray:
    """[n, S] whether an offer has a place for the replica, joined as the replica was rated."""
    number = {place: i for i, place in enumerate(dict.fromkeys(place for rated in found for place in rated.places))}
    place = np.concatenate(
        [np.array([number[p] for p in rated.places], np.int64)[rated.configurations.gpu] for rated in found]
    )
    columns = []
    for offer in offers:
        inside, across = (number[offer.gpu, links_on(offer, between_servers=many)] for many in (False, True))
        joined = place == np.where(gpus > offer.gpus_per_server, across, inside)
        columns.append(joined & server_holds(offer.gpus_per_server, stage, gpus))
    return np.stack(columns, axis=1)


def _specs(found: Sequence[Rated], rows: IntArray) -> list[ReplicaSpec]:
    """The specifications of some rows of all the rated configurations, counted through."""
    starts = np.cumsum([0, *(len(rated.max_batch_size) for rated in found)])
    which = np.searchsorted(starts, rows, side="right") - 1
    return [found[i].spec(int(row - starts[i])) for i, row in zip(which, rows, strict=True)]
