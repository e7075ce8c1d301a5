"""The fit of the shipped constants: what it reads of a point, how a pace moves constants, how orders are judged."""

from __future__ import annotations

import csv
import gzip
import json
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.fit.calibrate import constants_of
from benchmarks.fit.fit import Fit
from benchmarks.fit.held_out import Ratios
from benchmarks.fit.parameters import PACE, PRIORS, Unknown, Unknowns, constants_at
from benchmarks.fit.ranking import ranked, repeats
from benchmarks.fit.read import read_folder
from catalog import Catalog
from catalog.schema.calibration import Traits
from optimizer.calibration.measurement import Measurement
from optimizer.calibration.observations import Observations, observe

QWEN: dict[str, Any] = {
    # https://github.com/QwenLM/Qwen3/blob/0f0ecfb/docs/source/benchmark/speed_benchmark.rst
    "source_family": "qwen_speed", "engine": "vLLM", "engine_version": "0.6.3", "model": "Qwen/Qwen2.5-7B-Instruct",
    "weight_dtype": "bf16", "gpu": "NVIDIA A100 80GB", "gpu_key": "A100", "num_gpus": 1, "tp": 1, "pp": None,
    "dp": None, "ep": None, "batch_or_concurrency": 1, "osl": 2048, "tpot_ms_mean": None, "kind": "decode_bs1",
    "spec_decode": None, "trust": "high", "date": "2024-10",
}  # fmt: skip
MI300X = Traits(
    "vllm", "current", "mi300x", "cdna3", weights="16bit", compute="16bit", attention="heads", link="fast", model="any"
)


def points_read(tmp_path: Path, catalog: Catalog, *points: dict[str, Any]) -> list[Measurement]:
    with (tmp_path / "measured_aggregated.csv").open("w", newline="") as runs:
        csv.writer(runs).writerow(["model"])
    with gzip.open(tmp_path / "points.jsonl.gz", "wt") as lines:
        lines.write("".join(json.dumps(point) + "\n" for point in points))
    return read_folder(tmp_path, catalog)[0]


def test_a_speed_of_whole_requests_is_no_tpot_unless_there_is_no_prompt(tmp_path: Path, catalog: Catalog) -> None:
    prompted = QWEN | {"isl": 63488, "output_tok_s_total": 50.86, "decode_tok_s": 50.86}
    alone = QWEN | {"isl": 1, "output_tok_s_total": 84.28, "decode_tok_s": 84.28}
    whole, decode = points_read(tmp_path, catalog, prompted, alone)
    assert (whole.output_tokens_per_s, whole.tpot_ms) == (50.86, None)
    assert decode.output_tokens_per_s is None
    assert decode.tpot_ms == pytest.approx(1000 / 84.28)


def test_a_pace_makes_times_longer_and_efficiencies_lower_but_not_what_the_client_does() -> None:
    unknowns = Unknowns([MI300X])
    x = np.zeros(len(unknowns))
    x[unknowns.index[Unknown(PACE, ("generation",), ("cdna3",))]] = log(2.0)
    slow = constants_at(x, unknowns.design([MI300X]))
    assert slow.layer_ms[0] == pytest.approx(2.0 * PRIORS["layer_ms"].start)
    assert slow.weight_read_efficiency[0] == pytest.approx(PRIORS["weight_read_efficiency"].start / 2.0)
    assert slow.request_ms[0] == pytest.approx(PRIORS["request_ms"].start)
    assert slow.expert_imbalance[0] == pytest.approx(PRIORS["expert_imbalance"].start)


def test_the_file_carries_the_pace_as_a_factor_of_every_constant_it_moves() -> None:
    unknowns = Unknowns([MI300X])
    values = dict.fromkeys(unknowns.points, 0.0)
    values[Unknown(PACE, ("generation",), ("cdna3",))] = log(2.0)
    values[Unknown("layer_ms", ("generation",), ("cdna3",))] = log(1.5)
    written = constants_of(Fit(values, unknowns.points))
    assert written["layer_ms"]["factors"] == [{"generation": "cdna3", "factor": 3.0, "points": 1}]  # 1.5 × 2
    assert written["all_to_all_ms"]["factors"] == [{"generation": "cdna3", "factor": 2.0, "points": 1}]
    assert written["link_efficiency"]["factors"] == [{"generation": "cdna3", "factor": 0.5, "points": 1}]
    assert written["request_ms"]["factors"] == []


def runs(catalog: Catalog, *tps_and_tpots: tuple[int, float]) -> Observations:
    """Runs of 101 output tokens, 10 in flight, no TTFT to speak of: 10 / TPOT tokens/ms."""
    return observe(
        [
            Measurement(
                "", "Qwen/Qwen3-32B", "h100-sxm", "bf16", "vllm", "0.12.0", tp, 1, 1, 1, 100, 101, 10,
                ttft_ms=1e-6, tpot_ms=tpot_ms,
            )
            for tp, tpot_ms in tps_and_tpots
        ],
        catalog,
        catalog.calibration,
    )  # fmt: skip


def exact(observed: Observations, tpot: list[float]) -> Ratios:
    ones, none = np.ones(len(observed)), np.full(len(observed), np.nan)
    return Ratios(np.array(tpot), ones, none, none)


def test_a_tie_in_the_prediction_is_not_right(catalog: Catalog) -> None:
    # Per GPU: tp 2 at 20 ms 10 / 20 / 2 = 0.25, tp 4 at 8 ms 10 / 8 / 4 = 0.3125.
    observed = runs(catalog, (2, 20.0), (4, 8.0))
    assert ranked(observed, exact(observed, [1.0, 1.0]), lambda _a, _b: True) == (1.0, 1)
    # Predicted 10 ms of tp 4: 10 / 10 / 4 = 0.25 as well.
    assert ranked(observed, exact(observed, [1.0, 1.25]), lambda _a, _b: True) == (0.0, 1)


def test_repeats_order_pairs_by_the_other_runs_of_a_configuration(catalog: Catalog) -> None:
    # tp 2: 20 ms = 0.25 per GPU. tp 4: 8 ms = 0.3125 is better, its repeat of 12.5 ms = 0.2 is worse: each tells the
    # other's order with tp 2 wrongly. A copy of 20.1 ms changes nothing.
    observed = runs(catalog, (2, 20.0), (4, 8.0), (4, 12.5), (2, 20.1))
    found = repeats(observed, exact(observed, [1.0, 1.0, 1.0, 1.0]), lambda m: m.engine_version)
    assert (found.runs, found.pairs) == (2, 4)  # (tp 4, tp 4) and (tp 2, tp 2); 2 × 2 pairs of configurations
    assert found.copies == 0.5
    assert found.apart == pytest.approx(12.5 / 8.0 - 1.0)
    assert found.by_repeat == 0.0
    assert found.by_model == 1.0
