"""Step times from measured kernels: the tables of aiconfigurator-core, an optional extra, as a performance model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from catalog.errors import InputError
from catalog.schema import Calibration, Model
from catalog.schema.layers import LayerKind
from optimizer.performance.bands import POINT_ESTIMATE, margins_of
from optimizer.performance.constants import RowConstants
from optimizer.performance.kernel_tables import (
    BATCHES,
    TOKENS,
    KernelTable,
    NotTabulated,
    Question,
    Shape,
    kernel_table,
)
from optimizer.performance.step import Prefill, StepParts
from optimizer.performance.traits import trait_rows
from optimizer.performance.work import Work
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray

SYSTEMS = {
    "a100-80gb-sxm": "a100_sxm",
    "a100-80gb-pcie": "a100_pcie",
    "a30": "a30",
    "b200-sxm": "b200_sxm",
    "b300-sxm": "b300_sxm",
    "gb200": "gb200",
    "gb300": "gb300",
    "h100-pcie": "h100_pcie",
    "h100-sxm": "h100_sxm",
    "h200-sxm": "h200_sxm",
    "l4": "l4",
    "l40s": "l40s",
    "rtx-pro-6000-blackwell-server": "rtx_pro_6000_server",
}
"""Our cards -> systems/*.yaml of aiconfigurator-core 0.12.0."""
ENGINES = ("vllm", "sglang", "trtllm")
WEIGHTS = {
    "bf16": ("bfloat16", "bfloat16"),
    "fp16": ("bfloat16", "bfloat16"),
    "fp8": ("fp8", "fp8"),
    "fp8-block": ("fp8_block", "fp8_block"),
    "int8-w8a16": ("int8_wo", "int8_wo"),
    "awq-int4": ("int4_wo", "int4_wo"),
    "gptq-int4": ("int4_wo", "int4_wo"),
    "mxfp4": ("bfloat16", "w4a16_mxfp4"),
    "nvfp4": ("nvfp4", "nvfp4"),
}
"""Our weight formats -> its modes for matrix products and for experts."""
CACHES = {"auto": None, "fp8": "fp8"}
"""Our KV cache formats -> its modes; none stated = what it takes for that checkpoint and backend."""
SAME_SHAPES = {
    "deepseek-ai/DeepSeek-V3.1": "deepseek-ai/DeepSeek-V3",
    "mistralai/Mixtral-8x22B-Instruct-v0.1": "mistralai/Mixtral-8x22B-v0.1",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "mistralai/Mixtral-8x7B-v0.1",
    "Qwen/Qwen3-235B-A22B-Instruct-2507": "Qwen/Qwen3-235B-A22B",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "Qwen/Qwen3-30B-A3B",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": "Qwen/Qwen3-30B-A3B",
}
"""Models that it has under the name of another one of the same layers and sizes, by their configurations."""
REFERENCE_BATCH = 64
"""At which a sequence's own part of a step is taken; from 8 on it hardly depends on the batch."""


@dataclass(frozen=True, slots=True)
class Silicon:
    """Step times of n configurations; B batches of an attention rank and T sizes, between which they are straight."""

    decode_ms: FloatArray  # [n, B, T] of a step of so many sequences at that context
    prefill_ms: FloatArray  # [n, T] of one prompt

    def decode(self, work: Work, constants: RowConstants, batch: FloatArray) -> StepParts:  # noqa: ARG002
        """What a longer context adds is the KV cache; the tables do not part reading weights from arithmetic."""
        sequences = np.maximum(np.maximum(batch / work.pp, 1.0) / work.dp, 1.0)
        step_ms = self._decode_ms(sequences, work.context_tokens)
        without = self._decode_ms(sequences, TOKENS[0])
        parts = {name: np.zeros_like(step_ms) for name in StepParts._fields}
        return StepParts(**(parts | {"kv": step_ms - without, "compute": without}))

    def curve(self, work: Work, constants: RowConstants) -> SiliconCurve:  # noqa: ARG002
        """The tables at the mean context."""
        t, part = _between(TOKENS, np.broadcast_to(work.context_tokens, len(self.decode_ms)))
        row = np.arange(len(t))
        shorter, longer = self.decode_ms[row, :, t], self.decode_ms[row, :, t + 1]
        by_batch_ms = shorter * (1.0 - part)[:, None] + longer * part[:, None]
        return SiliconCurve(by_batch_ms, np.broadcast_to(work.pp, len(t)), np.broadcast_to(work.dp, len(t)))

    def sequence_ms(self, work: Work, constants: RowConstants) -> FloatArray:  # noqa: ARG002
        """At a batch of some size."""
        sequences = np.full(len(self.decode_ms), float(REFERENCE_BATCH))
        added = self._decode_ms(sequences, work.context_tokens) - self._decode_ms(sequences, TOKENS[0])
        return added / REFERENCE_BATCH

    def prefill(self, work: Work, constants: RowConstants) -> Prefill:  # noqa: ARG002
        """What the shortest prompt takes are launches; of b·t + c·t² beyond, c·t² is half of it at 2t less all at t."""
        launch_ms = self.prefill_ms[:, 0]
        tokens_ms = self._prefill_ms(work.prompt_tokens) - launch_ms[:, None]
        twice_ms = self._prefill_ms(2.0 * work.prompt_tokens) - launch_ms[:, None]
        return Prefill(launch_ms, tokens_ms, attention=np.clip(twice_ms / 2.0 - tokens_ms, 0.0, tokens_ms))

    def take(self, rows: IntArray) -> Silicon:
        """The chosen configurations, in that order."""
        return Silicon(self.decode_ms[rows], self.prefill_ms[rows])

    def columns(self) -> list[FloatArray]:
        """All of the tables, prefills with and without launches: what is no larger anywhere is no larger between."""
        beyond_launch = self.prefill_ms - self.prefill_ms[:, :1]
        return [*self.decode_ms.reshape(len(self.decode_ms), -1).T, *self.prefill_ms.T, *beyond_launch.T]

    def _decode_ms(self, sequences: FloatArray, context_tokens: FloatArray) -> FloatArray:
        """Of one configuration at many batches, or of n at one each."""
        row = np.broadcast_to(np.arange(len(self.decode_ms)), sequences.shape)
        b, part_b = _between(BATCHES, sequences)
        t, part_t = _between(TOKENS, np.broadcast_to(context_tokens, sequences.shape))
        less, more = (
            self.decode_ms[row, at, t] * (1.0 - part_t) + self.decode_ms[row, at, t + 1] * part_t for at in (b, b + 1)
        )
        return less * (1.0 - part_b) + more * part_b

    def _prefill_ms(self, tokens: FloatArray) -> FloatArray:
        """[n, R] of prompts [n, R]."""
        row = np.arange(len(self.prefill_ms))[:, None]
        t, part = _between(TOKENS, tokens)
        return self.prefill_ms[row, t] * (1.0 - part) + self.prefill_ms[row, t + 1] * part


@dataclass(frozen=True, slots=True)
class SiliconCurve:
    """Step times of n configurations at B batches of an attention rank, straight between them."""

    by_batch_ms: FloatArray  # [n, B]
    pp: FloatArray  # [n]
    dp: FloatArray  # [n]

    def ms(self, batch: FloatArray) -> FloatArray:
        """[n] of steps of `batch` [n] sequences."""
        b, part = _between(BATCHES, np.maximum(np.maximum(batch / self.pp, 1.0) / self.dp, 1.0))
        row = np.arange(len(b))
        return self.by_batch_ms[row, b] * (1.0 - part) + self.by_batch_ms[row, b + 1] * part

    def take(self, rows: IntArray) -> SiliconCurve:
        """The chosen rows, in that order."""
        return SiliconCurve(self.by_batch_ms[rows], self.pp[rows], self.dp[rows])

    @classmethod
    def together(cls, parts: Sequence[SiliconCurve]) -> SiliconCurve:
        """All rows, one part after the other."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


def _between(grid: FloatArray, values: FloatArray) -> tuple[IntArray, FloatArray]:
    """The interval of the grid in which each value lies and how far; beyond its end the last one goes on."""
    at = np.clip(np.searchsorted(grid, values, side="right") - 1, 0, len(grid) - 2)
    return at, np.maximum((values - grid[at]) / (grid[at + 1] - grid[at]), 0.0)


def silicon_knows(configurations: Configurations) -> BoolArray:
    """[n] those that the tables hold."""
    return np.array([isinstance(one, KernelTable) for one in _of_rows(configurations)], np.bool_)


def silicon_times(configurations: Configurations, calibration: Calibration) -> Silicon:
    """The times of n configurations; InputError without the extra, and for what the tables do not hold."""
    found: list[KernelTable] = []
    for one in _of_rows(configurations):
        if isinstance(one, NotTabulated):
            raise InputError(f"silicon tables {one.reason}")
        found.append(one)
    decode_ms = np.array([one.decode_ms for one in found]).reshape(-1, len(BATCHES), len(TOKENS))
    prefill_ms = np.array([one.prefill_ms for one in found]).reshape(-1, len(TOKENS))
    if calibration.confidence_fraction == POINT_ESTIMATE:
        return Silicon(decode_ms, prefill_ms)
    margins = margins_of(trait_rows(configurations, calibration), calibration)
    return Silicon(decode_ms * margins.tpot[:, None, None], prefill_ms * margins.ttft[:, None])


def _of_rows(configurations: Configurations) -> list[KernelTable | NotTabulated]:
    """What the tables say of each configuration; the links of an offer are none of their keys."""
    c = configurations
    columns = np.stack([c.gpu, c.weight_format, c.kv_format, c.tp, c.pp, c.dp, c.ep], axis=1)
    alike, of = np.unique(columns, axis=0, return_inverse=True)
    found = [_of_one(c, *one) for one in alike.tolist()]
    return [found[i] for i in of.ravel().tolist()]


def _of_one(
    c: Configurations, gpu: int, weights: int, cache: int, tp: int, pp: int, dp: int, ep: int
) -> KernelTable | NotTabulated:
    card, weight_format, kv_format = c.gpus[gpu].id, c.weight_formats[weights].id, c.kv_formats[cache].id
    for what, name, known in (
        ("card", card, tuple(SYSTEMS)),
        ("engine", c.engine.id, ENGINES),
        ("weight format", weight_format, tuple(WEIGHTS)),
        ("KV cache format", kv_format, tuple(CACHES)),
    ):
        if name not in known:
            return NotTabulated(f"do not know {what} {name}; they have {', '.join(known)}")
    if c.speculation is not None:
        return NotTabulated("say nothing of drafted tokens; leave one of them out")
    published = c.model.checkpoint.weight_format
    products, experts = WEIGHTS["fp8-block" if (weight_format, published) == ("fp8", "fp8-block") else weight_format]
    shape = _shape(c.model)
    model = SAME_SHAPES.get(c.model.id, c.model.id)
    degrees = (tp, pp, dp, ep)
    return _known(Question(model, shape, SYSTEMS[card], c.engine.id, products, experts, CACHES[kv_format], degrees))


def _shape(model: Model) -> Shape | None:
    """Of a plain dense model; None for any other."""
    attention, mlp = model.attention, model.mlp
    if attention is None or mlp is None or set(model.layer_kinds) != {LayerKind("full", "dense")}:
        return None
    special = attention.sinks or attention.key_is_value or attention.gate != "none" or not mlp.gated
    if special or model.other_tensors or attention.value_head_dim not in (None, attention.head_dim):
        return None
    return Shape(
        hidden_size=model.hidden_size,
        num_hidden_layers=model.n_layers,
        num_attention_heads=attention.heads,
        num_key_value_heads=attention.kv_heads,
        head_dim=attention.head_dim,
        intermediate_size=mlp.intermediate_size,
        vocab_size=model.vocab_size,
        max_position_embeddings=model.max_context_tokens,
        tie_word_embeddings=model.tied_embeddings,
    )


@lru_cache(maxsize=8192)
def _known(question: Question) -> KernelTable | NotTabulated:
    """Kept in memory for the length of a run: about 1 KB each."""
    return kernel_table(question)
