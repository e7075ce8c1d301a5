"""What the engines print when they start: one pattern a fact, and how the values of several ranks become one.

Texts of vllm/v1/worker/gpu_worker.py, vllm/v1/core/kv_cache_utils.py and vllm/worker/worker.py (V0);
python/sglang/srt/model_executor/model_runner.py and mem_cache/memory_pool.py; llama.cpp's load_tensors,
llama_kv_cache and llama_context, before and after their renaming.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from catalog.units import GIB, MEBI

MIB_PER_GIB = GIB / MEBI
Rule = Literal["most", "least", "sum"]


@dataclass(frozen=True, slots=True)
class Size:
    """A figure that a line states as the pattern's first group."""

    name: str
    pattern: re.Pattern[str]
    unit: float = 1.0
    """The value is divided by this."""
    ranks: Rule = "most"
    """Of the values of several ranks, the one that limits; of several buffers of one rank, the sum."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A setting that a line states as the pattern's first group."""

    name: str
    pattern: re.Pattern[str]


def _p(text: str) -> re.Pattern[str]:
    return re.compile(text)


DEVICE = r"(?:CUDA|ROCm|Vulkan|Metal|SYCL)\d*"
NUMBER = r"(-?\d[\d,]*(?:\.\d+)?)"
_QUOTED = r"['\"]?([^'\",)\s]+)"

SIZES: Mapping[str, tuple[Size, ...]] = {
    "vllm": (
        Size("weights_gib", _p(rf"[Mm]odel loading took {NUMBER} Gi?B")),
        Size("weights_gib", _p(rf"Loading model weights took {NUMBER} Gi?B")),
        Size("weights_gib", _p(rf"model weights take {NUMBER} ?GiB")),
        Size("weights_gib", _p(rf"weights memory: {NUMBER} ?GiB")),
        Size("activation_gib", _p(rf"PyTorch activation peak memory takes {NUMBER} ?GiB")),
        Size("activation_gib", _p(rf"torch peak memory increase: {NUMBER} ?GiB")),
        Size("weights_gib", _p(rf"Actual usage is {NUMBER} GiB for weight")),
        Size("activation_gib", _p(rf"{NUMBER} GiB for peak activation")),
        Size("non_torch_gib", _p(rf"non_torch_memory takes {NUMBER} ?GiB")),
        Size("non_torch_gib", _p(rf"{NUMBER} GiB for non-torch memory")),
        Size("non_torch_gib", _p(rf"non-torch forward increase memory: {NUMBER} ?GiB")),
        Size("cuda_graph_gib", _p(rf"Estimated CUDA graph memory: {NUMBER} GiB")),
        Size("cuda_graph_gib", _p(rf"Graph capturing finished in .{{1,20}} took {NUMBER} GiB")),
        Size("kv_cache_gib", _p(rf"Available KV cache memory: {NUMBER} GiB"), ranks="least"),
        Size("kv_cache_gib", _p(rf"reserved for KV Cache is {NUMBER} ?GiB"), ranks="least"),
        Size("kv_cache_gib", _p(rf"available KV cache memory \({NUMBER} GiB\)"), ranks="least"),
        Size("kv_cache_gib", _p(rf"Current kv cache memory in use is {NUMBER} GiB"), ranks="least"),
        Size("kv_cache_tokens", _p(rf"GPU KV cache size: {NUMBER} tokens"), ranks="least"),
        Size("gpu_blocks", _p(rf"# (?:GPU|CUDA) blocks: {NUMBER}"), ranks="least"),
        Size("max_concurrency", _p(rf"Maximum concurrency for [\d,]+ tokens per request: {NUMBER}x"), ranks="least"),
        Size("gpu_memory_gib", _p(rf"total_gpu_memory \({NUMBER} ?GiB\)"), ranks="least"),
        Size("gpu_memory_gib", _p(rf"Free memory on device .{{0,20}}\([\d.]+/{NUMBER} GiB\)"), ranks="least"),
    ),
    "sglang": (
        Size("weights_gib", _p(rf"Load weight end\..*mem usage={NUMBER} GB")),
        Size("k_size_gib", _p(rf"KV Cache is allocated\..*K size: {NUMBER} GB"), ranks="least"),
        Size("v_size_gib", _p(rf"KV Cache is allocated\..*V size: {NUMBER} GB"), ranks="least"),
        Size("kv_cache_gib", _p(rf"KV Cache is allocated\..*KV size: {NUMBER} GB"), ranks="least"),
        Size("kv_cache_tokens", _p(rf"KV Cache is allocated\..*#tokens: {NUMBER}"), ranks="least"),
        Size("kv_cache_tokens", _p(rf"max_total_num_tokens={NUMBER}"), ranks="least"),
        Size("cuda_graph_gib", _p(rf"Capture cuda graph end\..*mem usage={NUMBER} GB")),
        Size("free_before_gib", _p(rf"Load weight begin\. avail mem={NUMBER} GB"), ranks="least"),
    ),
    "llamacpp": (
        Size("weights_gib", _p(rf"{DEVICE} model buffer size = +{NUMBER} MiB"), MIB_PER_GIB, "sum"),
        Size("kv_cache_gib", _p(rf"{DEVICE} KV buffer size = +{NUMBER} MiB"), MIB_PER_GIB, "sum"),
        Size("activation_gib", _p(rf"{DEVICE} compute buffer size = +{NUMBER} MiB"), MIB_PER_GIB, "sum"),
    ),
}  # fmt: skip

FLAGS: Mapping[str, tuple[Flag, ...]] = {
    "vllm": (
        Flag("engine_version", _p(r"vLLM API server version:? v?(\d+\.\d+(?:\.\d+)?)")),
        Flag("engine_version", _p(r"LLM engine \(v(\d+\.\d+(?:\.\d+)?)")),
        Flag("model", _p(rf"engine \(v[^)]*\) with config: model={_QUOTED}")),
        Flag("model", _p(rf"'model': {_QUOTED}")),
        Flag("max_model_len", _p(rf"max_seq_len={NUMBER}")),
        Flag("max_model_len", _p(rf"'max_model_len': {NUMBER}")),
        Flag("max_model_len", _p(rf"Maximum concurrency for {NUMBER} tokens per request")),
        Flag("max_model_len", _p(rf"Using max model len {NUMBER}")),
        Flag("tp", _p(r"tensor_parallel_size['\"]?[=:] ?(\d+)")),
        Flag("pp", _p(r"pipeline_parallel_size['\"]?[=:] ?(\d+)")),
        Flag("dp", _p(r"data_parallel_size['\"]?[=:] ?(\d+)")),
        Flag("ep_enabled", _p(r"enable_expert_parallel['\"]?[=:] ?(True)")),
        Flag("gpu_memory_utilization", _p(rf"gpu_memory_utilization['\"]?[=:] ?{NUMBER}")),
        Flag("gpu_memory_utilization", _p(rf"gpu_memory_utilization \({NUMBER}\)")),
        Flag("gpu_memory_utilization", _p(rf"Desired GPU memory utilization is \({NUMBER},")),
        Flag("gpu_memory_utilization", _p(rf"The current --gpu-memory-utilization={NUMBER}")),
        Flag("max_num_seqs", _p(r"max_num_seqs['\"]?[=:] ?(\d+)")),
        Flag("max_num_batched_tokens", _p(r"max_num_batched_tokens['\"]?[=:] ?(\d+)")),
        Flag("quantization", _p(rf"\bquantization['\"]?[=:] ?{_QUOTED}")),
        Flag("dtype", _p(r"\bdtype['\"]?[=:] ?['\"]?(?:torch\.)?(\w+)")),
        Flag("kv_cache_dtype", _p(rf"kv_cache_dtype['\"]?[=:] ?{_QUOTED}")),
        Flag("enforce_eager", _p(r"enforce_eager['\"]?[=:] ?(True|False)")),
    ),
    "sglang": (
        Flag("model", _p(rf"model_path={_QUOTED}")),
        Flag("tp", _p(r"\btp_size=(\d+)")),
        Flag("pp", _p(r"\bpp_size=(\d+)")),
        Flag("gpu_memory_utilization", _p(rf"mem_fraction_static={NUMBER}")),
        Flag("max_model_len", _p(r"context_len(?:gth)?=(\d+)")),
        Flag("max_num_seqs", _p(r"max_running_requests=(\d+)")),
        Flag("max_num_batched_tokens", _p(r"chunked_prefill_size=(\d+)")),
        Flag("quantization", _p(rf"\bquantization={_QUOTED}")),
        Flag("dtype", _p(r"Load weight end\..*dtype=(?:torch\.)?(\w+)")),
        Flag("kv_cache_dtype", _p(rf"kv_cache_dtype={_QUOTED}")),
    ),
    "llamacpp": (
        Flag("model", _p(r"general\.name {1,60}(?:str)? {0,60}= (.{1,100}?) {0,60}$")),
        Flag("file_type", _p(r"file type {1,60}= (.{1,40}?) {0,60}$")),
        Flag("max_model_len", _p(r"llama_(?:context|init_from_model|new_context_with_model): n_ctx += (\d+)")),
        Flag("max_num_seqs", _p(r"n_seq_max += (\d+)")),
        Flag("max_num_batched_tokens", _p(r"n_ubatch += (\d+)")),
        Flag("kv_cache_dtype", _p(r"\bK \((\w+)\):")),
        Flag("device", _p(r"Device 0: (.{1,80}?),")),
    ),
}  # fmt: skip
