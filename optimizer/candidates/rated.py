"""Configurations of one workload, each at the batch and the load that it holds the targets with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.candidates.spec import ReplicaSpec
from optimizer.serving_config import Configurations, FloatArray, IntArray, Links, StringArray


@dataclass(frozen=True, slots=True)
class Rated:
    """Configurations at their largest batch, with what each class gets."""

    configurations: Configurations  # [n]
    holds: IntArray  # [n, words] the offers with a place for the replica, as bits
    max_model_len: int
    max_batch_size: IntArray  # [n]
    step_tokens: IntArray  # [n] 0 = the engine's default
    rate_rps: FloatArray  # [n, R] 0 where the class misses a target
    limit: tuple[str, ...]  # [n] what stops a larger batch or load
    classes: tuple[str, ...]  # [R]

    @property
    def card(self) -> StringArray:
        """[n] id of the GPU."""
        return np.array([gpu.id for gpu in self.configurations.gpus])[self.configurations.gpu]

    @property
    def places(self) -> tuple[tuple[str, Links | None], ...]:
        """For each of the configurations' cards its id and what joins it to others."""
        c = self.configurations
        return tuple((gpu.id, links) for gpu, links in zip(c.gpus, c.links_of_cards, strict=True))

    @property
    def choice(self) -> StringArray:
        """[n] model and weight format, of which `single_format` allows one."""
        c = self.configurations
        return np.array([f"{c.model.id} {weights.id}" for weights in c.weight_formats])[c.weight_format]

    @property
    def structure(self) -> StringArray:
        """[n] model, weight format and degrees: what makes one plan different in kind from another."""
        c = self.configurations
        degrees = [f" {tp} {pp} {dp} {ep}" for tp, pp, dp, ep in np.stack([c.tp, c.pp, c.dp, c.ep], axis=1).tolist()]
        drafts = f" {c.speculation.method}" if c.speculation else ""
        return np.char.add(self.choice, np.array([f"{one}{drafts}" for one in degrees], str))

    def spec(self, row: int) -> ReplicaSpec:
        """One row by itself."""
        c, served = self.configurations, self.rate_rps[row] > 0
        return ReplicaSpec(
            gpu=c.gpus[c.gpu[row]].id,
            gpus=int(c.gpus_per_replica[row]),
            model=c.model.id,
            weight_dtype=c.weight_formats[c.weight_format[row]].id,
            kv_cache_dtype=c.kv_formats[c.kv_format[row]].id,
            engine=c.engine.id,
            tp=int(c.tp[row]),
            pp=int(c.pp[row]),
            dp=int(c.dp[row]),
            ep=int(c.ep[row]),
            max_batch_size=int(self.max_batch_size[row]),
            max_model_len=self.max_model_len,
            max_num_batched_tokens=int(self.step_tokens[row]) or None,
            links=c.links_of_cards[c.gpu[row]],
            speculation=c.speculation,
            limit=self.limit[row],
            serves=() if served.all() else tuple(name for name, s in zip(self.classes, served, strict=True) if s),
        )
