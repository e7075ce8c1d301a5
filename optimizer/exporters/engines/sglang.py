"""How SGLang spells the plan (`python3 -m sglang.launch_server`, python/sglang/srt/server_args.py)."""

from __future__ import annotations

from optimizer.exporters.engines.dialect import Dialect, Node, Planned, Setting, eagle_generation, stage_by_stage
from optimizer.layout import Drafts


def settings(planned: Planned) -> dict[str, Setting]:
    """Options of the server; --mem-fraction-static is the part of free memory for weights and KV cache.

    With attention data parallelism SGLang counts all GPUs of a stage as tp and splits them into dp groups.
    """
    found: dict[str, Setting] = {
        "served-model-name": planned.model.id,
        "dtype": "float16" if planned.weight_dtype == "fp16" or planned.gpu.tflops.bf16 is None else "auto",
        "kv-cache-dtype": planned.kv_cache_dtype,
        "tensor-parallel-size": planned.tp * planned.dp,
        "pipeline-parallel-size": planned.pp,
    }
    if planned.dp > 1:
        found |= {"data-parallel-size": planned.dp, "enable-dp-attention": True}
    if planned.ep > 1:
        found["expert-parallel-size"] = planned.ep
    found["context-length"] = planned.max_model_len
    found["max-running-requests"] = planned.max_batch_size
    # Both are of the whole replica: the server divides them by dp (python/sglang/srt/server_args.py, tp_worker.py).
    found["chunked-prefill-size"] = planned.prefill_tokens * planned.dp
    found["mem-fraction-static"] = planned.memory_fraction
    return found if planned.drafts is None else found | _drafts(planned.drafts)


def _drafts(drafts: Drafts) -> dict[str, Setting]:
    """A chain, not a tree (https://docs.sglang.io/docs/advanced_features/speculative_decoding).

    SGLang counts the token that the model itself gives among those that it checks; a model's own layers for
    multi-token prediction run as an EAGLE head without a path.
    """
    checked = {"speculative-num-draft-tokens": drafts.tokens + 1}
    if drafts.method == "ngram":
        return {"speculative-algorithm": "NGRAM", **checked}
    found: dict[str, Setting] = {"speculative-algorithm": "EAGLE"}
    if drafts.draft is not None:
        algorithm = "STANDALONE" if drafts.method == "draft_model" else eagle_generation(drafts).upper()
        found = {"speculative-algorithm": algorithm, "speculative-draft-model-path": drafts.draft}
    return {**found, "speculative-num-steps": drafts.tokens, "speculative-eagle-topk": 1, **checked}


def _node_words(node: Node) -> tuple[str, ...]:
    return ("--nnodes", node.nodes, "--node-rank", node.rank, "--dist-init-addr", f"{node.address}:{node.port}")


SGLANG = Dialect(
    name="SGLang",
    release="0.5.23",  # whose option table the tests hold
    program=("python3", "-m", "sglang.launch_server"),
    image_program=("python3", "-m", "sglang.launch_server"),
    images={"nvidia": "lmsysorg/sglang:v{release}"},  # https://docs.sglang.ai/get_started/install.html
    health_path="/health",
    cache_folder="/root/.cache/huggingface",
    kv_cache_dtypes={"auto": "auto", "fp8": "fp8_e4m3", "fp8-e5m2": "fp8_e5m2"},
    # https://docs.sglang.ai/advanced_features/quantization.html, online quantization
    online_quantization={
        "fp8": {"quantization": "fp8"},
        "bnb-nf4": {"quantization": "bitsandbytes", "load-format": "bitsandbytes"},
    },
    settings=settings,
    model_words=lambda checkpoint: ("--model-path", checkpoint),
    model_key="model-path",
    listen_words=lambda port: ("--host", "0.0.0.0", "--port", str(port)),
    node_words=_node_words,
    gpus_in_rank_order=stage_by_stage,
)
