"""`vllm bench serve --save-result` and SGLang's `bench_serving --output-file`, which share their fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from optimizer.calibration.records import Record
from optimizer.calibration.run import Run

NAME = "vllm bench or SGLang bench_serving"
_ENGINES = {
    "vllm": "vllm", "sglang": "sglang", "sglang-oai": "sglang", "sglang-oai-chat": "sglang", "sglang-native": "sglang",
    "tensorrt-llm": "trtllm", "trt": "trtllm",
}  # fmt: skip
"""Backend of the client -> engine; others, such as `openai`, talk to any engine."""


def recognises(record: Record) -> bool:
    """Whether the fields are those of these tools."""
    return record.has("backend", "completed", "total_input_tokens", "total_output_tokens", "mean_ttft_ms")


def runs(records: Sequence[Record]) -> Iterator[Run]:
    """A run a record."""
    for record in records:
        completed = record.count("completed")
        if completed is None:
            raise record.fault("no request was completed", "completed")
        inputs, outputs = record.number("total_input_tokens"), record.number("total_output_tokens")
        run = Run(
            location=record.location,
            tool=NAME,
            engine=_ENGINES.get(record.text("backend") or ""),
            model=record.text("model_id"),
            input_tokens=None if inputs is None else inputs / completed,
            output_tokens=None if outputs is None else outputs / completed,
            concurrency=record.number("max_concurrency"),
            ttft_ms=record.number("mean_ttft_ms"),
            tpot_ms=record.number("mean_tpot_ms"),
        )
        yield run.with_mean_in_flight(record.number("request_throughput"))
