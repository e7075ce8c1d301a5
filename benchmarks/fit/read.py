"""Published measurements as rows that name catalog entries; what cannot be compared is counted by its reason."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from catalog import Catalog
from catalog.units import MS_PER_S
from optimizer.calibration.measurement import Measurement

CLOSED_LOOP_FILE = "measured_aggregated.csv"
POINTS_FILE = "points.jsonl.gz"
CLOSED_LOOP_FAMILY = "aiconfigurator_silicon"
"""Closed-loop runs carried by aiconfigurator-core 0.12 (Apache-2.0), cleaned of repeats and contradictions."""
ENGINES = {
    "vllm": "vllm",
    "sglang": "sglang",
    "trtllm": "trtllm",
    "tensorrt-llm": "trtllm",
    "llama.cpp": "llamacpp",
}
WEIGHT_FORMATS = {
    "bf16": "bf16",
    "fp16": "fp16",
    "fp8": "fp8",
    "fp8-block": "fp8-block",
    "nvfp4": "nvfp4",
    "mxfp4": "mxfp4",
    "int4-g32": "int4-g32",
    "int8": "int8",
    "awq-int4": "awq-int4",
    "gptq-int4": "gptq-int4",
    "gptq-int8": "int8-w8a16",
    "q4_k_m": "gguf-q4_k_m",
}
CARDS = {
    "A100": "a100-80gb-sxm",
    "A100-PCIE": "a100-80gb-pcie",
    "A100-UNSPEC": "a100-40gb-sxm",  # the paper's cluster is Polaris: A100 40 GB SXM
    "A40": "a40",
    "ARC-B60": "arc-pro-b60",
    "B200": "b200-sxm",
    "B300": "b300-sxm",
    "GB200": "gb200",
    "GB300": "gb300",
    "GH200": "gh200-96gb",
    "H100-PCIE": "h100-pcie",
    "H100-SXM": "h100-sxm",
    "H20": "h20",
    "H200": "h200-sxm",
    "L40S": "l40s",
    "M2-ULTRA": "m2-ultra-192gb",
    "MI300X": "mi300x",
    "MI350X": "mi350x",
    "RTX-3090": "rtx-3090",
    "RTX-4080": "rtx-4080",
    "RTX-4090": "rtx-4090",
    "RTX-6000-ADA": "rtx-6000-ada",
    "RTX-A6000": "rtx-a6000",
}
SAME_SHAPE = {
    "llama-2-7b-hf": "meta-llama/Llama-2-7b-chat-hf",
    "llama-2-13b-hf": "meta-llama/Llama-2-13b-chat-hf",
    "llama-2-70b-hf": "meta-llama/Llama-2-70b-chat-hf",
    "mistral-7b-v0.1": "mistralai/Mistral-7B-Instruct-v0.1",
    "mixtral-8x7b-v0.1": "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "qwen2-0.5b": "Qwen/Qwen2.5-0.5B-Instruct",
    "qwen2-1.5b": "Qwen/Qwen2.5-1.5B-Instruct",
    "qwen2-7b": "Qwen/Qwen2.5-7B-Instruct",
    "qwen2-72b": "Qwen/Qwen2.5-72B-Instruct",
}
"""Models under another name with the same tensors."""
QUANTIZED = re.compile(r"-(fp8|awq|gptq-int[48]|nvfp4)$")
WHOLE_REQUESTS = ("qwen_speed",)
"""Families whose tokens per second are of whole requests, the prompt's prefill included. Qwen's page says so of Qwen3;
of Qwen2.5 it does not, but the time of a token grows there faster than the context, by what a prefill takes."""
OLDER_THAN = "2025"
"""Runs dated before belong to the engines' older generation even when their version is not stated."""
OLD_VERSIONS = {"vllm": "0.6.3", "trtllm": "0.9.0", "sglang": "0.3.0", "llamacpp": None}
"""Version that stands for an unstated one of that time."""


class NotComparable(Exception):  # noqa: N818 - it says what it is
    """The message is the reason that is counted."""


def read_folder(folder: Path, catalog: Catalog) -> tuple[list[Measurement], Counter[str]]:
    """Every measurement that can be compared, and why the others cannot."""
    found, left_out, names = [], Counter[str](), _Names(catalog)
    for record, convert in _records(folder):
        try:
            found.append(convert(record, names))
        except NotComparable as reason:
            left_out[str(reason)] += 1
    return list(dict.fromkeys(found)), left_out


def _records(folder: Path) -> Iterator[tuple[Mapping[str, Any], Any]]:
    with (folder / CLOSED_LOOP_FILE).open(newline="") as rows:
        for row in csv.DictReader(rows):
            yield row, _closed_loop
    with gzip.open(folder / POINTS_FILE, "rt") as lines:
        for line in lines:
            yield json.loads(line), _point


class _Names:
    """Catalog ids behind the names of a source."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.by_short_name = {model.split("/")[-1].lower(): model for model in catalog.models}

    def of(self, record: Mapping[str, Any]) -> dict[str, str]:
        """The arguments `model`, `gpu`, `weight_dtype` and `engine`."""
        engine = ENGINES.get(str(record["engine"]).lower())
        gpu = record["gpu"] if record["gpu"] in self.catalog.gpus else CARDS.get(str(record.get("gpu_key")))
        weight_dtype = WEIGHT_FORMATS.get(str(record["weight_dtype"]))
        model = self._model(str(record["model"]))
        if engine is None:
            raise NotComparable("engine not in the catalog")
        if gpu is None or gpu not in self.catalog.gpus:
            raise NotComparable("card not in the catalog")
        if weight_dtype is None:
            raise NotComparable("weight format not stated or not in the catalog")
        if model is None:
            raise NotComparable("model not in the catalog")
        return {"model": model, "gpu": gpu, "weight_dtype": weight_dtype, "engine": engine}

    def _model(self, name: str) -> str | None:
        if name in self.catalog.models:
            return name
        short = QUANTIZED.sub("", name.split("/")[-1].lower())
        for candidate in (
            short,
            f"{short}-instruct",
            short.removeprefix("meta-"),
            f"{short.removeprefix('meta-')}-instruct",
        ):
            if model := SAME_SHAPE.get(candidate) or self.by_short_name.get(candidate):
                return model
        return None


def _closed_loop(row: Mapping[str, Any], names: _Names) -> Measurement:
    tp, pp, dp, ep, gpus = (int(row[key]) for key in ("tp", "pp", "attention_dp", "moe_ep", "gpus"))
    if tp * pp * dp != gpus:
        raise NotComparable("degrees and GPU count contradict each other")
    return Measurement(
        CLOSED_LOOP_FAMILY, **names.of(row), engine_version=_version(row["engine_version"]),
        tp=tp, pp=pp, dp=dp, ep=ep, input_tokens=int(row["input_tokens"]), output_tokens=int(row["output_tokens"]),
        concurrency=int(row["concurrency"]), ttft_ms=float(row["ttft_ms"]), tpot_ms=float(row["tpot_ms"]),
    )  # fmt: skip


def _point(point: Mapping[str, Any], names: _Names) -> Measurement:
    if point["trust"] == "low" or point["spec_decode"]:
        raise NotComparable("low trust or speculative decoding")
    known = names.of(point)
    degrees = _degrees(point)
    common = dict(known, source=point["source_family"], engine_version=_version_then(point, known["engine"]), **degrees)
    match point["kind"]:
        case "decode_bs1":
            sizes, rate = _sizes(point, input_tokens=1, output_tokens=128), point["output_tok_s_total"]
            if point["source_family"] in WHOLE_REQUESTS and sizes["input_tokens"] > 1:
                return Measurement(concurrency=1, output_tokens_per_s=rate, **sizes, **common)
            tpot_ms = point["tpot_ms_mean"] or (point["decode_tok_s"] and MS_PER_S / point["decode_tok_s"])
            if not tpot_ms:
                raise NotComparable("decode not separated from prefill")
            return Measurement(concurrency=1, tpot_ms=tpot_ms, **sizes, **common)
        case "prefill":
            if not point["prefill_tok_s"] or point["batch_or_concurrency"] != 1:
                raise NotComparable("prefill rate not stated for one prompt")
            if degrees["pp"] > 1:
                raise NotComparable("prefill in micro-batches that overlap over pipeline stages")
            prefill_ms = MS_PER_S * point["isl"] / point["prefill_tok_s"]
            sizes = {"input_tokens": int(point["isl"]), "output_tokens": 2}
            return Measurement(concurrency=1, prefill_ms=prefill_ms, **sizes, **common)
        case "batch_e2e" | "throughput_fixed_batch" | "online":
            rate, concurrency = point["output_tok_s_total"], point["batch_or_concurrency"]
            if not rate or not concurrency or not point["isl"] or (point["osl"] or 0) < 2 or point["request_rate"]:
                raise NotComparable("sizes, concurrency or rate not stated")
            sizes = {"input_tokens": int(point["isl"]), "output_tokens": int(point["osl"])}
            ttft_ms, tpot_ms = point["ttft_ms_mean"], point["tpot_ms_mean"]
            if not ttft_ms or not tpot_ms:
                return Measurement(concurrency=int(concurrency), output_tokens_per_s=rate, **sizes, **common)
            in_flight = rate / point["osl"] * (ttft_ms + tpot_ms * (point["osl"] - 1)) / MS_PER_S
            return Measurement(
                concurrency=max(min(in_flight, concurrency), 1.0), ttft_ms=ttft_ms, tpot_ms=tpot_ms, **sizes, **common
            )
    raise NotComparable(f"kind {point['kind']}: no concurrency stated")


def _degrees(point: Mapping[str, Any]) -> dict[str, int]:
    tp, pp, dp, ep = (int(point[key] or 1) for key in ("tp", "pp", "dp", "ep"))
    if tp * pp * dp != point["num_gpus"] or tp & (tp - 1):
        raise NotComparable("degrees and GPU count contradict each other")
    return {"tp": tp, "pp": pp, "dp": dp, "ep": ep}


def _sizes(point: Mapping[str, Any], *, input_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "input_tokens": max(int(point["isl"] or input_tokens), 1),
        "output_tokens": max(int(point["osl"] or output_tokens), 2),
    }


def _version(text: Any) -> str | None:
    found = re.match(r"v?(\d+\.\d+(?:\.\d+)?)", str(text or ""))
    return found[1] if found else None


def _version_then(point: Mapping[str, Any], engine: str) -> str | None:
    """The version stated, else the one that stands for an old date."""
    if stated := _version(point["engine_version"]):
        return stated
    return OLD_VERSIONS[engine] if str(point["date"] or OLDER_THAN) < OLDER_THAN else None
