"""AIPerf's profile_export: the summary (JSON) or the records of single requests (JSON lines)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from optimizer.calibration.records import Record
from optimizer.calibration.run import Run

NAME = "AIPerf"
_NS_PER_S = 1e9


def recognises(record: Record) -> bool:
    """Whether the fields are those of the tool."""
    return _is_summary(record) or _is_request(record)


def runs(records: Sequence[Record]) -> Iterator[Run]:
    """A run for each summary; the requests of a file together are one run."""
    for record in records:
        if _is_summary(record):
            yield _of_summary(record)
    requests = [record for record in records if _is_request(record) and record.value.get("error") is None]
    if requests:
        yield _of_requests(requests)
    elif not any(_is_summary(record) for record in records):
        raise records[0].fault("no request was completed")


def _is_summary(record: Record) -> bool:
    return record.has("time_to_first_token", "request_throughput")


def _is_request(record: Record) -> bool:
    return record.has("metadata", "metrics", "error")


def _of_summary(record: Record) -> Run:
    models = record.part("input_config", "endpoint").value.get("model_names")
    run = Run(
        location=record.location,
        tool=NAME,
        model=models[0] if isinstance(models, list) and len(models) == 1 and isinstance(models[0], str) else None,
        input_tokens=record.part("input_sequence_length").number("avg"),
        output_tokens=record.part("output_sequence_length").number("avg"),
        concurrency=record.part("input_config", "loadgen").number("concurrency"),
        ttft_ms=record.part("time_to_first_token").number("avg"),
        tpot_ms=record.part("inter_token_latency").number("avg"),
    )
    return run.with_mean_in_flight(record.part("request_throughput").number("avg"))


def _of_requests(requests: Sequence[Record]) -> Run:
    def mean(value_of: Callable[[Record], float | None]) -> float | None:
        values = [value for request in requests if (value := value_of(request)) is not None]
        return sum(values) / len(values) if values else None

    def metric(name: str) -> Callable[[Record], float | None]:
        return lambda request: request.part("metrics", name).number("value")

    times_ns = [request.part("metadata") for request in requests]
    starts = [one.number("request_start_ns") for one in times_ns]
    ends = [one.number("request_end_ns") for one in times_ns]
    if None in starts or None in ends:
        raise requests[0].fault("request_start_ns and request_end_ns are expected of every request", "metadata")
    lasted_s = [(end - start) / _NS_PER_S for start, end in zip(starts, ends, strict=True) if start and end]
    span_s = (max(end for end in ends if end) - min(start for start in starts if start)) / _NS_PER_S
    if span_s <= 0:
        raise requests[0].fault("all requests start and end at once", "metadata")
    return Run(
        location=requests[0].location,
        tool=NAME,
        input_tokens=mean(metric("input_sequence_length")),
        output_tokens=mean(metric("output_sequence_length")),
        concurrency=sum(lasted_s) / span_s,
        ttft_ms=mean(metric("time_to_first_token")),
        tpot_ms=mean(metric("inter_token_latency")),
    )
