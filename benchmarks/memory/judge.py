"""Predictions of logs by constants that have not seen them: the log's source is left out of the fit, or its model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.memory.read import Logged
from benchmarks.memory.refit import Lesson, refitted
from catalog import Catalog
from catalog.errors import InputError
from optimizer.memory import MemoryEstimate, estimate_memory
from optimizer.startup_log import printed

METRICS = ("weights_gib", "kv_bytes_per_token", "activation_gib", "kv_cache_gib")
NEAR_GIB = 0.1
"""A weight this near is as good as within 1 %."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One figure of one log."""

    log: Logged
    metric: str
    predicted: float
    logged: float

    @property
    def error(self) -> float:
        """|predicted ÷ logged − 1|"""
        return abs(self.predicted / self.logged - 1.0)

    @property
    def strict(self) -> bool:
        """Nothing in the log speaks against comparing this figure strictly."""
        return not self.log.doubts

    def within(self, share: float) -> bool:
        """Off by at most this share; weights also by at most 0.1 GiB."""
        near = self.metric == "weights_gib" and abs(self.predicted - self.logged) <= NEAR_GIB
        return near or self.error <= share


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of a fact: whether a configuration starts."""

    log: Logged
    said: bool
    reason: str

    @property
    def right(self) -> bool:
        """The engine did as was said."""
        return self.said is self.log.fits


Fold = Callable[[Logged, Lesson], bool]
"""Whether a lesson must be left out before a log is predicted."""


def same_source(log: Logged, lesson: Lesson) -> bool:
    """Lessons of the log's own source; the two documents of the sweep count as one."""
    return lesson.source == log.source or (log.in_sweep and _of_sweep(log, lesson))


def same_model(log: Logged, lesson: Lesson) -> bool:
    """Lessons of the log's own model, from whatever source."""
    return lesson.model == log.model


def predictions(logs: Sequence[Logged], catalog: Catalog, known: Sequence[Lesson], left_out: Fold) -> list[Prediction]:
    """Every figure of every log, predicted after its fold was left out of the fit."""
    found = []
    fits: dict[frozenset[int], Catalog] = {}
    for log in logs:
        kept = frozenset(i for i, lesson in enumerate(known) if not left_out(log, lesson))
        if kept not in fits:
            fits[kept] = refitted(catalog, [known[i] for i in sorted(kept)])
        estimate = estimate_memory(fits[kept], **log.arguments)
        rules = catalog.engines[log.arguments["engine"]].at(log.arguments["engine_version"]).memory
        found += [
            Prediction(log, metric, printed(metric, estimate, rules), log.figures[metric])
            for metric in METRICS
            if metric in log.figures
        ]
    return found


def verdicts(facts: Sequence[Logged], catalog: Catalog) -> list[Verdict]:
    """What the shipped rules say of facts whose card is known."""
    found = []
    for fact in facts:
        if fact.card_known and fact.fits is not None:
            estimate = _estimated(catalog, fact)
            fits = isinstance(estimate, MemoryEstimate) and estimate.fits
            found.append(Verdict(fact, fits, estimate.reason if isinstance(estimate, MemoryEstimate) else estimate))
    return found


def _estimated(catalog: Catalog, fact: Logged) -> MemoryEstimate | str:
    try:
        return estimate_memory(catalog, **fact.arguments)
    except InputError as error:
        return str(error)


def _of_sweep(log: Logged, lesson: Lesson) -> bool:
    return "llm-d-planner" in lesson.source and "llm-d-planner" in log.source
