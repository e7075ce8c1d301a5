"""From what a log states to the question that the memory model answers: ids of the catalog, numbers, flags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from catalog.errors import InputError
from catalog.loader import Catalog
from optimizer.startup_log.read import StartupLog

_FORMAT_OF_METHOD = {
    "fp8": "fp8", "awq": "awq-int4", "awq_marlin": "awq-int4", "gptq": "gptq-int4", "gptq_marlin": "gptq-int4",
    "mxfp4": "mxfp4", "modelopt_fp4": "nvfp4", "modelopt": "fp8", "bitsandbytes": "bnb-nf4",
    "fp8_block_scales": "fp8-block", "nvfp4": "nvfp4", "w4a16_awq": "awq-int4", "w4a16_gptq": "gptq-int4",
}  # fmt: skip
"""`--quantization` of vLLM and SGLang, `quant_algo` of TensorRT-LLM -> weight format."""
_FORMAT_IN_NAME = (
    (r"nvfp4|-fp4", "nvfp4"), (r"w4a16|gptq.?int4|gptq-4bit", "gptq-int4"), (r"awq", "awq-int4"),
    (r"w8a8|int8", "int8"), (r"fp8", "fp8"),
)  # fmt: skip
"""Of checkpoints that name no method of their own (compressed-tensors)."""
_SUFFIX = r"[-_.](fp8(-dynamic)?|awq|gptq(-int[48])?|nvfp4|fp4|w4a16|quantized\.w\d+a\d+|bnb-4bit|gguf|q\d\w*)$"
_KV_FORMATS = {"auto": "auto", "f16": "auto", "bf16": "auto", "bfloat16": "auto", "float16": "auto",
               "fp8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8-e5m2", "fp8_ds_mla": "fp8", "q8_0": "q8_0",
               "q4_0": "q4_0", "q4_1": "q4_1", "q5_0": "q5_0", "q5_1": "q5_1"}  # fmt: skip
_WHOLE = ("tp", "pp", "dp", "ep", "max_model_len", "max_num_seqs", "max_num_batched_tokens")


def question_of(log: StartupLog, catalog: Catalog, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `estimate_memory`: what the user gives, else what the log states; None = the engine's default.

    InputError says which option to add where neither tells.
    """
    stated = log.stated
    model = given.get("model") or _model([stated[name] for name in ("model", "file") if name in stated], catalog)
    question: dict[str, Any] = {
        "model": model,
        "gpu": given.get("gpu") or _gpu(log, catalog),
        "weight_dtype": given.get("weight_dtype") or _weight_dtype(stated, model, catalog),
        "kv_cache_dtype": _kv_cache_dtype(stated.get("kv_cache_dtype", "auto")),
        "tp": 1, "pp": 1, "dp": 1, "ep": 1,
        "engine": log.engine,
        "engine_version": stated.get("engine_version"),
        "gpu_memory_gib": log.sizes.get("gpu_memory_gib"),
        "gpu_memory_utilization": float(stated["gpu_memory_utilization"].replace(",", ""))
        if "gpu_memory_utilization" in stated else None,
        "enforce_eager": stated.get("enforce_eager") == "True",
    }  # fmt: skip
    question |= {name: int(float(stated[name].replace(",", ""))) for name in _WHOLE if name in stated}
    if "context_per_slot" in stated:
        question |= _slots(question, int(stated["context_per_slot"]))
    if "ep_enabled" in stated:
        question["ep"] = question["tp"] * question["dp"]
    if log.engine == "llamacpp" and any(given.get(degree) not in (None, 1) for degree in ("tp", "pp", "dp", "ep")):
        raise InputError("a llama.cpp log is compared over all its cards together; leave out --tp, --pp, --dp and --ep")
    return question | {name: value for name, value in given.items() if value is not None}


def _slots(question: Mapping[str, Any], context_per_slot: int) -> dict[str, int]:
    """llama.cpp's context is that of all slots: cut into equal parts, or shared as if there were one."""
    slots = question.get("max_num_seqs", 1)
    if context_per_slot * slots == question.get("max_model_len"):
        return {"max_model_len": context_per_slot}
    return {"max_num_seqs": 1}


def _model(names: list[str], catalog: Catalog) -> str:
    """The first of the names a log gives its model that is known."""
    if not names:
        raise InputError("the log does not name its model; say which: gpuplan memory MODEL --from-log FILE")
    known = {model.split("/")[-1].lower(): model for model in catalog.models}
    for name in names:
        if name in catalog.models:
            return name
        short = name.rstrip("/").split("/")[-1].lower().replace(" ", "-")
        for candidate in (short, re.sub(_SUFFIX, "", short), re.sub(_SUFFIX, "", re.sub(_SUFFIX, "", short))):
            for twin in (candidate, f"{candidate}-instruct", f"{candidate}-it"):
                if twin in known:
                    return known[twin]
    raise InputError(
        f"the log's model '{names[0][:120]}' is not in the catalog; name one of the same network: gpuplan memory MODEL "
        "--from-log FILE, or add it with gpuplan catalog models add-model CONFIG.json"
    )


def _gpu(log: StartupLog, catalog: Catalog) -> str:
    device = log.stated.get("device", "").lower()
    named = [gpu for gpu in catalog.gpus.values() if device and gpu.name.lower() in device]
    if named:
        return max(named, key=lambda gpu: len(gpu.name)).id
    raise InputError("the log does not say on which GPU it ran; add --gpu (`gpuplan catalog gpus` lists them)")


def _weight_dtype(stated: Mapping[str, str], model: str, catalog: Catalog) -> str:
    """By the method the log names, the checkpoint's name, or the type of what is not quantized."""
    method, name = stated.get("quantization", "").lower(), stated.get("model", "").lower()
    if "file_type" in stated:
        return _gguf(stated["file_type"], catalog)
    if method in _FORMAT_OF_METHOD:
        return _FORMAT_OF_METHOD[method]
    for pattern, weight_dtype in _FORMAT_IN_NAME:
        if re.search(pattern, name):
            return weight_dtype
    if method:
        raise InputError(f"the log says quantization={method[:40]}, which does not tell the format; add --weight-dtype")
    published = catalog.models[model].checkpoint.weight_format if model in catalog.models else None
    return published or ("fp16" if stated.get("dtype") == "float16" else "bf16")


def _gguf(file_type: str, catalog: Catalog) -> str:
    """`Q4_K - Medium` -> gguf-q4_k_m, `F16` -> fp16"""
    words = file_type.lower().removesuffix("(guessed)").strip()
    words = words.replace(" - ", "_").replace("_medium", "_m").replace("_small", "_s").replace(" ", "")
    by_name = {"f16": "fp16", "bf16": "bf16", "mxfp4moe": "mxfp4"}.get(words, f"gguf-{words}")
    if by_name not in catalog.formats:
        raise InputError(f"the log's file type '{file_type[:40]}' is not in the catalog; add --weight-dtype")
    return by_name


def _kv_cache_dtype(name: str) -> str:
    if name.lower() not in _KV_FORMATS:
        raise InputError(f"the log caches in '{name[:40]}', which is not described; add --kv-cache-dtype")
    return _KV_FORMATS[name.lower()]
