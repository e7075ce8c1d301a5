"""Configurations of one workload, each at the batch and the load that it holds the targets with."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress

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

    def specs(self, rows: IntArray) -> list[ReplicaSpec]:
        """The chosen rows, each by itself."""
        c, served = self.configurations.take(rows), (self.rate_rps[rows] > 0).tolist()
        cards = [(gpu.id, links) for gpu, links in zip(c.gpus, c.links_of_cards, strict=True)]
        columns = (c.gpu, c.weight_format, c.kv_format, c.tp, c.pp, c.dp, c.ep, c.gpus_per_replica)
        flags = (self.max_batch_size[rows], self.step_tokens[rows])
        numbers = zip(*(column.tolist() for column in (*columns, *flags)), strict=True)
        limits = [self.limit[row] for row in rows.tolist()]
        return [
            ReplicaSpec(
                gpu=cards[g][0],
                gpus=gpus,
                model=c.model.id,
                weight_dtype=c.weight_formats[w].id,
                kv_cache_dtype=c.kv_formats[k].id,
                engine=c.engine.id,
                tp=tp,
                pp=pp,
                dp=dp,
                ep=ep,
                max_batch_size=batch,
                max_model_len=self.max_model_len,
                max_num_batched_tokens=tokens or None,
                links=cards[g][1],
                speculation=c.speculation,
                limit=limit,
                serves=() if all(serves) else tuple(compress(self.classes, serves)),
            )
            for (g, w, k, tp, pp, dp, ep, gpus, batch, tokens), limit, serves in zip(
                numbers, limits, served, strict=True
            )
        ]
