"""`guidellm benchmark`'s benchmarks.json (reports of versions 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from optimizer.calibration.records import Record
from optimizer.calibration.run import Run

NAME = "GuideLLM"


def recognises(record: Record) -> bool:
    """Whether the fields are those of the tool."""
    return record.has("benchmarks") and (record.has("metadata") or record.has("args"))


def runs(records: Sequence[Record]) -> Iterator[Run]:
    """A run for each benchmark of the report: each rate or concurrency that was tried."""
    for record in records:
        model = record.part("config").part("spec").part("backend").text("model")
        for benchmark in record.parts("benchmarks"):
            metrics = benchmark.part("metrics")
            if metrics.part("request_totals").number("successful", above=None) == 0:
                raise metrics.fault("no request was completed", "request_totals.successful")
            yield Run(
                location=record.location,
                tool=NAME,
                model=model,
                input_tokens=_mean(metrics, "prompt_token_count"),
                output_tokens=_mean(metrics, "output_token_count"),
                concurrency=_mean(metrics, "request_concurrency"),
                ttft_ms=_mean(metrics, "time_to_first_token_ms"),
                # The tool's own TPOT counts the first token too; its inter-token latency is what we call TPOT.
                tpot_ms=_mean(metrics, "inter_token_latency_ms"),
            )


def _mean(metrics: Record, name: str) -> float | None:
    """Over the requests that succeeded."""
    return metrics.part(name, "successful").number("mean")
