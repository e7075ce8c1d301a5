"""What restricts the replicas of a workload, and in which steps each restriction can be loosened."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from catalog import Catalog
from optimizer.explain.resolver import Change, Resolver, can_be_served
from optimizer.scenario import Scenario, Workload, with_workload
from optimizer.scenario.quantities import DURATION_MS, RATIO

STEP = 1.02
"""Latency targets are loosened in steps of 2 %."""
LOOSEST = 10.0
"""… up to ten times the target; a service is another one beyond that."""
QUALITY_STEP, LOWEST_QUALITY = 0.005, 0.8
MOST_GPUS = (32, 64, 128)
EVERY_QUALITY = 1e-6
"""A quality floor that lets every format through."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """One key of a workload that keeps replicas out."""

    key: tuple[str, ...]
    """Below the workload: ("slo", "ttft_p95")."""
    stands: str
    """What it says now: `ttft_p95 80 ms`."""
    lifted: Callable[[Workload], Mapping[str, Any]]
    """Fields that free a workload of it."""
    steps: tuple[tuple[str, Mapping[str, Any]], ...]
    """Text and fields of each way to loosen it, the smallest first."""
    is_ordered: bool = True
    """Each step allows all that the steps before it allow."""
    limits_ms: tuple[float, ...] = ()
    """Of a latency target, the one of each step."""


def restrictions(workload: Workload, catalog: Catalog) -> Iterator[Restriction]:
    """Every restriction that a workload states; none of a measured one."""
    if workload.measured is not None:
        return
    yield from _targets(workload)
    yield from _formats(workload, catalog)
    yield from _degrees(workload)


def smallest(resolver: Resolver, name: str, restriction: Restriction) -> Change | None:
    """The smallest step that makes the scenario feasible, proven by solving it; None if even the largest does not."""
    steps = [_change(name, text, fields) for text, fields in restriction.steps]
    if not steps or not resolver.is_feasible(steps[-1] if restriction.is_ordered else lifting(name, [restriction])):
        return None
    if not restriction.is_ordered:
        return next((change for change in steps if resolver.is_feasible(change)), None)
    low, high = -1, len(steps) - 1  # low is not enough, high is
    if not can_be_served(resolver.candidates[name]):
        nearest_ms = resolver.candidates[name].nearest_ms.get(restriction.key[-1], 0.0)
        low = sum(limit_ms < nearest_ms for limit_ms in restriction.limits_ms) - 1
        low = _first(low, high, lambda n: can_be_served(resolver.rate(steps[n].apply(resolver.scenario), name))) - 1
        if resolver.is_feasible(steps[low + 1]):
            return steps[low + 1]
    return steps[_first(low, high, lambda n: resolver.is_feasible(steps[n]))]


def _first(low: int, high: int, is_enough: Callable[[int], bool]) -> int:
    """The first step that is enough, given one that is not and one that is."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def lifting(name: str, several: Sequence[Restriction]) -> Change:
    """The scenario without some restrictions of a workload."""

    def apply(scenario: Scenario) -> Scenario:
        for restriction in several:
            scenario = with_workload(scenario, name, **restriction.lifted(scenario.workloads[name]))
        return scenario

    return Change(f"{name}: without {', '.join(one.stands for one in several)}", apply, (name,))


def _change(name: str, text: str, fields: Mapping[str, Any]) -> Change:
    return Change(f"{name}: {text}", lambda scenario: with_workload(scenario, name, **fields), (name,))


def _targets(workload: Workload) -> Iterator[Restriction]:
    for i, target in enumerate(workload.targets):
        limits = [_rounded_up(target.limit_ms * STEP**n) for n in range(1, math.ceil(math.log(LOOSEST, STEP)) + 1)]
        now = _duration(target.limit_ms)
        yield Restriction(
            key=("slo", target.name),
            stands=f"{target.name} {now}",
            lifted=partial(_without_target, target.name),
            steps=tuple(
                (
                    f"{target.name} {now} → {_duration(limit)}",
                    {"targets": (*workload.targets[:i], target._replace(limit_ms=limit), *workload.targets[i + 1 :])},
                )
                for limit in dict.fromkeys(limits)
            ),
            limits_ms=tuple(dict.fromkeys(limits)),
        )


def _formats(workload: Workload, catalog: Catalog) -> Iterator[Restriction]:
    if (named := workload.weight_dtypes) is not None:
        others = sorted(
            (one for one in catalog.formats.values() if one.id not in named),
            key=lambda one: (-(one.quality.typical_fraction or 0.0), -one.bits_per_weight, one.id),
        )
        yield Restriction(
            key=("weight_dtypes",),
            stands=f"weight_dtypes {', '.join(named)}",
            lifted=partial(_fields, weight_dtypes=(*named, *(one.id for one in others))),
            steps=tuple((f"allow {one.id}", {"weight_dtypes": (*named, one.id)}) for one in others),
            is_ordered=False,
        )
    if (caches := workload.kv_cache_dtypes) is not None:
        rest = [one for one in catalog.kv_formats if one not in caches]
        yield Restriction(
            key=("kv_cache_dtypes",),
            stands=f"kv_cache_dtypes {', '.join(caches)}",
            lifted=partial(_fields, kv_cache_dtypes=(*caches, *rest)),
            steps=tuple((f"allow the KV cache in {one}", {"kv_cache_dtypes": (*caches, one)}) for one in rest),
            is_ordered=False,
        )
    floor = workload.min_quality_fraction
    levels = [
        level
        for n in range(1, 1 + round(1 / QUALITY_STEP))
        if LOWEST_QUALITY <= (level := round(1 - n * QUALITY_STEP, 6)) < floor
    ]
    yield Restriction(
        key=("min_quality",),
        stands=f"min_quality {RATIO.text(floor)}",
        lifted=partial(_fields, min_quality_fraction=EVERY_QUALITY),
        steps=tuple(
            (f"min_quality {RATIO.text(floor)} → {RATIO.text(level)}", {"min_quality_fraction": level})
            for level in levels
        ),
    )


def _degrees(workload: Workload) -> Iterator[Restriction]:
    for key in ("tp", "pp", "dp", "max_batch_size", "max_num_batched_tokens"):
        if (values := getattr(workload, key)) is not None:
            stands = f"{key} {', '.join(map(str, values))}"
            steps = ((f"any {key} instead of {stands}", {key: None}),)
            yield Restriction((key,), stands, partial(_any_degree, key), steps)
    most = workload.max_gpus_per_replica
    larger = [n for n in MOST_GPUS if n > most]
    yield Restriction(
        key=("max_gpus_per_replica",),
        stands=f"max_gpus_per_replica {most}",
        lifted=partial(_fields, max_gpus_per_replica=MOST_GPUS[-1]),
        steps=tuple((f"max_gpus_per_replica {most} → {n}", {"max_gpus_per_replica": n}) for n in larger),
    )


def _fields(_workload: Workload, /, **fields: Any) -> Mapping[str, Any]:
    return fields


def _any_degree(key: str, _workload: Workload) -> Mapping[str, Any]:
    return {key: None}


def _without_target(name: str, workload: Workload) -> Mapping[str, Any]:
    return {"targets": tuple(target for target in workload.targets if target.name != name)}


def _rounded_up(value: float) -> float:
    """To three significant digits, upwards."""
    digits: int = 2 - math.floor(math.log10(value))
    return math.ceil(round(value * 10.0**digits, 6)) / 10.0**digits


def _duration(value_ms: float) -> str:
    return DURATION_MS.text(value_ms)
