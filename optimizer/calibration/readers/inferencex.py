"""InferenceX (formerly InferenceMAX) `agg_*.json`: one run an object, times in seconds, throughput per GPU."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from catalog.units import MS_PER_S
from optimizer.calibration.records import Record
from optimizer.calibration.run import Run

NAME = "InferenceX"
_ENGINES = {"vllm": "vllm", "sglang": "sglang", "trt": "trtllm", "trtllm": "trtllm", "tensorrt-llm": "trtllm"}
_CARDS = {"h100": "h100-sxm", "h200": "h200-sxm", "b200": "b200-sxm", "b300": "b300-sxm"}
"""Its servers are HGX boards (https://github.com/SemiAnalysisAI/InferenceX); other cards have one form only."""
_NONE = ("", "none", "false", "off", "0")
_VERSION = re.compile(r":v?(\d+\.\d+(?:\.\d+)?)")


def recognises(record: Record) -> bool:
    """Whether the fields are those of the tool."""
    return record.has("conc", "framework", "precision", "tput_per_gpu")


def runs(records: Sequence[Record]) -> Iterator[Run]:
    """A run a record."""
    for record in records:
        _refuse_what_is_not_one_replica(record)
        tp = record.count("tp")
        over_data = _said(record, "dp_attention") not in _NONE
        hardware = _said(record, "hw") or _said(record, "device")
        card = re.split(r"[-_]", hardware)[0]
        ttft_s = record.number("mean_ttft")
        tpot_s = record.number("mean_tpot") or record.number("median_tpot")
        per_gpu = record.number("output_tput_per_gpu")
        version = _VERSION.search(record.text("image") or "")
        yield Run(
            location=record.location,
            tool=NAME,
            engine=_ENGINES.get(_said(record, "framework")),
            engine_version=version[1] if version else None,
            model=record.text("model"),
            gpu=_CARDS.get(card, card or None),
            weight_dtype=_said(record, "precision") or None,
            tp=1 if over_data else tp,
            dp=tp if over_data else None,
            ep=record.count("ep"),
            input_tokens=record.number("isl"),
            output_tokens=record.number("osl"),
            concurrency=record.number("conc"),
            ttft_ms=None if ttft_s is None else ttft_s * MS_PER_S,
            tpot_ms=None if tpot_s is None else tpot_s * MS_PER_S,
            output_tokens_per_s=None if per_gpu is None or tp is None else per_gpu * tp,
        )


def _refuse_what_is_not_one_replica(record: Record) -> None:
    if _said(record, "disagg") not in _NONE:
        message = "prefill and decode on separate servers is not what gpuplan predicts; leave this run out"
        raise record.fault(message, "disagg")
    for key in ("spec_decoding", "mtp"):
        if _said(record, key) not in _NONE:
            raise record.fault("speculative decoding is not what gpuplan predicts; leave this run out", key)


def _said(record: Record, key: str) -> str:
    """A word in lower case, however the tool's version wrote it: text, true or false, or nothing."""
    value = record.value.get(key)
    return "" if value is None else str(value).strip().lower()
