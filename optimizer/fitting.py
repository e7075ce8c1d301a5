"""What fits on a card: the longest context, and the smallest changes that would make a replica fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from catalog.loader import Catalog
from catalog.schema import Gpu, Model, WeightFormat
from optimizer.memory import MemoryEstimate, ReplicaMemory, estimate_memory, replica_memory
from optimizer.serving_config import Configurations

BLOCK_TOKENS = 16
"""Contexts are asked for in blocks of the KV cache."""
DEGREES = (2, 4, 8, 16)
SHORTER_CONTEXTS = (0.5, 0.25, 0.125)
"""Of the context asked for, when it must shrink together with another change."""
UTILIZATIONS = (0.9, 0.85, 0.8)
"""Of the card, when the engine finds less memory free at start than its default claims."""
_FLAGS = ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "gpu_memory_gib",
          "enforce_eager", "max_loras", "lora_rank")  # fmt: skip
"""Arguments that `replica_memory` shares with `estimate_memory`."""
FEWEST_SEQUENCES = 8
"""Below this a smaller max_num_seqs frees next to nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """Flags that make the replica fit, and what it then holds."""

    flags: Mapping[str, str | int | float]
    """Argument of `estimate_memory` -> new value."""
    kv_cache_gib: float
    max_concurrency: float


def default_weight_dtype(gpu: Gpu) -> str:
    """bf16, or fp16 where the card does not compute in bf16."""
    return "bf16" if gpu.tflops.bf16 is not None else "fp16"


def longest_context_tokens(catalog: Catalog, question: Mapping[str, Any]) -> int | None:
    """Longest request of which the replica holds at least one; None when it holds none of any length.

    `question` holds the arguments of `estimate_memory`.
    """
    low, high = 0, catalog.find("model", question["model"]).max_context_tokens // BLOCK_TOKENS
    if _estimate(catalog, question, max_model_len=high * BLOCK_TOKENS).fits:
        return high * BLOCK_TOKENS
    while high - low > 1:  # low fits (or is zero), high does not
        middle = (low + high) // 2
        fits = _estimate(catalog, question, max_model_len=middle * BLOCK_TOKENS).fits
        low, high = (middle, high) if fits else (low, middle)
    return low * BLOCK_TOKENS or None


def changes_that_fit(catalog: Catalog, question: Mapping[str, Any]) -> tuple[Change, ...]:
    """For each thing that can be changed the least change that makes it fit; pairs of changes where none does alone.

    Every answer was estimated with the change made. Empty when the replica fits as it is, or nothing helps.
    """
    now = _estimate(catalog, question)
    if now.fits:
        return ()
    axes = _axes(catalog, question, now)
    alone = {name: _first(catalog, question, [{name: value} for value in values]) for name, values in axes.items()}
    shorter = [int(now.max_model_len * part) // BLOCK_TOKENS * BLOCK_TOKENS for part in SHORTER_CONTEXTS]
    stuck = {
        name: values for name, values in axes.items() if alone[name] is None and name not in ("gpu", "max_num_seqs")
    }
    if "max_model_len" in stuck:
        stuck["max_model_len"] = shorter
    together = [
        _first(catalog, question, _by_effort(one, stuck[one], other, stuck[other]))
        for one, other in combinations(stuck, 2)
    ]
    return tuple(change for change in (*alone.values(), *together) if change is not None)


def _axes(catalog: Catalog, question: Mapping[str, Any], now: MemoryEstimate) -> dict[str, list[Any]]:
    """Argument that can be changed -> its values, the least change first."""
    gpu = catalog.find("gpu", question["gpu"])
    longest = longest_context_tokens(catalog, question)
    sequences = [now.max_num_seqs >> halvings for halvings in range(1, now.max_num_seqs.bit_length())]
    larger = [
        other
        for other in catalog.gpus.values()
        if other.vendor == gpu.vendor and other.visible_memory_gib > gpu.visible_memory_gib
    ]
    return {
        "weight_dtype": _narrower_weights(catalog, question, gpu),
        "kv_cache_dtype": _narrower_caches(catalog, question, gpu),
        "tp": [degree for degree in DEGREES if degree > question.get("tp", 1)],
        "pp": [degree for degree in DEGREES if degree > question.get("pp", 1)],
        "max_model_len": [longest] if longest is not None and longest < now.max_model_len else [],
        "max_num_seqs": [number for number in sequences if number >= FEWEST_SEQUENCES],
        "gpu_memory_utilization": [part for part in UTILIZATIONS if part < now.utilization_fraction],
        "gpu": [other.id for other in sorted(larger, key=lambda other: (other.visible_memory_gib, other.id))]
        if question.get("gpu_memory_gib") is None
        else [],
    }


def _narrower_weights(catalog: Catalog, question: Mapping[str, Any], gpu: Gpu) -> list[str]:
    """Formats with fewer bits that run there: proper support first, then by whole bits, then by quality."""
    present = catalog.find("weight_format", question["weight_dtype"])
    engine = question.get("engine", "vllm")

    def rank(fmt: WeightFormat) -> tuple[bool, int, float, str]:
        with_reserve = any(row.note for row in fmt.support if row.engine == engine)  # such as `experimental`
        return with_reserve, -round(fmt.bits_per_weight), -(fmt.quality.typical_fraction or 0.0), fmt.id

    runs = [fmt for fmt in catalog.formats.values() if fmt.compute_dtype(engine, gpu) is not None]
    narrower = [fmt for fmt in runs if fmt.bits_per_weight < present.bits_per_weight]
    return [fmt.id for fmt in sorted(narrower if present in runs else runs, key=rank)]


def _narrower_caches(catalog: Catalog, question: Mapping[str, Any], gpu: Gpu) -> list[str]:
    present = catalog.find("kv_format", question.get("kv_cache_dtype", "auto"))
    narrower = [
        fmt
        for fmt in catalog.kv_formats.values()
        if fmt.bytes_per_value < present.bytes_per_value and fmt.supported_on(question.get("engine", "vllm"), gpu)
    ]
    return [fmt.id for fmt in sorted(narrower, key=lambda fmt: (-fmt.bytes_per_value, fmt.id))]


def _by_effort(one: str, first: list[Any], other: str, second: list[Any]) -> list[dict[str, Any]]:
    """Every pair of values, those with the least change in sum first."""
    ranked = sorted((i + j, i, j) for i in range(len(first)) for j in range(len(second)))
    return [{one: first[i], other: second[j]} for _, i, j in ranked]


def _first(catalog: Catalog, question: Mapping[str, Any], options: list[dict[str, Any]]) -> Change | None:
    for flags in options:
        estimate = _estimate(catalog, question, **flags)
        if estimate.fits:
            return Change(flags, estimate.kv_cache_gib, estimate.max_concurrency)
    return None


def _estimate(catalog: Catalog, question: Mapping[str, Any], **changes: Any) -> MemoryEstimate:
    return estimate_memory(catalog, **{**question, **changes})


@dataclass(frozen=True, slots=True)
class Fit:
    """A model that fits on a card, in the best format in which it does."""

    model: str
    weight_dtype: str
    weights_gib: float
    kv_cache_gib: float
    kv_cache_tokens: int
    max_model_len: int
    max_concurrency: float
    """Requests of max_model_len."""


def what_fits(catalog: Catalog, question: Mapping[str, Any]) -> tuple[Fit, ...]:
    """Every model of the catalog that fits as asked, in the first format that does; largest weights first.

    `question` holds the arguments of `estimate_memory` but the model; `weight_dtype` None tries the model's own
    format, then ever narrower ones. A model whose context is shorter than max_model_len is asked for all of its own.
    """
    found = []
    for model in catalog.models.values():
        length = min(question.get("max_model_len") or model.max_context_tokens, model.max_context_tokens)
        formats = _formats_to_try(catalog, {**question, "model": model.id})
        memory = _in_formats(catalog, model, formats, {**question, "max_model_len": length})
        rows = np.flatnonzero(memory.fits)
        if len(rows):
            first = int(rows[0])
            found.append(
                Fit(
                    model=model.id,
                    weight_dtype=formats[first],
                    weights_gib=float(memory.weights_gib[first]),
                    kv_cache_gib=float(memory.kv_cache_gib[first]),
                    kv_cache_tokens=int(memory.kv_cache_tokens[first]),
                    max_model_len=length,
                    max_concurrency=float(memory.max_concurrency[first]),
                )
            )
    return tuple(sorted(found, key=lambda fit: (-fit.weights_gib, fit.model)))


def _in_formats(catalog: Catalog, model: Model, formats: Sequence[str], question: Mapping[str, Any]) -> ReplicaMemory:
    """Memory of one model in several weight formats, a row each."""
    first = np.zeros(len(formats), np.int64)
    degrees = (np.full(len(formats), question.get(name) or 1, np.int64) for name in ("tp", "pp", "dp", "ep"))
    configurations = Configurations(
        model,
        catalog.find("engine", question.get("engine", "vllm")),
        question.get("engine_version"),
        (catalog.find("gpu", question["gpu"]),),
        tuple(catalog.find("weight_format", name) for name in formats),
        (catalog.find("kv_format", question.get("kv_cache_dtype", "auto")),),
        first,
        np.arange(len(formats)),
        first,
        *degrees,
    )
    flags = {name: question[name] for name in _FLAGS if question.get(name) is not None}
    return replica_memory(configurations, **{"max_model_len": None, **flags})


def fewest_gpus(catalog: Catalog, question: Mapping[str, Any]) -> Change | None:
    """The least number of GPUs that serves what is asked for, by tensor before pipeline parallelism."""
    degrees = sorted((tp * pp, pp, tp) for tp in (1, *DEGREES) for pp in (1, *DEGREES))
    options = [{"tp": tp, "pp": pp, "dp": 1, "ep": 1} for gpus, pp, tp in degrees if gpus <= max(DEGREES)]
    return _first(catalog, question, [dict(one) for one in options])


def first_format(catalog: Catalog, question: Mapping[str, Any]) -> Change | None:
    """The first format, from the model's own to ever narrower ones, in which it fits as asked."""
    return _first(
        catalog,
        question,
        [{"weight_dtype": one} for one in _formats_to_try(catalog, {**question, "weight_dtype": None})],
    )


def _formats_to_try(catalog: Catalog, question: Mapping[str, Any]) -> list[str]:
    """The format asked for; else the checkpoint's own or 16 bit, and the narrower ones that run there."""
    if question.get("weight_dtype") is not None:
        return [str(question["weight_dtype"])]
    gpu, model = catalog.find("gpu", question["gpu"]), catalog.find("model", question["model"])
    own = model.checkpoint.weight_format or default_weight_dtype(gpu)
    narrower = _narrower_weights(catalog, {**question, "weight_dtype": own}, gpu)
    usual = [one for one in narrower if _is_usual(catalog.formats[one], str(question.get("engine", "vllm")))]
    return list(dict.fromkeys([own, *usual]))


def _is_usual(fmt: WeightFormat, engine: str) -> bool:
    """A format that any model can be had in and that the engine runs without reserve."""
    return fmt.native_quality is None and not any(
        "experimental" in row.note for row in fmt.support if row.engine == engine
    )
