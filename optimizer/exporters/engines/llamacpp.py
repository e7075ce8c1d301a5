"""How llama.cpp spells the plan (`llama-server`, https://github.com/ggml-org/llama.cpp/tree/master/tools/server)."""

from __future__ import annotations

from optimizer.exporters.engines.dialect import Dialect, Planned, Setting, stage_by_stage

ALL_LAYERS = 999
"""More than any model has: every layer on the GPUs."""


def settings(planned: Planned) -> dict[str, Setting]:
    """Options of `llama-server`; --ctx-size is shared by all slots, and there is no fraction of memory."""
    return {
        "alias": planned.model.id,
        "n-gpu-layers": ALL_LAYERS,
        # tp stands for splitting by rows, pp for splitting by layers.
        "split-mode": "row" if planned.tp > 1 else "layer" if planned.pp > 1 else "none",
        "parallel": planned.max_batch_size,
        "ctx-size": planned.max_batch_size * planned.max_model_len,
        "ubatch-size": planned.prefill_tokens,
        "cache-type-k": planned.kv_cache_dtype,
        "cache-type-v": planned.kv_cache_dtype,
        "flash-attn": "on",
    }


def _cannot(planned: Planned) -> str:
    return "rows and layers cannot both be split: tp and pp are above 1" if planned.tp > 1 and planned.pp > 1 else ""


LLAMACPP = Dialect(
    name="llama.cpp",
    release="7000",
    program=("llama-server",),
    image_program=("/app/llama-server",),
    # https://github.com/ggml-org/llama.cpp/blob/master/docs/docker.md
    images={
        "nvidia": "ghcr.io/ggml-org/llama.cpp:server-cuda-b{release}",
        "amd": "ghcr.io/ggml-org/llama.cpp:server-rocm-b{release}",
    },
    health_path="/health",
    cache_folder="/root/.cache/llama.cpp",
    kv_cache_dtypes={"auto": "f16", "q8_0": "q8_0", "q4_0": "q4_0"},
    formats_made_while_loading={},
    loads_published=False,
    settings=settings,
    model_words=lambda checkpoint: ("-m" if checkpoint.startswith("/") else "-hf", checkpoint),
    model_key=None,
    listen_words=lambda port: ("--host", "0.0.0.0", "--port", str(port)),
    node_words=None,
    gpus_in_rank_order=stage_by_stage,
    cannot=_cannot,
)
