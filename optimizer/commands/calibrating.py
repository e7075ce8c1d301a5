"""The command that fits predictions to one's own benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from optimizer.commands.command import SHARE, TOKENS, command, delivery, the_catalog


@command(
    "calibrate", example="gpuplan calibrate bench.json --gpu h100-sxm --weight-dtype bf16 --tp 1 -O calibration.yaml"
)
@click.argument("results", metavar="RESULT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--facts", type=click.Path(path_type=Path), metavar="FILE",
              help="YAML with what the results lack: keys like these options, `files:` for single ones.")  # fmt: skip
@click.option("--engine", help="Engine id.")
@click.option("--engine-version", help="[default: the newest that the catalog describes]")
@click.option("--model", help="Model id.")
@click.option("--gpu", help="GPU id; `gpuplan catalog gpus` lists them.")
@click.option("--weight-dtype", help="Weight format id.")
@click.option("--kv-cache-dtype", help="KV cache format id.  [default: auto]")
@click.option("--tp", type=click.IntRange(1), help="Tensor parallelism.")
@click.option("--pp", type=click.IntRange(1), help="Pipeline parallelism.  [default: 1]")
@click.option("--dp", type=click.IntRange(1), help="Attention data parallelism.  [default: 1]")
@click.option("--ep", type=click.IntRange(1), help="Expert parallelism.  [default: 1]")
@click.option("--input-tokens", type=TOKENS, help="Mean of a request.")
@click.option("--output-tokens", type=TOKENS, help="Mean of a request.")
@click.option("--concurrency", type=click.FloatRange(0, min_open=True), help="Requests in flight, on average.")
@click.option("--prefix-hit", "prefix_hit_fraction", type=SHARE, help="[default: 0%]")
def calibrate(results: tuple[Path, ...], facts: Path | None, **said: Any) -> None:
    """Fit predictions to your own benchmarks.

    Reads results of vllm bench, SGLang bench_serving, GuideLLM, AIPerf, InferenceX, llama-bench and trtllm-bench;
    options say what their files lack, and win over what they say. `solve --calibration FILE` uses what -O FILE keeps.
    """
    from optimizer.report.calibration import calibrate_results, calibration_report, calibration_text

    done = calibrate_results(results, facts, said, the_catalog())
    delivery().put(sys.stdout, lambda: calibration_report(done), lambda form: calibration_text(done, form))
