"""Latency targets: `slo: {ttft_p95: 1s, tpot_p95: 50ms}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from optimizer.scenario.fields import Measured, Surroundings
from optimizer.scenario.problems import problem, raise_problems
from optimizer.scenario.quantities import DURATION_MS
from optimizer.scenario.words import Suggestions, did_you_mean, key_text, listed, shown

Metric = Literal["ttft", "tpot", "e2e"]
Statistic = Literal["mean", "p50", "p90", "p95", "p99"]
METRICS: tuple[Metric, ...] = ("ttft", "tpot", "e2e")
STATISTICS: tuple[Statistic, ...] = ("mean", "p50", "p90", "p95", "p99")
NAMES: dict[str, tuple[Metric, Statistic]] = {f"{m}_{s}": (m, s) for m in METRICS for s in STATISTICS}
THROUGHPUT = "throughput"
_LIMIT = Measured(DURATION_MS, above=0)


class Target(NamedTuple):
    """A statistic of a latency that must stay within a limit."""

    metric: Metric
    statistic: Statistic
    limit_ms: float

    @property
    def name(self) -> str:
        """As in a scenario: `ttft_p95`."""
        return f"{self.metric}_{self.statistic}"


class Targets:
    """Reads `throughput` as no target at all, and writes targets in a fixed order."""

    @staticmethod
    def parse(value: object, info: ValidationInfo) -> tuple[Target, ...]:
        if value == THROUGHPUT:
            return ()
        if not isinstance(value, Mapping):
            expected = f"targets such as {{ttft_p95: 1s, tpot_p95: 50ms}} are expected, or {THROUGHPUT} for none"
            raise ValueError(f"{expected}; this is {shown(value)}")
        if not value:
            raise ValueError(f"there is no target; name one such as ttft_p95: 1s, or write {THROUGHPUT} for none")
        suggestions = info.context.suggestions if isinstance(info.context, Surroundings) else Suggestions()
        limits_ms, problems = {}, []
        for key, limit in value.items():
            if key not in NAMES:
                name = key_text(key)
                near = suggestions.meant(name, "target", NAMES)
                hint = did_you_mean(near) or f"; write {listed(METRICS)} with _ and {listed(STATISTICS)}"
                problems.append(problem(f"unknown target {shown(key)}{hint}", name, at_key=True))
                continue
            try:
                limits_ms[key] = _LIMIT.parse(limit)
            except ValueError as error:
                problems.append(problem(str(error), key))
        raise_problems(problems)
        return tuple(Target(*NAMES[name], limits_ms[name]) for name in NAMES if name in limits_ms)

    @staticmethod
    def write(targets: tuple[Target, ...]) -> str | dict[str, str]:
        return {target.name: DURATION_MS.text(target.limit_ms) for target in targets} or THROUGHPUT

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(self.write)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        limit = _LIMIT.__get_pydantic_json_schema__(schema, handler)
        mapping = {
            "type": "object",
            "properties": dict.fromkeys(NAMES, limit),
            "additionalProperties": False,
            "minProperties": 1,
        }
        return {"anyOf": [{"const": THROUGHPUT}, mapping]}
