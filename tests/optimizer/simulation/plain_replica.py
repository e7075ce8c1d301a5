"""A replica with round numbers, so that simulated times can be checked by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from optimizer.simulation import Requests, SimulatedReplica

STEP_MS = 10.0


def plain_replica(max_batch_size: int = 4, **changes: Any) -> SimulatedReplica:
    """Every step takes 10 ms, a prompt 1 ms a token on top, and the KV cache is endless."""
    plain = SimulatedReplica(
        decode_ms=np.full(max_batch_size + 1, STEP_MS),
        kv_share=np.ones(max_batch_size + 1),
        sizes=np.array([0.0, 1e6]),
        kv_ms=np.zeros(2),
        prefill_ms=np.array([0.0, 1e6]),
        launch_ms=0.0,
        alone_fraction=1.0,
        beside_fraction=1.0,
        request_ms=0.0,
        delivery_steps=1.0,
        max_batch_size=max_batch_size,
        max_batched_tokens=8192,
        computed_fraction=1.0,
        block_tokens=16,
        blocks=1e9,
        fixed_blocks=0.0,
        grows=True,
        reserves_output=False,
        tokens_per_step=1.0,
        checked_tokens=1,
    )
    return replace(plain, **changes)


def requests(arrived_ms: Any, input_tokens: Any, output_tokens: Any) -> Requests:
    """Requests of one class; single sizes hold for all of them."""
    arrived = np.asarray(arrived_ms, float)
    inputs, outputs = (np.broadcast_to(np.asarray(x, np.int64), arrived.shape) for x in (input_tokens, output_tokens))
    return Requests(arrived, np.zeros(len(arrived), np.int64), inputs, outputs)
