"""What pipelines over several offers can be made of, whoever plans or checks them."""

from __future__ import annotations

from collections.abc import Iterable

ENGINES_OF_UNEQUAL_STAGES = ("vllm", "llamacpp")
"""Engines that are told which layers each stage takes. vLLM takes them from VLLM_PP_LAYER_PARTITION
(https://docs.vllm.ai/en/stable/configuration/env_vars/), and one tensor-parallel degree and one checkpoint for all
stages (https://github.com/vllm-project/vllm/issues/27239). llama.cpp takes them from --tensor-split, and joins servers
by RPC (https://github.com/ggml-org/llama.cpp/blob/master/tools/rpc/README.md)."""
ENGINES_OF_SINGLE_GPU_STAGES = ("llamacpp",)
"""Those whose stages have one GPU each: llama.cpp splits a model by layers or by rows, not by both (--split-mode)."""
FORMATS_BY_LAYER = {
    "vllm": (
        *("bf16", "fp16"),
        *("fp8", "fp8-static", "fp8-block", "fp8-w8a16", "int8", "int8-w8a16"),
        *("gptq-int4", "awq-int4", "int4-g32", "nvfp4", "nvfp4-a16"),
    ),
    "llamacpp": (),
}
"""Engine -> weight formats that one checkpoint can hold side by side, layer by layer: those of compressed-tensors,
which vLLM loads with a scheme for each group of layers
(https://docs.vllm.ai/projects/llm-compressor/en/0.7.0/examples/quantization_non_uniform/)."""


def formats_by_layer(stages: Iterable[tuple[str, int, int]]) -> str:
    """Format and layers of stages in their order, each with its first and last layer; neighbours alike are one.

    >>> formats_by_layer([("int8", 0, 9), ("int8", 10, 19), ("int4", 20, 39)])
    'int8 0-19 + int4 20-39'
    """
    return " + ".join(f"{weights} {first}-{last}" for weights, first, last in spans_of_formats(stages))


def spans_of_formats(stages: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Format, first and last layer of each span of layers in one format, from those of the stages in their order."""
    spans: list[tuple[str, int, int]] = []
    for weights, first, last in stages:
        if spans and spans[-1][0] == weights:
            first = spans.pop()[1]
        spans.append((weights, first, last))
    return spans
