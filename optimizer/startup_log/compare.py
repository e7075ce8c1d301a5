"""A prediction beside what the log says, line by line, and the one flag that would explain what does not agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from catalog.errors import InputError
from catalog.loader import Catalog
from catalog.schema import Engine
from catalog.schema.engine import Rules
from optimizer.memory import MemoryEstimate, estimate_memory
from optimizer.startup_log.printed import printed, printed_plus_minus_gib
from optimizer.startup_log.question import question_of
from optimizer.startup_log.read import StartupLog

COMPARED = (
    "weights_gib",
    "activation_gib",
    "non_torch_gib",
    "cuda_graph_gib",
    "kv_cache_gib",
    "kv_cache_tokens",
    "max_concurrency",
)
PRINTED_GIB = 0.006
"""Half of the last printed digit."""
NEAR_FRACTION = 0.02
"""Of tokens and concurrency, beside the margin of the pool they come from."""
UNLAWFUL = ("format", "kv_format", "heads", "vocabulary", "width", "experts", "alignment", "layers")
"""Reasons for which the engine would not have got as far as the log."""
_ROOM_GIB = 100_000.0
"""More than any server has."""
_OF_BUFFERS = ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "kv_cache_dtype", "weight_dtype")
"""What decides the sizes of llama.cpp's buffers, all cards together."""
EXPLAINS = 0.25
"""A flag explains a difference when it leaves at most this part of the misfit."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of the log."""

    name: str
    predicted: float
    actual: float
    plus_minus: float
    """By which the prediction may be off."""

    @property
    def agrees(self) -> bool:
        """Within what the prediction may be off by."""
        return abs(self.predicted - self.actual) <= self.plus_minus


@dataclass(frozen=True, slots=True)
class Explanation:
    """A flag that the log does not state and that would make the prediction agree."""

    flag: str
    value: str | int | float | bool
    assumed: str | int | float | bool | None
    """What the prediction used."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Prediction and log, side by side."""

    log: StartupLog
    engine: Engine
    question: Mapping[str, Any]
    estimate: MemoryEstimate
    lines: tuple[Line, ...]
    explanations: tuple[Explanation, ...]
    """Best first; empty when all agrees or no single flag explains it."""


def compare(log: StartupLog, catalog: Catalog, given: Mapping[str, Any]) -> Comparison:
    """The comparison; `given` holds arguments of `estimate_memory` that the user states beside the log."""
    question = question_of(log, catalog, given)
    estimate = _estimated(log, catalog, question)
    engine = catalog.engines[log.engine]
    lines = tuple(_lines(log, estimate, engine.at(question["engine_version"]).memory))
    if not lines:
        raise InputError(
            "the log ends before it states a size that can be compared; paste it up to the KV cache's size"
        )
    settled = {name for name, value in given.items() if value is not None} | _stated(log)
    explanations = _explanations(log, catalog, question, lines, settled)
    return Comparison(log, engine, question, estimate, lines, explanations)


def _estimated(log: StartupLog, catalog: Catalog, question: Mapping[str, Any]) -> MemoryEstimate:
    """llama.cpp's buffers are as large as asked for, whatever the cards have that they are spread over."""
    room = {"gpu_memory_gib": _ROOM_GIB} if log.engine == "llamacpp" else {}
    return estimate_memory(catalog, **{**question, **room})


def _lines(log: StartupLog, estimate: MemoryEstimate, rules: Rules) -> Iterator[Line]:
    for name in COMPARED:
        actual = log.sizes.get(name)
        if actual is None or (log.engine == "llamacpp" and name in ("kv_cache_tokens", "max_concurrency")):
            continue
        if name == "cuda_graph_gib" and actual <= 0.0:  # of a memory that others use as well
            continue
        predicted = printed(name, estimate, rules)
        if log.engine == "llamacpp" and name == "kv_cache_gib":  # as large as asked for, not what is left
            predicted = _asked_for_gib(estimate)
        yield Line(name, predicted, actual, _plus_minus(name, estimate, rules))


def _asked_for_gib(estimate: MemoryEstimate) -> float:
    return estimate.kv_cache_gib / estimate.max_concurrency * estimate.max_num_seqs


def _plus_minus(name: str, estimate: MemoryEstimate, rules: Rules) -> float:
    part_gib = printed_plus_minus_gib(name, estimate, rules)
    if part_gib is not None:
        return max(part_gib, PRINTED_GIB)
    if name == "kv_cache_gib":
        return max(estimate.margin_gib, PRINTED_GIB)
    pool_gib = max(estimate.kv_cache_gib, PRINTED_GIB)
    fraction = max(estimate.margin_gib / pool_gib, NEAR_FRACTION)
    return max(float(abs(getattr(estimate, name)) * fraction), PRINTED_GIB)  # a pool may hold nothing


def _stated(log: StartupLog) -> set[str]:
    names = {"quantization": "weight_dtype", "file_type": "weight_dtype", "ep_enabled": "ep"}
    return {names.get(name, name) for name in log.stated}


def _explanations(
    log: StartupLog, catalog: Catalog, question: Mapping[str, Any], lines: tuple[Line, ...], settled: set[str]
) -> tuple[Explanation, ...]:
    before = _misfit(lines)
    if all(line.agrees for line in lines):
        return ()
    found = []
    for flag, values in _candidates(catalog, question).items():
        if flag in settled:
            continue
        for value in values:
            changed = {**question, flag: value}
            try:
                estimate = _estimated(log, catalog, changed)
            except InputError:
                continue
            rules = catalog.engines[log.engine].at(changed["engine_version"]).memory
            after = _misfit(tuple(_lines(log, estimate, rules)))
            if estimate.reason_key not in UNLAWFUL and after <= EXPLAINS * before:
                found.append((after, Explanation(flag, value, question.get(flag))))
    best = sorted(found, key=lambda pair: (pair[0], pair[1].flag, str(pair[1].value)))
    first_of_flag: dict[str, Explanation] = {}
    for _, explanation in best:
        first_of_flag.setdefault(explanation.flag, explanation)
    return tuple(first_of_flag.values())[:3]


def _misfit(lines: tuple[Line, ...]) -> float:
    """How far the lines are off, in units of what each may be."""
    return sum(((line.predicted - line.actual) / line.plus_minus) ** 2 for line in lines)


def _candidates(catalog: Catalog, question: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Flags that a log may leave unsaid -> values that people use."""
    engine = catalog.engines[question["engine"]]
    longest = catalog.models[question["model"]].max_context_tokens
    candidates: dict[str, tuple[Any, ...]] = {
        "gpu_memory_utilization": (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.95, 0.97, 0.98),
        "max_num_seqs": (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
        "max_num_batched_tokens": (512, 1024, 2048, 4096, 8192, 16384, 32768),
        "max_model_len": tuple(n for n in (2048, 4096, 8192, 16384, 32768, 65536, 131072) if n <= longest),
        "kv_cache_dtype": tuple(fmt for fmt in catalog.kv_formats if fmt != question["kv_cache_dtype"]),
        "weight_dtype": tuple(fmt for fmt in catalog.formats if fmt != question["weight_dtype"]),
        "tp": (1, 2, 4, 8),
        "enforce_eager": (not question["enforce_eager"],),
        "engine_version": tuple(row.since for row in engine.versions),
    }
    if engine.id == "llamacpp":
        return {flag: values for flag, values in candidates.items() if flag in _OF_BUFFERS}
    return candidates
