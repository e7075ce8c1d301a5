"""Latency and throughput of one replica over concurrency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from catalog.loader import Catalog
from optimizer.fitting import default_weight_dtype
from optimizer.performance import PerformanceEstimate, estimate_performance
from optimizer.report.assumed import assumed_format, assumed_rules
from optimizer.report.curve import svg_curve, terminal_curve
from optimizer.report.tables import table
from optimizer.report.words import bar, bullets, count, figure, interval, milliseconds

CONCURRENCIES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
BAR_CELLS = 16


@dataclass(frozen=True, slots=True)
class PerformanceAnswer:
    """What `gpuplan perf` says of one replica."""

    question: Mapping[str, Any]
    """Arguments of `estimate_performance`, without concurrency."""
    assumed: tuple[str, ...]
    concurrency: int
    estimate: PerformanceEstimate
    """At that concurrency."""
    curve: Mapping[int, PerformanceEstimate]
    """By concurrency, ascending."""

    def data(self) -> dict[str, Any]:
        """The estimate that was asked for at the top level, the curve beside it."""
        return {
            **{name: value for name, value in self.question.items() if value is not None},
            "concurrency": self.concurrency,
            **_figures(self.estimate),
            "curve": [{"concurrency": number, **_figures(one)} for number, one in self.curve.items()],
            "assumed": self.assumed,
        }


def performance_answer(
    catalog: Catalog, *, gpu: str, weight_dtype: str | None, concurrency: int, **flags: Any
) -> PerformanceAnswer:
    """The curve of one replica; `flags` are further arguments of `estimate_performance`."""
    weights = weight_dtype or default_weight_dtype(catalog.find("gpu", gpu))
    question = {"model": flags.pop("model"), "gpu": gpu, "weight_dtype": weights, **flags}
    curve = {
        number: estimate_performance(catalog, **question, concurrency=number)
        for number in sorted({*CONCURRENCIES, concurrency})
    }
    of_version = assumed_rules(catalog.find("engine", question["engine"]), question.get("engine_version"))
    assumed = (*(() if weight_dtype else (assumed_format(weights),)), *of_version)
    return PerformanceAnswer(question, assumed, concurrency, curve[concurrency], curve)


def performance_svg(answer: PerformanceAnswer) -> str:
    """The curve as a drawing."""
    return svg_curve(f"{_what(answer)}, {_sizes(answer)}", answer.curve)


def performance_report(answer: PerformanceAnswer) -> RenderableType:
    """The curve as a table with bars, then what the time at the asked concurrency goes into."""
    one = answer.estimate
    if not one.fits:
        return Group(
            Text(f"{_what(answer)}: does not fit; `gpuplan memory` says why and what would help", style="bold")
        )
    return Group(
        Text(f"{_what(answer)}, {_sizes(answer)}", style="bold"),
        Text(""),
        _curve(answer),
        Text(""),
        terminal_curve(answer.curve),
        Text(""),
        Text(f"At {count(answer.concurrency)} in flight, {figure(one.batch)} run at once; {one.limit} limits that."),
        Text(f"TTFT {milliseconds(one.ttft_ms)} = {_parts(one.ttft_parts)}"),
        Text(f"TPOT {milliseconds(one.tpot_ms)} = {_parts(one.parts)}"),
        Text(f"Bands hold 80% of measured values{_beyond(one)}. Constants: {one.source}."),
        Text(""),
        *bullets("Assumed", answer.assumed),
    )


def _what(answer: PerformanceAnswer) -> str:
    asked = answer.question
    return f"{asked['model']} in {asked['weight_dtype']} on {asked['gpu']} ({asked['engine']})"


def _sizes(answer: PerformanceAnswer) -> str:
    asked = answer.question
    return f"{count(asked['input_tokens'])} tokens in, {count(asked['output_tokens'])} out"


def _figures(estimate: PerformanceEstimate) -> dict[str, Any]:
    return {name: getattr(estimate, name) for name in PerformanceEstimate.__slots__}


def _curve(answer: PerformanceAnswer) -> RenderableType:
    most = max(one.output_tokens_per_s for one in answer.curve.values())
    rows = [
        (
            f"{'> ' if number == answer.concurrency else ''}{count(number)}",
            milliseconds(one.ttft_ms),
            interval(one.ttft_interval_ms),
            milliseconds(one.tpot_ms),
            interval(one.tpot_interval_ms),
            figure(one.requests_per_s),
            figure(one.output_tokens_per_s),
            bar(one.output_tokens_per_s / most, BAR_CELLS),
        )
        for number, one in answer.curve.items()
    ]
    return table(
        "Requests always in flight; mean latencies with their 80% bands",
        (("in flight", "right"), ("TTFT", "right"), ("band", "left"), ("TPOT", "right"), ("band", "left"),
         ("requests/s", "right"), ("tokens/s", "right"), ("output", "left")),
        rows,
    )  # fmt: skip


def _parts(parts: Mapping[str, float]) -> str:
    """The largest first; what is below a thousandth of the whole is left out."""
    whole = sum(parts.values())
    named = sorted(((name.replace("_", " "), value) for name, value in parts.items()), key=lambda part: -part[1])
    return " + ".join(f"{name} {milliseconds(value)}" for name, value in named if value > whole / 1000)


def _beyond(estimate: PerformanceEstimate) -> str:
    return "; this is outside what was measured, so they are wider" if estimate.extrapolated else ""
