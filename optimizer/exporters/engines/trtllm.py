"""How TensorRT-LLM spells the plan (`trtllm-serve`, PyTorch backend, https://nvidia.github.io/TensorRT-LLM/commands/)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optimizer.exporters.engines.dialect import Dialect, Planned, Setting, Share, stage_by_stage


def settings(planned: Planned) -> dict[str, Setting]:
    """Options of `trtllm-serve`; the fraction is of what stays free once weights and buffers are there."""
    found: dict[str, Setting] = {
        "backend": "pytorch",
        "tp_size": planned.tp,
        "pp_size": planned.pp,
        "max_batch_size": planned.max_batch_size,
        "max_num_tokens": planned.prefill_tokens,
        "max_seq_len": planned.max_model_len,
        "kv_cache_free_gpu_memory_fraction": planned.memory_fraction,
        "kv_cache_dtype": planned.kv_cache_dtype,
    }
    if planned.ep > 1:
        found["ep_size"] = planned.ep
    return found


def configuration(planned: Planned) -> dict[str, Any]:
    """The same as a file for `--config`, which can also say what the options cannot."""
    found: dict[str, Any] = {
        "tensor_parallel_size": planned.tp,
        "pipeline_parallel_size": planned.pp,
        "max_batch_size": planned.max_batch_size,
        "max_seq_len": planned.max_model_len,
        "max_num_tokens": planned.prefill_tokens,
        "enable_chunked_prefill": True,
        "kv_cache_config": {
            "dtype": planned.kv_cache_dtype,
            "free_gpu_memory_fraction": planned.memory_fraction,
            "enable_block_reuse": True,
        },
        "cuda_graph_config": {"enable_padding": True, "max_batch_size": planned.max_batch_size},
    }
    if planned.ep > 1:
        found["moe_expert_parallel_size"] = planned.ep
    return found


def _start_over_servers(shares: Sequence[Share], command: Sequence[str]) -> tuple[str, ...]:
    """One MPI world with a rank a GPU (https://nvidia.github.io/TensorRT-LLM/commands/trtllm-serve/, multi-node)."""
    parts = []
    for share in shares:
        gpus = ",".join(map(str, share.gpus))
        host = ("-n", str(len(share.gpus)), "-host", f"{share.address}:{len(share.gpus)}")
        parts.append((*host, "-x", f"CUDA_VISIBLE_DEVICES={gpus}", "trtllm-llmapi-launch", *command))
    return ("mpirun", "--allow-run-as-root", *parts[0], *(word for part in parts[1:] for word in (":", *part)))


def _cannot(planned: Planned) -> str:
    return f"dp {planned.dp}: attention data parallelism counts otherwise in TensorRT-LLM" if planned.dp > 1 else ""


TRTLLM = Dialect(
    name="TensorRT-LLM",
    release="1.2.0",
    program=("trtllm-serve",),
    image_program=("trtllm-serve",),
    images={"nvidia": "nvcr.io/nvidia/tensorrt-llm/release:{release}"},
    health_path="/health",
    cache_folder="/root/.cache/huggingface",
    # kv_cache_config.dtype, https://nvidia.github.io/TensorRT-LLM/features/kvcache.html
    kv_cache_dtypes={"auto": "auto", "fp8": "fp8", "nvfp4": "nvfp4"},
    online_quantization={},
    settings=settings,
    model_words=lambda checkpoint: (checkpoint,),
    model_key=None,
    listen_words=lambda port: ("--host", "0.0.0.0", "--port", str(port)),
    node_words=None,
    start_over_servers=_start_over_servers,
    gpus_in_rank_order=stage_by_stage,
    cannot=_cannot,
)
