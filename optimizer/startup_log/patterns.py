"""What the engines print when they start: the patterns of every fact, by engine, and what several ranks' values mean.

Texts of vllm/v1/worker/gpu_worker.py, vllm/v1/core/kv_cache_utils.py and vllm/worker/worker.py (V0);
python/sglang/srt/model_executor/model_runner.py and mem_cache/memory_pool.py; llama.cpp's load_tensors,
llama_kv_cache and llama_context, before and after their renaming; tensorrt_llm/_torch/pyexecutor/_util.py and the
C++ runtime's kvCacheManager (TensorRT-LLM).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from catalog.units import GIB, MEBI

Patterns = Mapping[str, tuple[re.Pattern[str], ...]]
"""Name of a fact -> what a line says of it, as the first group; of several patterns the first that any line matches."""

LEAST = frozenset(("kv_cache_gib", "k_size_gib", "v_size_gib", "kv_cache_tokens", "max_concurrency", "gpu_memory_gib"))
"""Figures of which the rank with the smallest limits; of the others the one with the largest."""


@dataclass(frozen=True, slots=True)
class Words:
    """One engine's."""

    sizes: Patterns
    """Figures, each of one rank."""
    flags: Patterns
    """Settings, as text."""
    unit: float = 1.0
    """Sizes are divided by this, to be GiB."""
    adds_up: bool = False
    """A rank prints each size in parts."""
    largest: bool = False
    """Of a size that a rank prints more than once the largest counts, as the others are of a drafting model; otherwise
    the last."""


_NUMBER = r"(-?\d[\d,]*(?:\.\d+)?)"
_QUOTED = r"['\"]?([^'\",)\s]+)"
_DIGITS = r"(\d+)"


def _patterns(**texts: str | tuple[str, ...]) -> Patterns:
    """`N` in a text is a number."""
    each = {name: (text,) if isinstance(text, str) else text for name, text in texts.items()}
    return {name: tuple(re.compile(text.replace("<N>", _NUMBER)) for text in of) for name, of in each.items()}


def _argument(name: str, value: str = _DIGITS) -> str:
    """`name=value`, `'name': value`"""
    return rf"\b{name}['\"]?[=:] ?{value}"


_VLLM = Words(
    sizes=_patterns(
        weights_gib=(
            "[Mm]odel loading took <N> Gi?B",
            "Loading model weights took <N> Gi?B",
            "model weights take <N> ?GiB",
            "weights memory: <N> ?GiB",
            "Actual usage is <N> GiB for weight",
        ),
        activation_gib=(
            "PyTorch activation peak memory takes <N> ?GiB",
            "torch peak memory increase: <N> ?GiB",
            "<N> GiB for peak activation",
        ),
        non_torch_gib=(
            "non_torch_memory takes <N> ?GiB",
            "<N> GiB for non-torch memory",
            "non-torch forward increase memory: <N> ?GiB",
        ),
        cuda_graph_gib=("Estimated CUDA graph memory: <N> GiB", "Graph capturing finished in .{1,20} took <N> GiB"),
        kv_cache_gib=(
            "Available KV cache memory: <N> GiB",
            "reserved for KV Cache is <N> ?GiB",
            r"available KV cache memory \(<N> GiB\)",
            "Current kv cache memory in use is <N> GiB",
        ),
        kv_cache_tokens="GPU KV cache size: <N> tokens",
        max_concurrency=r"Maximum concurrency for [\d,]+ tokens per request: <N>x",
        gpu_memory_gib=(
            r"total_gpu_memory \(<N> ?GiB\)",
            r"Free memory on device .{0,20}\([\d.]+/<N> GiB\)",
        ),
    ),
    flags=_patterns(
        engine_version=(
            r"vLLM API server version:? v?(\d+\.\d+(?:\.\d+)?)",
            r"LLM engine \(v(\d+\.\d+(?:\.\d+)?)",
        ),
        model=(rf"engine \(v[^)]*\) with config: model={_QUOTED}", rf"'model': {_QUOTED}"),
        max_model_len=(
            "max_seq_len=<N>",
            "'max_model_len': <N>",
            "Maximum concurrency for <N> tokens per request",
            "Using max model len <N>",
        ),
        tp=_argument("tensor_parallel_size"),
        pp=_argument("pipeline_parallel_size"),
        dp=_argument("data_parallel_size"),
        ep_enabled=_argument("enable_expert_parallel", "(True)"),
        gpu_memory_utilization=(
            _argument("gpu_memory_utilization", "<N>"),
            r"gpu_memory_utilization \(<N>\)",
            r"Desired GPU memory utilization is \(<N>,",
            "The current --gpu-memory-utilization=<N>",
        ),
        max_num_seqs=_argument("max_num_seqs"),
        max_num_batched_tokens=_argument("max_num_batched_tokens"),
        quantization=_argument("quantization", _QUOTED),
        dtype=_argument("dtype", r"['\"]?(?:torch\.)?(\w+)"),
        kv_cache_dtype=_argument("kv_cache_dtype", _QUOTED),
        enforce_eager=_argument("enforce_eager", "(True|False)"),
    ),
)
_SGLANG = Words(
    sizes=_patterns(
        weights_gib=r"Load weight end\..*mem usage=<N> GB",
        k_size_gib=r"KV Cache is allocated\..*K size: <N> GB",
        v_size_gib=r"KV Cache is allocated\..*V size: <N> GB",
        kv_cache_gib=r"KV Cache is allocated\..*KV size: <N> GB",
        kv_cache_tokens=(r"KV Cache is allocated\..*#tokens: <N>", "max_total_num_tokens=<N>"),
        cuda_graph_gib=r"Capture cuda graph end\..*mem usage=<N> GB",
    ),
    flags=_patterns(
        model=_argument("model_path", _QUOTED),
        tp=_argument("tp_size"),
        pp=_argument("pp_size"),
        gpu_memory_utilization=_argument("mem_fraction_static", "<N>"),
        max_model_len=_argument("context_len(?:gth)?"),
        max_num_seqs=_argument("max_running_requests"),
        max_num_batched_tokens=_argument("chunked_prefill_size"),
        quantization=_argument("quantization", _QUOTED),
        dtype=r"Load weight end\..*dtype=(?:torch\.)?(\w+)",
        kv_cache_dtype=_argument("kv_cache_dtype", _QUOTED),
    ),
    largest=True,
)
_PROFILED = "in memory usage profiling: <N> GiB"
_TRTLLM = Words(
    sizes=_patterns(
        weights_gib=rf"Memory used after loading model weights \(inside torch\) {_PROFILED}",
        activation_gib=rf"Memory dynamically allocated during inference \(inside torch\) {_PROFILED}",
        non_torch_gib=rf"Memory used outside torch \(e\.g\., NCCL and CUDA graphs\) {_PROFILED}",
        kv_cache_gib=(
            "Allocated <N> GiB for max tokens in paged KV cache",
            "available KV cache memory when calculating max tokens: <N> GiB",
        ),
        kv_cache_tokens=r"for max tokens in paged KV cache \(<N>\)",
        gpu_memory_gib=(
            "device total memory <N> GiB",
            "calculating max tokens in paged kv cache: total: <N> GiB",
        ),
    ),
    flags=_patterns(
        engine_version=r"TensorRT-LLM [Vv]ersion:? {1,20}v?(\d+\.\d+(?:\.\d+)?)",
        model=(_argument("model", _QUOTED), r"--model(?:[_-]path)?[= ]{1,4}([^\s'\"]+)"),
        max_model_len=_argument("max_seq_len"),
        tp=_argument("tensor_parallel_size"),
        pp=_argument("pipeline_parallel_size"),
        ep=_argument("moe_expert_parallel_size"),
        gpu_memory_utilization=(_argument("free_gpu_memory_fraction", "<N>"), "fraction is set <N>"),
        max_num_seqs=_argument("max_batch_size"),
        max_num_batched_tokens=_argument("max_num_tokens"),
        quantization=rf"\bquant_algo['\"]?[=:] ?(?:<QuantAlgo\.)?{_QUOTED}",
        dtype=_argument("dtype", r"['\"]?(?:torch\.)?(\w+)"),
    ),
)
_DEVICE = r"(?:CUDA|ROCm|Vulkan|Metal|SYCL)\d*"
_LLAMACPP = Words(
    sizes=_patterns(
        weights_gib=rf"load_tensors: +{_DEVICE} (?:model )?buffer size = +<N> MiB",
        kv_cache_gib=rf"{_DEVICE} (?:KV|RS) buffer size = +<N> MiB",
        activation_gib=rf"{_DEVICE} compute buffer size = +<N> MiB",
    ),
    flags=_patterns(
        model=r"general\.name {1,60}(?:str)? {0,60}= (.{1,100}?) {0,60}$",
        file=r"loaded meta data .{1,80} from (?:[^ ]{0,500}[/\\])?([^ /\\]{1,200})\.gguf",
        file_type=("file type {1,60}= (.{1,40}?) {0,60}$", "model ftype {1,60}= (.{1,40}?) {0,60}$"),
        max_model_len=r"llama_(?:context|init_from_model|new_context_with_model): n_ctx += (\d+)",
        offloaded=r"load_tensors: +offloaded (\d+/\d+) layers to GPU",
        context_per_slot=r"llama_context: n_ctx_(?:per_)?seq += (\d+)",
        max_num_seqs=r"n_seq_max += (\d+)",
        max_num_batched_tokens=r"n_ubatch += (\d+)",
        kv_cache_dtype=r"\bK \((\w+)\):",
        device="Device 0: (.{1,80}?),",
    ),
    unit=GIB / MEBI,
    adds_up=True,
)
WORDS: Mapping[str, Words] = {"vllm": _VLLM, "sglang": _SGLANG, "trtllm": _TRTLLM, "llamacpp": _LLAMACPP}
"""Engine id -> its words."""
