"""A tiny scenario, and a gpuplan command run on it in this process."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

import cli

SCENARIO = """\
name: tiny
workloads:
  chat:
    model: Qwen/Qwen3-0.6B
    requests: 2/s
    input_tokens: 200
    output_tokens: 50
    slo: {ttft_p95: 5s}
    weight_dtypes: [bf16]
    max_batch_size: [16]
    tp: [1]
    pp: [1]
inventory:
  l4: {gpu: l4, gpus_per_server: 1, rent: {price: $0.71/gpu/h, max: 4}}
"""


def run(*arguments: str | Path, input: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli.main, [str(one) for one in arguments], input=input)
