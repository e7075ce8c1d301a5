"""A plan with all that exporters meet: several groups, servers and terms, a replica over two servers, AMD cards."""

from __future__ import annotations

import pytest
from hand_built import group, plan

from catalog import Catalog
from optimizer.layout import Layout
from optimizer.topology import Topology, build_topology


@pytest.fixture(scope="session")
def mixed_plan(catalog: Catalog) -> Layout:
    return plan(
        catalog,
        {
            "giant": [
                group([(0, 1)], model="Qwen/Qwen3-235B-A22B", weight_dtype="bf16", kv_cache_dtype="auto", tp=8, pp=2)
            ],
            "chat": [group([(2,)], max_batch_size=32), group([(2,), (3,)], tp=2, max_model_len=16384)],
            "experts": [
                group([(3,)], model="deepseek-ai/DeepSeek-V2-Lite-Chat", weight_dtype="bf16", tp=2, dp=2, ep=4)
            ],
            "Red Team": [group([(0,)], offer="mi300x-node", weight_dtype="bf16", kv_cache_dtype="auto", tp=2)],
        },
        [("h100-node", "own", 2), ("h100-node", "rent", 2), ("mi300x-node", "rent", 1)],
    )


@pytest.fixture(scope="session")
def mixed(mixed_plan: Layout, catalog: Catalog) -> Topology:
    return build_topology(mixed_plan, catalog)


@pytest.fixture(scope="session")
def engines_plan(catalog: Catalog) -> Layout:
    """Every engine on one server and, where it can, over two."""
    moe = {"model": "Qwen/Qwen3-235B-A22B", "weight_dtype": "bf16", "kv_cache_dtype": "auto", "tp": 8, "pp": 2}
    return plan(
        catalog,
        {
            "chat": [group([(0,), (0,)], tp=2, max_batch_size=32)],
            "fast": [group([(0,)], engine="sglang", tp=2, max_batch_size=48)],
            "deep": [group([(0,)], engine="trtllm", weight_dtype="bf16", max_batch_size=16)],
            "small": [
                group(
                    [(0,)],
                    engine="llamacpp",
                    model="Qwen/Qwen3-0.6B",
                    weight_dtype="gguf-q8_0",
                    kv_cache_dtype="q8_0",
                    max_batch_size=4,
                )
            ],
            "giant": [group([(1, 2)], **moe, max_batch_size=100)],
            "wide": [group([(3, 4)], **moe, engine="sglang", max_batch_size=101)],
            "deepest": [group([(5, 6)], **moe, engine="trtllm", max_batch_size=102)],
            "amd": [
                group([(0,)], offer="mi300x-node", weight_dtype="bf16", kv_cache_dtype="auto", tp=2, max_batch_size=9)
            ],
        },
        [("h100-node", "own", 2), ("h100-node", "rent", 5), ("mi300x-node", "rent", 1)],
    )


@pytest.fixture(scope="session")
def engines(engines_plan: Layout, catalog: Catalog) -> Topology:
    return build_topology(engines_plan, catalog)
