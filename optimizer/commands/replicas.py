"""Commands on one replica: its memory, its latency and throughput."""

from __future__ import annotations

from typing import Any

import click

from optimizer.commands.command import TOKENS, Amount, Function, answer, command, the_catalog


def replica(function: Function) -> Function:
    """Add how one replica runs and what it serves; shared by memory and perf."""
    options = (
        click.argument("model"),
        click.option("--gpu", required=True, help="GPU id; `gpuplan catalog gpus` lists them."),
        click.option("--weight-dtype", help="Weight format.  [default: bf16, or fp16 where the card has no bf16]"),
        click.option("--kv-cache-dtype", default="auto", show_default=True, help="Format of the KV cache."),
        click.option("--tp", type=click.IntRange(1), default=1, show_default=True, help="Tensor parallelism."),
        click.option("--pp", type=click.IntRange(1), default=1, show_default=True, help="Pipeline parallelism."),
        click.option("--dp", type=click.IntRange(1), default=1, show_default=True, help="Attention data parallelism."),
        click.option("--ep", type=click.IntRange(1), default=1, show_default=True, help="Expert parallelism."),
        click.option("--engine", default="vllm", show_default=True),
        click.option("--engine-version", help="[default: the newest that the catalog describes]"),
        click.option("--input-tokens", type=TOKENS, default="1024", show_default=True, help="Mean of a request."),
        click.option("--output-tokens", type=TOKENS, default="512", show_default=True, help="Mean of a request."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@command("memory", example="gpuplan memory Qwen/Qwen3-14B --gpu a100-40gb-sxm --max-model-len 8k")
@replica
@click.option("--max-model-len", type=TOKENS, help="[default: the model's maximum]")
@click.option("--max-num-seqs", type=click.IntRange(1), help="[default: the engine's]")
@click.option("--max-num-batched-tokens", type=TOKENS, help="[default: the engine's]")
@click.option("--gpu-memory-utilization", type=click.FloatRange(0, 1, min_open=True), help="[default: the engine's]")
@click.option("--gpu-memory", "gpu_memory_gib", type=Amount("size", "MEMORY_GIB"), help="Override the card's: 22GiB.")
@click.option("--enforce-eager", is_flag=True, help="Without CUDA graphs.")
def memory(**question: Any) -> None:
    """Say what fills each GPU and what would fit."""
    from optimizer.report.memory import memory_answer, memory_report

    known = memory_answer(the_catalog(), **question)
    answer(lambda: memory_report(known), known.data())


@command("perf", example="gpuplan perf Qwen/Qwen3-14B --gpu h100-sxm --input-tokens 2k --concurrency 64")
@replica
@click.option("--concurrency", type=click.IntRange(1), default=32, show_default=True, help="Requests always in flight.")
@click.option("--prefix-hit", "prefix_hit_fraction", type=Amount("ratio", "RATIO"), default="0%", show_default=True)
def perf(**question: Any) -> None:
    """Predict latency and throughput of one replica."""
    from optimizer.report.performance import performance_answer, performance_report

    known = performance_answer(the_catalog(), **question)
    answer(lambda: performance_report(known), known.data())
