"""Reads public start-up logs (records.jsonl) and facts (fits.jsonl) into questions that the memory model can answer."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from catalog import Catalog
from catalog.schema.versions import version_key
from catalog.units import GIB
from optimizer.memory.extras import SPECULATIVE

NAMES: Mapping[str, Any] = yaml.safe_load((Path(__file__).parent / "names.yaml").read_text(encoding="utf-8"))
SOURCES: Mapping[str, Any] = yaml.safe_load((Path(__file__).parent / "sources.yaml").read_text(encoding="utf-8"))
_V1_SINCE, _LAST_V0, _UNCHUNKED_TOKENS = (0, 8), "0.8", 32768
_WORDS = ("engine_version", "gpu", "notes", "excerpt", "model")
_SMALL_POOL_GIB = 0.3
"""Two printed decimals of less are no measurement."""


class LeftOutError(Exception):
    """A record that cannot be compared; the message says why."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One log or fact: the question it answers and what it says."""

    id: str
    source: str
    in_sweep: bool
    arguments: Mapping[str, Any]
    """Of `estimate_memory`."""
    card_known: bool
    figures: Mapping[str, float]
    """Name of an estimate's field -> value in the log."""
    fits: bool | None
    doubts: tuple[str, ...]
    """Why it is compared but not counted among the strict ones."""

    @property
    def model(self) -> str:
        """Catalog id."""
        return str(self.arguments["model"])


def read(path: Path, catalog: Catalog, *, with_sources: bool = True) -> tuple[list[Logged], Counter[str]]:
    """Every record that can be compared, and why the others cannot; `with_sources` adds what their sources say."""
    kept, left_out = [], Counter[str]()
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
            kept.append(_logged(record, catalog, SOURCES.get(record["id"], {}) if with_sources else {}))
        except LeftOutError as reason:
            left_out[str(reason)] += 1
    return kept, left_out


def _logged(record: Mapping[str, Any], catalog: Catalog, source: Mapping[str, Any]) -> Logged:
    engine = NAMES["engines"].get(record.get("engine"))
    if engine is None:
        raise LeftOutError(f"engine {record.get('engine')} is not described")
    said = source.get("arguments", {})
    if not (said.get("tp") or record.get("tp")) or not (said.get("pp") or record.get("pp")):
        raise LeftOutError("parallel degrees not stated")
    model, short = _model(str(said.get("model") or record["model"]), catalog)
    weights = str(said.get("weight_dtype") or _weights(record, short))
    cache = NAMES["kv_formats"].get(record.get("kv_cache_dtype") or "")
    if cache is None:
        raise LeftOutError(f"KV cache type {record['kv_cache_dtype']} is not described")
    gpu, stand_in, total_gib = _card(record)
    card_known = gpu is not None or "gpu" in said
    version = _version(str(record.get("engine_version") or "")) if engine != "llamacpp" else None
    arguments = {
        "model": model, "gpu": gpu or stand_in or ("b200-sxm" if weights in ("nvfp4", "mxfp4") else "h100-sxm"),
        "weight_dtype": weights, "kv_cache_dtype": cache,
        "tp": record["tp"], "pp": record["pp"], "dp": record.get("dp") or 1, "ep": record.get("ep") or 1,
        "engine": engine, "engine_version": version, "gpu_memory_gib": total_gib,
        "gpu_memory_utilization": record.get("gpu_memory_utilization"), "max_model_len": record.get("max_model_len"),
        "max_num_seqs": record.get("max_num_seqs"), "max_num_batched_tokens": record.get("max_num_batched_tokens"),
        "enforce_eager": bool(record.get("enforce_eager")),
        **(_old_batches(record) if engine == "vllm" and _is_old_scheduler(str(record.get("engine_version"))) else {}),
        **_launched(record, engine),
        **said,
    }  # fmt: skip
    return Logged(
        id=record["id"],
        source=str(record["source_url"]),
        in_sweep=bool(re.search(NAMES["sweep"], str(record["source_url"]))),
        arguments=arguments,
        card_known=card_known,
        figures=_figures(record, engine, short, card_known),
        fits=record.get("fits"),
        doubts=tuple(_doubts(record, engine, arguments, short, names_model="model" in said)),
    )


def _model(name: str, catalog: Catalog) -> tuple[str, str]:
    """Catalog id and the lower-case name without owner, remarks and quantization."""
    if name in catalog.models:
        return name, name.split("/")[-1].lower()
    whole = re.sub(r"\s*\(.*\)$|\s+class.*$", "", name).lower()
    shorts = [whole, whole.split("/")[-1]]
    shorts += [re.sub(NAMES["quantized_suffix"], "", short) for short in shorts]
    known = {model.split("/")[-1].lower(): model for model in catalog.models}
    for short in shorts:
        for twin in (short, short.replace(" ", "-"), f"{short}-instruct", f"{short}-it"):
            if found := NAMES["models"].get(twin) or known.get(twin):
                return found, short
    raise LeftOutError(f"model not in the catalog: {name}")


def _weights(record: Mapping[str, Any], short: str) -> str:
    name = str(record.get("quantization") or "").lower()
    if name == "fp8" and re.match(NAMES["block_fp8_models"], short) and "dynamic" not in str(record["model"]).lower():
        name = "fp8-block"
    if name not in NAMES["formats"]:
        raise LeftOutError(f"weight format not stated or not described: {name or 'none'}")
    return str(NAMES["formats"][name])


def _launched(record: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """Flags that the log's words tell of: a drafting head, or those a launcher sets that is named."""
    words = " ".join(str(record.get(key) or "") for key in _WORDS)
    flags: dict[str, Any] = {"speculative": next((h for h in SPECULATIVE if re.search(rf"\b{h}\b", words, re.I)), None)}
    budget_gib = (record.get("total_gpu_memory_gib") or 0.0) * (record.get("gpu_memory_utilization") or 0.0)
    for launcher, sets in NAMES["launchers"].items():
        if engine == sets["engine"] and launcher in words and budget_gib:
            left_gib = budget_gib - (record.get("weights_gib_per_gpu") or 0.0)
            of_pool = (sequences for below_gib, sequences in sets["max_num_seqs_by_pool_gib"] if left_gib <= below_gib)
            flags |= {"max_num_seqs": record.get("max_num_seqs") or next(of_pool, None), **sets["flags"]}
    return flags


def _card(record: Mapping[str, Any]) -> tuple[str | None, str | None, float | None]:
    """The card; what stands in for the weights on one that is not in the catalog; its memory, where stated."""
    name, total_gib = str(record.get("gpu") or "").lower(), record.get("total_gpu_memory_gib")
    if total_gib is None and name.startswith("h20-141"):
        total_gib = 139.8
    for pattern, gpu, *stand_in in NAMES["cards"]:
        if re.search(pattern, name):
            return gpu, next(iter(stand_in), None), total_gib
    sized = (gpu for least_gib, gpu in NAMES["cards_by_memory"] if total_gib and total_gib >= least_gib)
    return next(sized, None), None, total_gib


def _version(text: str) -> str | None:
    """`<=0.16 (doc)` -> 0.16, `0.2x` -> 0.20; null for dates and source builds."""
    if re.search(r"\b0\.[01](\.0)?\.dev", text):
        return None
    if tens := re.match(r"(\d+)\.(\d)x", text):
        return f"{tens[1]}.{tens[2]}0"
    number = re.search(r"(?<![\d/-])(\d{1,2}\.\d+(?:\.\d+)?)", text)
    if number and _is_old_scheduler(text):
        return _LAST_V0  # whose graphs and layouts it shares; its batches are `_old_batches`
    return number[1] if number else None


def _is_old_scheduler(text: str) -> bool:
    """V0 forced on a release that has another by default."""
    number = re.search(r"\d{1,2}\.\d+", text)
    return number is not None and "(V0" in text and version_key(number[0]) >= _V1_SINCE


def _old_batches(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the old scheduler takes for granted: whole prompts up to 32,768 tokens, chunks of 2048 beyond."""
    length = record.get("max_model_len") or 0
    tokens = max(length, 2048) if length <= _UNCHUNKED_TOKENS else 2048
    return {
        "max_num_seqs": record.get("max_num_seqs") or 256,
        "max_num_batched_tokens": record.get("max_num_batched_tokens") or tokens,
    }


def _figures(record: Mapping[str, Any], engine: str, short: str, card_known: bool) -> dict[str, float]:
    pool_gib, tokens = record.get("kv_cache_gib_per_gpu"), record.get("kv_cache_tokens")
    figures = {"weights_gib": record.get("weights_gib_per_gpu")}
    # Pipelines and uneven ranks print the tokens of the poorest.
    uneven = re.search(NAMES["uneven_ranks"], str(record.get("notes")))
    tells_bytes = record["pp"] == 1 and not re.search(NAMES["tokens_of_another_kind"], short) and not uneven
    if tells_bytes and pool_gib and tokens and pool_gib > _SMALL_POOL_GIB:
        figures["kv_bytes_per_token"] = pool_gib * GIB / tokens
    if card_known:
        figures["non_torch_gib"] = record.get("non_torch_gib") if engine == "vllm" else None
        figures["activation_gib"] = record.get("activation_peak_gib") if engine == "vllm" else None
        stated = record.get("gpu_memory_utilization") is not None or engine == "vllm"
        figures["kv_cache_gib"] = pool_gib if engine != "llamacpp" and stated and (pool_gib or 0) > 0.5 else None
    return {name: float(value) for name, value in figures.items() if value is not None}


def _doubts(
    record: Mapping[str, Any], engine: str, arguments: Mapping[str, Any], short: str, *, names_model: bool
) -> list[str]:
    words = " ".join(str(record.get(key) or "") for key in _WORDS)
    found = [name for name, pattern in NAMES["doubts"].items() if re.search(pattern, words, re.I)]
    guessed = record.get("model_inferred") or "name not in excerpt" in words or "variant)" in words
    if guessed and not names_model:
        found.append("model inferred from sizes")
    if re.search(NAMES["vision"], short) and "limit image" not in words:
        found.append("vision model without media limits stated")
    if engine == "vllm" and arguments["gpu_memory_utilization"] is None:
        found.append("memory fraction not stated, default assumed")
    if engine == "vllm" and arguments["engine_version"] is None:
        found.append("engine version not stated")
    return found
