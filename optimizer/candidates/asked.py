"""What one workload asks of the replicas of one model on one engine."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from optimizer.candidates.physics import Physics
from optimizer.performance import TokenMix
from optimizer.scenario import Workload
from optimizer.serving_config import IntArray

CONTEXT_BLOCK_TOKENS = 16
"""max_model_len is rounded up to whole KV blocks of this size (vLLM's default block)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A workload, and the configurations that may serve it."""

    workload: Workload
    physics: Physics
    rows: IntArray
    """[n] of the physics."""
    holds: IntArray
    """[physics, words] the offers with a place for each configuration of the physics, as bits."""

    @property
    def max_model_len(self) -> int:
        """Of every replica."""
        return served_context_tokens(self.workload, self.physics.configurations.model.max_context_tokens)

    @property
    def kind(self) -> Hashable:
        """What is the same for all that are rated at once."""
        workload = self.workload
        targets = tuple(target.name for target in workload.planned_targets)
        budgets = len(workload.max_num_batched_tokens or ())
        classes = len(workload.request_classes)
        return (targets, classes, workload.arrival_cv, workload.max_batch_size, budgets)


def token_mix(workload: Workload) -> TokenMix:
    """The workload's request classes as the performance model takes them."""
    classes = workload.request_classes
    return TokenMix(
        names=tuple(c.name for c in classes),
        share=np.array([c.share_fraction for c in classes], float),
        input_tokens=np.array([c.input_tokens for c in classes], float),
        output_tokens=np.array([c.output_tokens for c in classes], float),
        prefix_hit_fraction=workload.prefix_hit_fraction,
        input_sigma=np.array([c.input_sigma for c in classes]),
        output_sigma=np.array([c.output_sigma for c in classes]),
        arrival_cv=workload.arrival_cv,
    )


def served_context_tokens(workload: Workload, model_max_tokens: int) -> int:
    """max_model_len of a replica: the longest request, rounded up to whole blocks as far as the model goes.

    A request beyond the model's maximum stays beyond it, and the memory model rejects the replica for that.
    """
    blocks = -(-workload.max_context_tokens // CONTEXT_BLOCK_TOKENS)
    return min(blocks * CONTEXT_BLOCK_TOKENS, max(model_max_tokens, workload.max_context_tokens))
