"""Replicas whose pipeline stages differ as their scheduler sees them: one replica at the pace of its stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from catalog import Catalog
from optimizer.candidates import ReplicaSpec
from optimizer.candidates.pipelines import stage_rows
from optimizer.layout import ReplicaGroup
from optimizer.memory import replica_memory
from optimizer.performance import TokenMix
from optimizer.serving_config import FloatArray
from optimizer.simulation.replica import SimulatedReplica, simulated_replica


def pipeline_replica(spec: ReplicaSpec, group: ReplicaGroup, mix: TokenMix, catalog: Catalog) -> SimulatedReplica:
    """One replica of a group by its specification with links.

    A step, a prompt and a look into the cache take what the slowest stage makes of them, where stages work at once, or
    what all take in turn; the cache is that of the stage which holds the fewest requests.
    """
    configurations, spans, _ = stage_rows([spec], catalog)
    places, longest = int(group.max_batch_size or 1), int(group.max_model_len or 1)
    stages, held = [], []
    for row in np.arange(len(spans))[:, None]:
        one = configurations.take(row)
        memory = replica_memory(
            one,
            max_model_len=longest,
            max_num_seqs=places,
            max_num_batched_tokens=group.max_num_batched_tokens,
            gpu_memory_utilization=group.gpu_memory_utilization,
            with_margin=True,
            spans=spans[row],
        )
        held.append(float(memory.max_concurrency[0]))
        stages.append(simulated_replica(one, memory, mix, catalog.calibration, max_model_len=longest, span=spans[row]))
    joined = np.sum if configurations.engine.stages_take_turns else np.max
    return _together(stages, stages[held.index(min(held))], joined).with_batch(places)


def _together(
    stages: Sequence[SimulatedReplica], fullest: SimulatedReplica, joined: Callable[..., FloatArray]
) -> SimulatedReplica:
    """With the tables of all stages joined; what passes once a request is that of the stage that takes longest."""
    return replace(
        fullest,
        decode_ms=joined([one.decode_ms for one in stages], axis=0),
        kv_ms=joined([one.kv_ms for one in stages], axis=0),
        prefill_ms=joined([one.prefill_ms for one in stages], axis=0),
        launch_ms=float(joined([one.launch_ms for one in stages])),
        alone_fraction=max(one.alone_fraction for one in stages),
        beside_fraction=max(one.beside_fraction for one in stages),
        request_ms=max(one.request_ms for one in stages),
        delivery_steps=max(one.delivery_steps for one in stages),
    )
