"""A start-up log beside its prediction: a table of figures, and the flag that would explain what differs."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from optimizer.report.assumed import assumed_rules
from optimizer.report.tables import Justify, table
from optimizer.report.words import bullets, count, figure, pool
from optimizer.startup_log import Comparison, Line

NAMES = {
    "weights_gib": "weights, GiB",
    "activation_gib": "activation peak, GiB",
    "non_torch_gib": "outside the allocator, GiB",
    "cuda_graph_gib": "CUDA graphs, GiB",
    "kv_cache_gib": "KV cache, GiB",
    "kv_cache_tokens": "KV cache, tokens",
    "max_concurrency": "requests of max_model_len",
}
ALWAYS_SAID = ("model", "gpu", "weight_dtype", "kv_cache_dtype", "engine_version", "tp", "pp", "dp", "ep",
               "max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization")  # fmt: skip

OF_FRACTIONS = ("engine_version", "gpu_memory_utilization")
"""Which tell nothing of llama.cpp: its buffers are as large as asked for, in every version."""


def log_data(comparison: Comparison) -> dict[str, Any]:
    """Everything, as JSON keys."""
    return {
        "engine": comparison.log.engine,
        "ranks": comparison.log.ranks,
        "question": {name: value for name, value in comparison.question.items() if value is not None},
        "stated": comparison.log.stated,
        "lines": [
            {"figure": line.name, "predicted": line.predicted, "actual": line.actual, "plus_minus": line.plus_minus,
             "agrees": line.agrees}
            for line in comparison.lines
        ],
        "explanations": comparison.explanations,
        "faults": comparison.log.faults,
    }  # fmt: skip


def log_report(comparison: Comparison) -> RenderableType:
    """What the log says was asked, every figure, what explains a difference."""
    asked = comparison.question
    assumed = [
        f"{name.replace('_', '-')}: the log does not say; the engine's default"
        for name in (*OF_FRACTIONS, "max_num_seqs", "max_num_batched_tokens")
        if asked.get(name) is None and not (name in OF_FRACTIONS and comparison.log.engine == "llamacpp")
    ]
    assumed += assumed_rules(comparison.engine, asked["engine_version"])
    on_cards, layers = _on_cards(comparison)
    if on_cards != layers:
        assumed.append(f"predicted is the whole model; the log has only {on_cards} of {layers} layers on cards")
    said = ", ".join(f"{name} {asked[name]}" for name in ALWAYS_SAID if asked.get(name) not in (None, "auto", 1))
    agree = all(line.agrees for line in comparison.lines)
    verdict = "as predicted" if agree else "not all as predicted"
    ranks = f", {count(comparison.log.ranks, 'rank')}" if comparison.log.ranks > 1 else ""
    whose = "all cards together" if comparison.log.engine == "llamacpp" else "of the rank that limits"
    rows = [_row(line) for line in comparison.lines]
    columns: tuple[tuple[str, Justify], ...] = (
        ("", "left"),
        ("predicted", "right"),
        ("log", "right"),
        ("off by", "right"),
        ("", "left"),
    )
    return Group(
        Text(f"Start-up log of {comparison.engine.name}{ranks}: {verdict}", style="bold"),
        Text(said),
        Text(""),
        table(f"Figure by figure ({whose})", columns, rows),
        Text(""),
        *bullets("Assumed", assumed),
        *bullets("What would explain it", [_explained(comparison)] if not agree else []),
        *bullets("The log says", comparison.log.faults),
    )


def _row(line: Line) -> tuple[str, ...]:
    off = line.predicted - line.actual
    verdict = "" if line.agrees else f"more than ± {_size(line.name, line.plus_minus)}"
    sign = "+" if off >= 0 else "-"
    return (
        NAMES[line.name],
        _size(line.name, line.predicted),
        _size(line.name, line.actual),
        f"{sign}{_size(line.name, abs(off))}",
        verdict,
    )


def _size(name: str, value: float) -> str:
    if name == "kv_cache_gib" and value < 0:
        return pool(value)
    return (
        f"{value:.2f}" if name.endswith("_gib") else count(round(value)) if name == "kv_cache_tokens" else figure(value)
    )


def _on_cards(comparison: Comparison) -> tuple[str, str]:
    """Layers that llama.cpp put on cards, and all of them."""
    on_cards, _, layers = comparison.log.stated.get("offloaded", "").partition("/")
    return on_cards, layers


def _explained(comparison: Comparison) -> str:
    on_cards, layers = _on_cards(comparison)
    if on_cards != layers:
        return "layers in host memory are not on the cards, which hold more buffers for them"
    if not comparison.explanations:
        return "no single flag does: another process on the card, a patched engine, or a checkpoint that differs"
    said = [
        f"--{one.flag.replace('_', '-')} {one.value}"
        + (f" (predicted with {one.assumed})" if one.assumed is not None else "")
        for one in comparison.explanations
    ]
    return " or ".join(said) + "; the log does not state it"
