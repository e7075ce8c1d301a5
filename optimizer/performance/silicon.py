"""Step times from measured kernels: the tables of aiconfigurator-core, an optional extra, behind our own protocol.

Of that package only the stable facade `aiconfigurator_core.sdk` is used, and of it `EngineHandle`: one handle for each
model, card, format and degrees, never one for several. Its steps and prefills are tabulated once over batches and token
sizes; waiting, and what passes around a request, stay those of the calibrated model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from catalog.errors import InputError
from catalog.schema import Calibration
from optimizer.memory import ReplicaMemory
from optimizer.performance.constants import RowConstants
from optimizer.performance.mix import TokenMix
from optimizer.performance.replica import ReplicaPerformance, performance_with
from optimizer.performance.step import Prefill, StepParts
from optimizer.performance.work import Work
from optimizer.serving_config import Configurations, FloatArray

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
    "bf16": "bfloat16",
    "fp16": "bfloat16",
    "fp8": "fp8",
    "fp8-block": "fp8_block",
    "int8-w8a16": "int8_wo",
    "awq-int4": "int4_wo",
    "gptq-int4": "int4_wo",
    "nvfp4": "nvfp4",
}
"""Our weight formats -> its modes for matrix products and experts."""
CACHES = {"auto": None, "fp8": "fp8"}
"""Our KV cache formats -> its modes; none stated = what it takes for that checkpoint and backend."""
INSTALL = "silicon tables are an extra: pip install 'gpuplan[silicon]', or leave --performance out"
BATCHES = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])
TOKENS = np.array([64, 256, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072])


@dataclass(frozen=True, slots=True)
class Tables:
    """Milliseconds of one model on one card with one format and degrees."""

    decode_ms: FloatArray  # [B, T] of a step of so many sequences at that context
    prefill_ms: FloatArray  # [T] of one prompt

    def decode(self, batch: float, context_tokens: float) -> float:
        """Interpolated in the logarithms of batch and context."""
        of_batch = [np.interp(np.log(context_tokens), np.log(TOKENS), row) for row in self.decode_ms]
        return float(np.interp(np.log(batch), np.log(BATCHES), of_batch))

    def prefill(self, tokens: FloatArray) -> FloatArray:
        """Interpolated in the tokens."""
        return np.interp(tokens, TOKENS, self.prefill_ms)


@dataclass(frozen=True, slots=True)
class Silicon:
    """Step times of n configurations at a mix of requests."""

    tables: tuple[Tables, ...]  # [n]
    mix: TokenMix

    def decode(self, work: Work, constants: RowConstants, batch: FloatArray) -> StepParts:  # noqa: ARG002
        """The whole step counts as compute: the tables do not say what of it is reading."""
        per_rank = np.maximum(batch / work.dp, 1.0)
        context_tokens = np.broadcast_to(self.mix.attended_tokens(np.inf), per_rank.shape).tolist()
        rows = zip(self.tables, per_rank, context_tokens, strict=True)
        step_ms = np.array([one.decode(size, tokens) for one, size, tokens in rows])
        nothing = np.zeros_like(step_ms)
        return StepParts(*(step_ms if name == "compute" else nothing for name in StepParts._fields))

    def prefill(self, work: Work, constants: RowConstants) -> Prefill:  # noqa: ARG002
        """Launches stand in the tables already."""
        computed_tokens = self.mix.computed_tokens
        of_rows = np.broadcast_to(computed_tokens, (len(self.tables), computed_tokens.shape[-1]))
        tokens_ms = np.array([one.prefill(tokens) for one, tokens in zip(self.tables, of_rows, strict=True)])
        return Prefill(np.zeros(len(self.tables)), tokens_ms)


def silicon_performance(
    configurations: Configurations,
    memory: ReplicaMemory,
    mix: TokenMix,
    concurrency: FloatArray | None,
    calibration: Calibration,
) -> ReplicaPerformance:
    """A `PerformanceModel`; InputError without the extra, and for what its tables do not hold."""
    tables = tuple(_tables_of_row(configurations, row) for row in range(len(configurations)))
    return performance_with(Silicon(tables, mix), configurations, memory, mix, concurrency, calibration)


def _tables_of_row(configurations: Configurations, row: int) -> Tables:
    c = configurations
    gpu, weights = c.gpus[c.gpu[row]].id, c.weight_formats[c.weight_format[row]].id
    cache = c.kv_formats[c.kv_format[row]].id
    for what, name, known in (
        ("card", gpu, tuple(SYSTEMS)),
        ("engine", c.engine.id, ENGINES),
        ("weight format", weights, tuple(WEIGHTS)),
        ("KV cache format", cache, tuple(CACHES)),
    ):
        if name not in known:
            raise InputError(f"silicon tables do not know {what} {name}; they have {', '.join(known)}")
    if c.speculation is not None:
        raise InputError("silicon tables are not used with drafted tokens yet; leave one of them out")
    degrees = tuple(int(degree[row]) for degree in (c.tp, c.pp, c.dp, c.ep))
    published = c.model.checkpoint.weight_format
    mode = WEIGHTS["fp8-block" if (weights, published) == ("fp8", "fp8-block") else weights]
    return _tables(c.model.id, SYSTEMS[gpu], c.engine.id, mode, CACHES[cache], degrees)


@lru_cache(maxsize=256)
def _tables(
    model: str, system: str, backend: str, weights: str, cache: str | None, degrees: tuple[int, int, int, int]
) -> Tables:
    """Compiled and tabulated once; its handle is used for nothing else."""
    tp, pp, dp, ep = degrees
    handle_class = _facade().EngineHandle
    with _quiet():
        try:
            handle = handle_class.compile(
                model, system, backend, tp_size=tp, pp_size=pp, attention_dp_size=dp, moe_ep_size=ep,
                moe_tp_size=tp * dp // ep, gemm_quant_mode=weights, moe_quant_mode=weights, kvcache_quant_mode=cache,
            )  # fmt: skip
            decode_ms = [[handle.predict_decode_latency(int(b), int(t), 2) for t in TOKENS] for b in BATCHES]
            prefill_ms = [handle.predict_prefill_latency(1, int(t)) for t in TOKENS]
        except Exception as error:  # the facade raises errors of many kinds, its own and built-in ones
            what = f"{model} in {weights} on {system} ({backend}, tp {tp}, pp {pp}, dp {dp}, ep {ep})"
            reason = str(error).partition("\n")[0].partition(" at /")[0]
            raise InputError(f"silicon tables have no figures for {what}: {reason}") from None
    return Tables(np.array(decode_ms), np.array(prefill_ms))


def _facade() -> Any:
    try:
        return import_module("aiconfigurator_core.sdk")
    except ImportError:
        raise InputError(INSTALL) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the package's notes on rows that it takes from elsewhere."""
    logger = logging.getLogger("aiconfigurator_core")
    before, logger.level = logger.level, logging.CRITICAL
    try:
        yield
    finally:
        logger.level = before
