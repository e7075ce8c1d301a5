"""The rates of pipelines over several offers: each as its stages have it together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from catalog import Catalog
from optimizer.candidates.asked import token_mix
from optimizer.candidates.pipelines.rows import stage_rows
from optimizer.candidates.spec import ReplicaSpec
from optimizer.performance import LOAD_STEPS, RatedReplicas, largest_load
from optimizer.performance.capacity import decoding_of, lateness
from optimizer.performance.pipeline import pipeline_replicas, slowest_stages
from optimizer.scenario import Workload
from optimizer.serving_config import BoolArray, FloatArray, IntArray


def rated(
    specs: Sequence[ReplicaSpec], is_fullest: BoolArray, workload: Workload, catalog: Catalog
) -> tuple[list[ReplicaSpec], FloatArray]:
    """Those that hold every target for every class, with what keeps them from more, and their rates [n, R].

    `is_fullest` says of which a larger batch does not fit.
    """
    mix, targets = token_mix(workload), workload.planned_targets
    rows = stage_rows(specs, catalog)
    spec_of_row = [specs[number] for number in rows.replica.tolist()]
    budget = np.array([spec.max_num_batched_tokens for spec in spec_of_row], np.int64)
    batch = np.array([spec.max_batch_size for spec in spec_of_row], float)
    replicas = pipeline_replicas(*rows, budget, mix, batch, catalog.calibration)
    served = np.ones((len(batch), len(mix.names)), bool)
    load = largest_load(replicas, targets, served)
    held = lateness(replicas.at(decoding_of(load, replicas.most)), targets, served) <= 0.0
    found = RatedReplicas.at(replicas, load)
    slowest = slowest_stages(found.rate_rps, mix.share, rows.replica)
    beyond = replicas.at(decoding_of(np.minimum(load + 1, LOAD_STEPS), replicas.most))
    excess = [(beyond.statistic(t.metric, t.statistic) / t.limit_ms).max(axis=1) for t in targets]
    missed = np.argmax(excess, axis=0) if excess else np.zeros(len(batch), np.int64)
    all_held = np.ones(len(specs), bool)
    np.logical_and.at(all_held, rows.replica, held)
    kept, nearly_full = np.flatnonzero(all_held).tolist(), found.nearly_full

    def limit(number: int) -> str:
        row = int(slowest[number])
        if not targets or nearly_full[row]:
            return "memory" if is_fullest[number] else "max_batch_size"
        return targets[int(missed[row])].name

    return [replace(specs[number], limit=limit(number)) for number in kept], found.rate_rps[slowest[kept]]


def best(specs: Sequence[ReplicaSpec], rate_rps: FloatArray) -> IntArray:
    """Those of which none on the same offers, in the same choice of formats, serves every class as fast."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, spec in enumerate(specs):
        alike.setdefault((spec.choice, spec.tp, tuple(sorted(stage.offer for stage in spec.stages))), []).append(number)
    kept = []
    for here in alike.values():
        rates = rate_rps[here]
        covers = (rates[None, :] >= rates[:, None]).all(axis=2)  # [k, j] j serves all as fast as k
        earlier = np.arange(len(here))[None, :] < np.arange(len(here))[:, None]
        beats: BoolArray = np.logical_and(covers & ~np.eye(len(here), dtype=bool), ~covers.T | earlier)
        kept += np.array(here)[~beats.any(axis=1)].tolist()
    return np.array(sorted(kept), np.int64)
