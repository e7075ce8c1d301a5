"""The candidates of every workload: enumerated, rated, pruned, and spread over the offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from catalog import Catalog
from optimizer.candidates.batch import BatchSearch, Rated, served_context_tokens
from optimizer.candidates.enumerate import batch_sizes, enumerate_configurations, offer_holds
from optimizer.candidates.prune import undominated
from optimizer.candidates.spec import Candidates, ReplicaSpec
from optimizer.scenario import MeasuredReplica, Offer, Scenario, Workload
from optimizer.serving_config import BoolArray, FloatArray


def build_candidates(scenario: Scenario, catalog: Catalog, *, prune: bool = True) -> tuple[Candidates, ...]:
    """The candidates of every workload, in the scenario's order. `prune=False` keeps dominated ones, for tests."""
    offers = list(scenario.inventory.values())
    return tuple(
        _measured(name, workload, workload.measured, offers)
        if workload.measured is not None
        else _predicted(name, workload, offers, catalog, prune)
        for name, workload in scenario.workloads.items()
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


def _predicted(name: str, workload: Workload, offers: Sequence[Offer], catalog: Catalog, prune: bool) -> Candidates:
    rejected: Counter[str] = Counter()
    nearest_ms: dict[str, float] = {}
    specs: list[ReplicaSpec] = []
    rates: list[FloatArray] = []
    sizes = batch_sizes(workload)
    n_evaluated = 0
    for model in workload.models:
        max_model_len = served_context_tokens(workload, catalog.models[model].max_context_tokens)
        for engine in workload.engines:
            configurations = enumerate_configurations(workload, offers, catalog, model, engine, rejected)
            n_evaluated += len(configurations)
            search = BatchSearch(workload, max_model_len, catalog.calibration)
            rated = search.run(configurations, sizes)
            rejected.update(search.rejected)
            for key, value in search.nearest_ms.items():
                nearest_ms[key] = min(value, nearest_ms.get(key, np.inf))
            specs += _specs(rated, max_model_len)
            rates.append(rated.rate_rps)
    n_evaluated += rejected["quality"] + rejected["format"]
    rate_rps = np.concatenate(rates)
    holds = np.array([[_fits(spec, offer) for offer in offers] for spec in specs], bool).reshape(
        len(specs), len(offers)
    )
    if prune:
        holds &= _keep(specs, holds, rate_rps, mix=not workload.single_format)[:, None]
    offer_of, spec_of = np.nonzero(holds.T)
    return Candidates(
        workload=name,
        specs=tuple(specs[k] for k in spec_of),
        offer=offer_of,
        gpus_per_replica=np.array([specs[k].gpus for k in spec_of], np.int64),
        rate_rps=rate_rps[spec_of],
        n_evaluated=n_evaluated,
        rejected=dict(+rejected),
        nearest_ms=nearest_ms,
    )


def _specs(rated: Rated, max_model_len: int) -> list[ReplicaSpec]:
    c = rated.configurations
    columns = (c.gpu, c.weight_format, c.kv_format, c.tp, c.pp, c.dp, c.ep, rated.max_batch_size)
    return [
        ReplicaSpec(
            gpu=c.gpus[g].id,
            gpus=tp * pp * dp,
            model=c.model.id,
            weight_dtype=c.weight_formats[w].id,
            kv_cache_dtype=c.kv_formats[k].id,
            engine=c.engine.id,
            tp=tp,
            pp=pp,
            dp=dp,
            ep=ep,
            max_batch_size=batch,
            max_model_len=max_model_len,
            limit=limit,
        )
        for g, w, k, tp, pp, dp, ep, batch, limit in zip(*(a.tolist() for a in columns), rated.limit, strict=True)
    ]


def _keep(specs: Sequence[ReplicaSpec], holds: BoolArray, rate_rps: FloatArray, *, mix: bool) -> BoolArray:
    cards = {gpu: i for i, gpu in enumerate(dict.fromkeys(spec.gpu for spec in specs))}
    choices = {choice: i for i, choice in enumerate(dict.fromkeys(spec.choice for spec in specs))}
    return undominated(
        card=np.array([cards[spec.gpu] for spec in specs], np.int64),
        choice=np.array([choices[spec.choice] for spec in specs], np.int64),
        gpus=np.array([spec.gpus for spec in specs], np.int64),
        holds=holds,
        rate_rps=rate_rps,
        mix=mix,
    )


def _fits(spec: ReplicaSpec, offer: Offer) -> bool:
    assert spec.tp is not None and spec.pp is not None and spec.dp is not None, "predicted replicas have degrees"
    return spec.gpu == offer.gpu and offer_holds(offer, spec.tp, spec.pp, spec.dp)
