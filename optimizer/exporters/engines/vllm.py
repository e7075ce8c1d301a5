"""How vLLM spells the plan (`vllm serve`, https://docs.vllm.ai/en/stable/cli/serve/)."""

from __future__ import annotations

import json

from optimizer.exporters.engines.dialect import Dialect, Node, Planned, Setting, eagle_generation
from optimizer.layout import Drafts
from optimizer.topology import Replica

MOST_MATCHED = 4
"""Tokens of the longest n-gram that is looked up in the prompt, as in vLLM's own example."""


def settings(planned: Planned) -> dict[str, Setting]:
    """Options of `vllm serve`; --gpu-memory-utilization is a fraction of the card's whole memory."""
    found: dict[str, Setting] = {"served-model-name": planned.model.id, "dtype": _dtype(planned)}
    if planned.weight_dtype.startswith("gguf-"):
        found["tokenizer"] = planned.model.id  # the one in a GGUF file is slow and may differ
    found["kv-cache-dtype"] = planned.kv_cache_dtype
    found["tensor-parallel-size"] = planned.tp
    found["pipeline-parallel-size"] = planned.pp
    if planned.dp > 1:
        found["data-parallel-size"] = planned.dp
    if planned.ep > 1:
        found["enable-expert-parallel"] = True
    found["max-model-len"] = planned.max_model_len
    # Both are of one attention rank: each has a scheduler of its own.
    found["max-num-seqs"] = planned.sequences_per_rank
    # What the memory of the plan was computed with, said aloud: the defaults depend on card and version.
    found["max-num-batched-tokens"] = planned.prefill_tokens
    found["gpu-memory-utilization"] = planned.memory_fraction
    if planned.drafts is not None:
        found["speculative-config"] = json.dumps(_drafts(planned.drafts), separators=(",", ":"))
    return found


def _drafts(drafts: Drafts) -> dict[str, Setting]:
    """Of SpeculativeConfig (https://docs.vllm.ai/en/stable/features/speculative_decoding/)."""
    match drafts.method:
        case "eagle":
            word: dict[str, Setting] = {"method": eagle_generation(drafts), "model": str(drafts.draft)}
        case "ngram":
            word = {"method": "ngram", "prompt_lookup_max": MOST_MATCHED}
        case "mtp":
            word = {"method": "mtp"}
        case "draft_model":
            word = {"method": "draft_model", "model": str(drafts.draft)}
    return {**word, "num_speculative_tokens": drafts.tokens}


def _dtype(planned: Planned) -> str:
    """Type of activations; cards without bf16 compute in fp16."""
    if planned.weight_dtype == "fp16" or planned.gpu.tflops.bf16 is None:
        return "float16"
    return "bfloat16" if planned.weight_dtype == "bf16" else "auto"


def _node_words(node: Node) -> tuple[str, ...]:
    words = ("--nnodes", node.nodes, "--node-rank", node.rank, "--master-addr", node.address)
    return (*words, "--master-port", str(node.port), *(("--headless",) if node.follows else ()))


def gpus_in_rank_order(replica: Replica, server: str) -> tuple[int, ...]:
    """Data parallel ranks come outermost, then pipeline, then tensor (vllm/distributed/parallel_state.py)."""
    tp, dp = replica.tp or 1, replica.dp or 1
    return tuple(
        stage.ranks[data * tp + tensor].gpu
        for data in range(dp)
        for stage in replica.stages
        if stage.ranks[0].server == server
        for tensor in range(tp)
    )


VLLM = Dialect(
    name="vLLM",
    release="0.33.0",  # whose option table the tests hold
    program=("vllm", "serve"),
    image_program=(),
    # https://docs.vllm.ai/en/stable/deployment/docker/
    images={"nvidia": "vllm/vllm-openai:v{release}", "amd": "vllm/vllm-openai-rocm:v{release}"},
    health_path="/health",
    cache_folder="/root/.cache/huggingface",
    # https://docs.vllm.ai/en/stable/features/quantization/quantized_kvcache/
    kv_cache_dtypes={"auto": "auto", "fp8": "fp8", "fp8-e5m2": "fp8_e5m2"},
    # https://docs.vllm.ai/en/v0.29.0/features/quantization/online/ and …/features/quantization/bnb/
    online_quantization={
        "fp8": {"quantization": "fp8_per_tensor"},
        "fp8-block": {"quantization": "fp8_per_block"},
        "bnb-nf4": {"quantization": "bitsandbytes"},
    },
    settings=settings,
    model_words=lambda checkpoint: ("--model", checkpoint),
    model_key="model",
    listen_words=lambda port: ("--port", str(port)),
    node_words=_node_words,
    # https://docs.vllm.ai/en/stable/configuration/env_vars/
    layers_environment=lambda layers: {"VLLM_PP_LAYER_PARTITION": ",".join(map(str, layers))},
    gpus_in_rank_order=gpus_in_rank_order,
)
