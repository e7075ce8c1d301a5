"""What an engine is asked, and what it answers, when it sizes the memory of many replicas at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from catalog.schema import Gpu, KvFormat, Model, TensorRole, WeightFormat
from catalog.schema.engine import BatchDefaults, EngineRules
from optimizer.memory.stages import ModelParts, Stage, StageRows, limiting_stages
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray

ROCM_VENDOR = "AMD"


@dataclass(frozen=True, slots=True)
class Settings:
    """The flags that memory depends on, after defaults; arrays [n]."""

    max_num_seqs: IntArray
    max_num_batched_tokens: IntArray
    utilization_fraction: FloatArray


@dataclass(frozen=True, slots=True)
class Request:
    """The flags as asked for; None = the engine's own default."""

    configurations: Configurations
    visible_gib: list[float]
    """Of each distinct card."""
    max_model_len: IntArray  # [n]
    max_num_seqs: IntArray | None  # [n]
    max_num_batched_tokens: IntArray | None  # [n]
    utilization_fraction: FloatArray | float | None


@dataclass(frozen=True, slots=True)
class Job:
    """n replicas of one model to be sized; arrays [n]."""

    model: Model
    parts: ModelParts
    weight_formats: tuple[WeightFormat, ...]
    kv_formats: tuple[KvFormat, ...]
    bits: Mapping[TensorRole, FloatArray]
    """Role -> bits per weight, scales included, in each of the weight formats."""
    weight_format: IntArray
    kv_format: IntArray
    tp: IntArray
    pp: IntArray
    dp: IntArray
    ep: IntArray
    visible_gib: FloatArray
    fast_link: BoolArray
    """The card has a link of its own, and it joins all tp ranks."""
    max_model_len: IntArray
    max_num_seqs: IntArray
    max_num_batched_tokens: IntArray
    utilization_fraction: FloatArray
    enforce_eager: bool
    unified: BoolArray
    """Host and GPU share one memory."""
    rocm: BoolArray
    """An AMD card."""
    cuda_capability: FloatArray
    """Of an NVIDIA card; inf = another vendor's."""
    max_loras: int = 0
    """Adapters held at once."""
    lora_rank: int = 0

    def take(self, rows: IntArray) -> Job:
        """The chosen rows, in that order."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen: dict[str, Any] = {name: c[rows] for name, c in columns.items() if isinstance(c, np.ndarray)}
        return replace(self, **chosen)


@dataclass(frozen=True, slots=True)
class CacheLayout:
    """How sequences use the cache of a rank, or of the ranks of several stages; K classes of layers hand out blocks."""

    block_bytes: FloatArray  # [n, K] of one block, over all layers of the class on the rank
    block_tokens: FloatArray  # [n, K]
    cap_tokens: FloatArray  # [n, K] a sequence stops growing here; inf = never; 1 = a constant per sequence
    extra_blocks: FloatArray  # [n, K]
    pool_share: FloatArray | None
    """[n, P] P pools over the KV pool, of as many classes each: where classes or stages have their own; None = one."""
    token_bytes: FloatArray  # [n] pool / tokens, as the engine counts them
    token_step: FloatArray  # [n] tokens are counted in steps of this many
    state_bytes: FloatArray  # [n] constant per sequence
    unit_bytes: FloatArray  # [n] the smallest piece of the pool that is handed out: a block of one group of layers

    def take(self, rows: IntArray) -> CacheLayout:
        """The chosen rows, in that order."""
        chosen: list[Any] = [None if (c := getattr(self, f.name)) is None else c[rows] for f in fields(self)]
        return CacheLayout(*chosen)

    def sequences(self, pool_bytes: FloatArray, tokens: FloatArray) -> FloatArray:
        """[n] sequences of so many tokens that fit at once."""
        return self.holding(pool_bytes, self.used_bytes(tokens))

    def used_bytes(self, tokens: FloatArray) -> FloatArray:
        """[n, K] by a sequence of so many tokens [n]."""
        length = np.minimum(tokens[:, None], self.cap_tokens)
        used: FloatArray = self.block_bytes * (np.ceil(length / self.block_tokens) + self.extra_blocks)
        return used

    def holding(self, pool_bytes: FloatArray, used_bytes: FloatArray) -> FloatArray:
        """[n] sequences that fit at once, each of which uses that much [n, K]."""
        pool, alike = np.maximum(pool_bytes, 0.0), used_bytes.shape[1] == 1
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.pool_share is None:
                sequences = pool / (used_bytes[:, 0] if alike else used_bytes.sum(axis=1))
            else:
                of_pool = used_bytes.reshape(*self.pool_share.shape, -1).sum(axis=2)
                sequences = np.where(of_pool > 0, pool[:, None] * self.pool_share / of_pool, np.inf).min(axis=1)
        return np.where(np.isnan(sequences), 0.0, sequences)


@dataclass(frozen=True, slots=True)
class Sized:
    """Memory of the ranks of n stages, GiB; arrays [n]."""

    budget_gib: FloatArray
    weights_gib: FloatArray
    activation_gib: FloatArray
    non_torch_gib: FloatArray
    cuda_graph_gib: FloatArray
    kv_cache_gib: FloatArray
    """Left for the KV cache; negative = what is missing."""
    layout: CacheLayout
    reason: NDArray[np.int8]
    """Index into REASONS of what stops this rank, apart from a KV cache that is too small; 0 = nothing."""

    def take(self, rows: IntArray) -> Sized:
        """The chosen rows, in that order."""
        return Sized(*(getattr(self, f.name).take(rows) for f in fields(self)))


class EngineMemory(Protocol):
    """One engine's start-up arithmetic."""

    @property
    def pool_parts(self) -> tuple[str, ...]:
        """Parts whose errors the size of the KV cache carries."""

    @property
    def takes_whole_contexts(self) -> bool:
        """Whether the cache of max_num_seqs sequences of max_model_len is taken at start, and not as they come."""

    def settings(self, request: Request) -> Settings:
        """The flags, with this engine's defaults filled in."""

    def most_fraction(self, job: Job) -> FloatArray:
        """[n] of memory that a plan may ask for, where `job` has the default; with that or less the engine starts."""

    def weights_gib(self, job: Job, stage: Stage) -> FloatArray:
        """[n] on every rank that holds this stage, whatever the flags."""

    def beside_weights(self, job: Job) -> FloatArray:
        """[formats, m] what each takes apart from its weights: with no larger number it takes no more, at any flags."""

    def size(self, job: Job, stages: StageRows, weights: FloatArray) -> Sized:
        """Memory of every rank that holds the stage of its row, with its weights [n] in GiB."""


def every_stage(job: Job) -> tuple[IntArray, IntArray, StageRows]:
    """Every stage that may limit some replica of the job, first those of all replicas, then the second ones …

    [m] which of its replica's stages it is, [m] row of its replica, and the stages themselves.
    """
    n_of_depth = np.bincount(job.pp, minlength=2)
    of_depth = [stages_at(job, depth) if n or depth == 1 else () for depth, n in enumerate(n_of_depth.tolist())]
    stages, n_stages = [stage for some in of_depth for stage in some], np.array([len(some) for some in of_depth])
    first = (np.cumsum(n_stages) - n_stages)[job.pp]
    column, row = np.nonzero(np.arange(n_stages.max())[:, None] < n_stages[job.pp])
    return column, row, StageRows.of(stages, first[row] + column)


def stages_at(job: Job, depth: int) -> tuple[Stage, ...]:
    """Those that may limit a replica cut into so many."""
    return limiting_stages(job.model, min(depth, len(job.parts.architecture.layers)))


def context_gib(job: Job, rules: EngineRules) -> FloatArray:
    """[n] memory that is taken before the engine measures anything."""
    several = job.tp * job.dp * job.pp > 1
    context = np.where(several & job.fast_link, rules.context_fast_link_gib, rules.context_gib)
    return context + np.where(job.unified, rules.unified_host_gib, 0.0)


def by_card(configurations: Configurations, values: list[Any]) -> NDArray[Any]:
    """[n] a value per distinct card, spread over the rows."""
    return np.asarray(values)[configurations.gpu]


def first_row_for(gpu: Gpu, visible_gib: float, rows: tuple[BatchDefaults, ...]) -> BatchDefaults:
    """The first row of defaults that fits a card; the last when none does."""
    for row in rows:
        meant = gpu.id.startswith(row.gpus or ("",)) and not gpu.id.startswith(row.not_gpus)
        if meant and visible_gib >= row.min_visible_memory_gib:
            return row
    return rows[-1]
