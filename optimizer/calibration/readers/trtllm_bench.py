"""`trtllm-bench … --report_json`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from optimizer.calibration.records import Record
from optimizer.calibration.run import Run

NAME = "trtllm-bench"
_FORMATS = {
    "NVFP4": "nvfp4",
    "FP8": "fp8",
    "W4A16_AWQ": "awq-int4",
    "W4A8_AWQ": "w4a8",
    "FP8_BLOCK_SCALES": "fp8-block",
}
_UNQUANTIZED = {"bfloat16": "bf16", "float16": "fp16"}
_CACHES = {"FP8": "fp8", "NVFP4": "nvfp4", "INT8": "int8"}
"""Anything else is the type of the activations."""


def recognises(record: Record) -> bool:
    """Whether the fields are those of the tool."""
    return record.has("engine", "world_info", "request_info", "performance")


def runs(records: Sequence[Record]) -> Iterator[Run]:
    """A run a record."""
    for record in records:
        engine, world, requests = record.part("engine"), record.part("world_info"), record.part("request_info")
        streaming = record.part("streaming_metrics")
        quantization = engine.text("quantization")
        weights = (
            _FORMATS.get(quantization, quantization) if quantization else _UNQUANTIZED.get(engine.text("dtype") or "")
        )
        yield Run(
            location=record.location,
            tool=NAME,
            engine="trtllm",
            engine_version=engine.text("version"),
            model=engine.text("model"),
            gpu=record.part("machine").text("name"),
            weight_dtype=weights,
            kv_cache_dtype=_CACHES.get((engine.text("kv_cache_dtype") or "").upper(), "auto"),
            tp=world.count("tp_size"),
            pp=world.count("pp_size"),
            ep=world.count("ep_size"),
            input_tokens=requests.number("avg_input_length"),
            output_tokens=requests.number("avg_output_length"),
            concurrency=requests.number("avg_num_concurrent_requests"),
            ttft_ms=streaming.number("avg_ttft_ms"),
            tpot_ms=streaming.number("avg_tpot_ms"),
            output_tokens_per_s=record.part("performance").number("system_output_throughput_tok_s"),
        )
