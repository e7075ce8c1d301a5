"""The candidates of every workload: enumerated, rated, pruned, and spread over the offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.ma  # np.unique loads it at its first call, which is in the middle of a solve

from catalog import Catalog
from optimizer.candidates.batch import BatchSearch, Rated, served_context_tokens
from optimizer.candidates.enumerate import batch_sizes, enumerate_configurations, server_holds
from optimizer.candidates.prune import Rows, undominated
from optimizer.candidates.ratings import Rating, Ratings, candidates_key, rating_key, shared_key
from optimizer.candidates.spec import Candidates, ReplicaSpec
from optimizer.scenario import MeasuredReplica, Offer, Scenario, Workload
from optimizer.serving_config import BoolArray, FloatArray, IntArray, StringArray, links_on

Predict = Callable[[str, Workload, Sequence[Offer]], Candidates]
"""The predicted candidates of a workload, by name, on some of the offers."""


def build_candidates(
    scenario: Scenario, catalog: Catalog, *, prune: bool = True, ratings: Ratings | None = None
) -> tuple[Candidates, ...]:
    """The candidates of every workload, in the scenario's order. `prune=False` keeps dominated ones, for tests.

    With `ratings`, what was rated for an earlier scenario is not rated again, and what is rated now is kept there (give
    it to calls of the same `prune` only).
    """
    shared = "" if ratings is None else shared_key(scenario, catalog)

    def predicted(name: str, workload: Workload, offers: Sequence[Offer]) -> Candidates:
        alone_rps = _alone_rps(workload, scenario)
        if ratings is None:
            return _chosen(name, workload, _rating(workload, offers, catalog), offers, alone_rps, prune)
        key = rating_key(shared, workload, offers)
        rating = ratings.rated.get(key, lambda: _rating(workload, offers, catalog))
        return ratings.candidates.get(
            candidates_key(key, name, alone_rps), lambda: _chosen(name, workload, rating, offers, alone_rps, prune)
        )

    return tuple(_in_regions(name, workload, scenario, predicted) for name, workload in scenario.workloads.items())


def _in_regions(name: str, workload: Workload, scenario: Scenario, predicted: Predict) -> Candidates:
    """The candidates on the offers where the workload may be served, rated for offers as far away together."""
    offers = list(scenario.inventory.values())
    by_distance: dict[float, list[int]] = {}
    for s, offer in enumerate(offers):
        if scenario.may_serve(workload, offer):
            by_distance.setdefault(scenario.round_trip_ms(workload, offer), []).append(s)
    found = []
    for round_trip_ms, here in sorted(by_distance.items()):
        near = [offers[s] for s in here]
        if workload.measured is not None:
            rated = _measured(name, workload, workload.measured, near)
        else:
            rated = predicted(name, workload.with_network(round_trip_ms), near)
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


def _rating(workload: Workload, offers: Sequence[Offer], catalog: Catalog) -> Rating:
    """Every model on every engine, on the cards on offer."""
    rejected: Counter[str] = Counter()
    nearest_ms: dict[str, float] = {}
    found: list[Rated] = []
    n_evaluated = 0
    for model in workload.models:
        max_model_len = served_context_tokens(workload, catalog.models[model].max_context_tokens)
        for engine in workload.engines:
            configurations = enumerate_configurations(workload, offers, catalog, model, engine, rejected)
            n_evaluated += len(configurations)
            search = BatchSearch(workload, max_model_len, catalog.calibration)
            found.append(search.run(configurations, batch_sizes(workload)))
            rejected.update(search.rejected)
            for key, value in search.nearest_ms.items():
                nearest_ms[key] = min(value, nearest_ms.get(key, np.inf))
    n_evaluated += rejected["quality"] + rejected["format"]
    return Rating(tuple(found), n_evaluated, rejected, nearest_ms)


def _chosen(
    name: str, workload: Workload, rating: Rating, offers: Sequence[Offer], alone_rps: float, prune: bool
) -> Candidates:
    """What of a rating has a place on the offers and is not dominated."""
    found = rating.found
    rate_rps = np.concatenate([rated.rate_rps for rated in found])
    gpus = np.concatenate([rated.configurations.gpus_per_replica for rated in found])
    card = np.concatenate([rated.card for rated in found])
    stage = np.concatenate([rated.configurations.gpus_per_stage for rated in found])
    holds = _holds(found, offers, stage, gpus)
    if prune:
        choice = np.concatenate([rated.choice for rated in found])
        alone = _alone(workload, rate_rps, alone_rps)
        rows = Rows(_numbered(card), _numbered(choice), gpus, holds, rate_rps, alone)
        holds &= undominated(rows, mix=not workload.single_format)[:, None]
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


def _alone_rps(workload: Workload, scenario: Scenario) -> float:
    """What replicas must do at full use to carry the workload alone, in the period of its highest demand."""
    most_rps = max(workload.demand_in(period) for period in range(scenario.periods))
    return most_rps / scenario.max_utilization_fraction


def _alone(workload: Workload, rate_rps: FloatArray, alone_rps: float) -> FloatArray:
    """[n] replicas that carry the whole demand by themselves; infinite where a class cannot be served."""
    demand_rps = alone_rps * np.array([c.share_fraction for c in workload.request_classes])
    busy = np.divide(demand_rps, rate_rps, out=np.full_like(rate_rps, np.inf), where=rate_rps > 0)
    replicas: FloatArray = busy.sum(axis=1)
    return replicas


def _numbered(names: StringArray) -> IntArray:
    """Each name's number, counted in the order of first appearance: of equals the first is kept."""
    _, first, number = np.unique(names, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def _specs(found: Sequence[Rated], rows: IntArray) -> list[ReplicaSpec]:
    """The specifications of some rows of all the rated configurations, counted through."""
    starts = np.cumsum([0, *(len(rated.max_batch_size) for rated in found)])
    which = np.searchsorted(starts, rows, side="right") - 1
    return [found[i].spec(int(row - starts[i])) for i, row in zip(which, rows, strict=True)]
