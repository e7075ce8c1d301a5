"""Commands on one replica: its memory, its latency and throughput."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from optimizer.commands.command import SHARE, TOKENS, Amount, Function, answer, calibrated, command, the_catalog


def replica(function: Function) -> Function:
    """Add how one replica runs and what it serves; shared by memory and perf."""
    options = (
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
@click.argument("model", required=False)
@click.option("--gpu", help="GPU id; `gpuplan catalog gpus` lists them.")
@click.option("--compare", "gpus", metavar="GPU,GPU", help="The same replica on these GPUs and --gpu, side by side.")
@click.option("--fits", is_flag=True, help="Every model that fits on --gpu, in the first format that does.")
@click.option("--from-log", "log", metavar="FILE", help="Compare with an engine's start-up log.")
@replica
@click.option("--max-model-len", type=TOKENS, help="[default: the model's maximum]")
@click.option("--max-num-seqs", type=click.IntRange(1), help="[default: the engine's]")
@click.option("--max-num-batched-tokens", type=TOKENS, help="[default: the engine's]")
@click.option("--gpu-memory-utilization", type=click.FloatRange(0, 1, min_open=True), help="[default: the engine's]")
@click.option("--gpu-memory", "gpu_memory_gib", type=Amount("size", "MEMORY_GIB"), help="Override the card's: 22GiB.")
@click.option("--enforce-eager", is_flag=True, help="Without CUDA graphs.")
@click.option("--speculative", type=click.Choice(("mtp", "eagle")), help="Load a head that drafts tokens.")
@click.option("--tables-on-host", is_flag=True, help="Keep n-gram tables in host memory.")
@click.option("--max-loras", type=click.IntRange(0), default=0, show_default=True, help="Adapters held at once.")
@click.option("--lora-rank", type=click.IntRange(1), default=16, show_default=True, help="Rank of the adapters.")
def memory(model: str | None, gpu: str | None, gpus: str | None, fits: bool, log: str | None, **question: Any) -> None:
    """Say what fills each GPU and what would fit.

    With --fits or without MODEL, say which models fit. --from-log - reads stdin. -O FILE.svg draws the stack.
    """
    if log is not None:
        _from_log(log, {"model": model, "gpu": gpu, **_given(question)})
    elif gpus is not None and model is not None:
        _compare(model, [*([gpu] if gpu else []), *gpus.split(",")], question)
    elif gpu is None:
        raise click.UsageError("Missing option '--gpu'.")
    elif fits or model is None:
        _what_fits(gpu, question)
    else:
        from optimizer.report.memory import memory_answer, memory_picture, memory_report

        known = memory_answer(the_catalog(), model=model, gpu=gpu, **question)
        answer(lambda: memory_report(known), known.data(), lambda: memory_picture((known,)))


def _from_log(log: str, given: dict[str, Any]) -> None:
    from optimizer.commands.reading import read_log_text
    from optimizer.report.startup_log import log_data, log_report
    from optimizer.startup_log import compare, read_log

    compared = compare(read_log(read_log_text(log)), the_catalog(), given)
    answer(lambda: log_report(compared), log_data(compared))


def _compare(model: str, gpus: list[str], question: dict[str, Any]) -> None:
    from optimizer.report.memory import cards_data, cards_report, memory_answer, memory_picture

    cards = dict.fromkeys(gpu.strip() for gpu in gpus)
    answers = [memory_answer(the_catalog(), model=model, gpu=card, **question) for card in cards]
    answer(lambda: cards_report(answers), cards_data(answers), lambda: memory_picture(answers))


def _what_fits(gpu: str, question: dict[str, Any]) -> None:
    from optimizer.report.fits import fits_answer, fits_data, fits_report

    found = fits_answer(the_catalog(), gpu, question)
    answer(lambda: fits_report(found), fits_data(found))


def _given(question: dict[str, Any]) -> dict[str, Any]:
    """Options that the user wrote, without defaults, of those that a log would state."""
    source = click.get_current_context().get_parameter_source
    sizes = ("input_tokens", "output_tokens", "engine")
    return {
        name: value
        for name, value in question.items()
        if name not in sizes and source(name) is not ParameterSource.DEFAULT
    }


@command("perf", example="gpuplan perf Qwen/Qwen3-14B --gpu h100-sxm --input-tokens 2k --concurrency 64")
@click.argument("model")
@click.option("--gpu", required=True, help="GPU id; `gpuplan catalog gpus` lists them.")
@replica
@click.option("--max-num-seqs", type=click.IntRange(1), help="[default: the engine's]")
@click.option("--max-num-batched-tokens", type=TOKENS, help="[default: the engine's]")
@click.option("--gpu-memory-utilization", type=click.FloatRange(0, 1, min_open=True), help="[default: the engine's]")
@click.option("--concurrency", type=click.IntRange(1), default=32, show_default=True, help="Requests always in flight.")
@click.option("--prefix-hit", "prefix_hit_fraction", type=SHARE, default="0%", show_default=True)
@click.option("--speculative", type=click.Choice(("mtp", "eagle", "ngram", "draft_model")), help="Draft tokens ahead.")
@click.option("--draft", metavar="MODEL", help="The small model that drafts, for draft_model.")
@click.option("--draft-tokens", type=click.IntRange(1, 16), default=1, show_default=True, help="Drafted in a step.")
@click.option("--acceptance", "acceptance_fraction", type=SHARE,
              help="Of drafted tokens, such as 70%.  [default: 85% for mtp]")  # fmt: skip
@click.option("--performance", type=click.Choice(("calibrated", "silicon")), default="calibrated", show_default=True,
              help="Time steps by our model, or by kernels as aiconfigurator-core measured them.")  # fmt: skip
@calibrated
def perf(**question: Any) -> None:
    """Predict latency and throughput of one replica.

    Draws the curve with its 80% band; -O curve.svg keeps it as a drawing, with what the time goes into.
    """
    from optimizer.report.performance import performance_answer, performance_report, performance_svg

    known = performance_answer(the_catalog(), **question)
    answer(lambda: performance_report(known), known.data(), lambda: performance_svg(known))
