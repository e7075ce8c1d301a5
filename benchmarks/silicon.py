"""Both performance models on published serving runs: ours, and steps timed by aiconfigurator-core's kernel tables.

usage: python benchmarks/silicon.py      needs pip install 'gpuplan[silicon]'; says so and ends where it is not there

The runs are those that the tests hold (tests/optimizer/performance/measured_points.csv), four of each engine and card.
Ours were fitted on the collection they are from, tables were not: held-out errors of both are in benchmarks/fit.
"""

from __future__ import annotations

import csv
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from catalog import load_catalog
from catalog.errors import InputError
from optimizer.performance import PerformanceEstimate, estimate_performance

POINTS = Path(__file__).parents[1] / "tests" / "optimizer" / "performance" / "measured_points.csv"
INTEGERS = ("input_tokens", "output_tokens", "tp", "ep", "concurrency")


def main() -> int:
    """Print the table."""
    if find_spec("aiconfigurator_core") is None:
        print("silicon: not compared; aiconfigurator-core is not installed (pip install 'gpuplan[silicon]')")
        return 0
    rows = [line for line in POINTS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    compared, reasons = [], []
    for point in csv.DictReader(rows):
        try:
            pair = [predicted(point, model) for model in ("calibrated", "silicon")]
        except InputError as error:
            reasons.append(str(error))
            continue
        compared.append(
            [[one.tpot_ms / float(point["tpot_ms"]), one.ttft_ms / float(point["ttft_ms"])] for one in pair]
        )
    off = np.abs(np.array(compared).reshape(-1, 2, 2) - 1.0)
    print(f"{len(compared)} runs compared, {len(reasons)} that the tables do not hold\n")
    print(f"{'median (mean) error':22}{'calibrated':>18}{'silicon':>18}")
    for column, metric in enumerate(("TPOT", "TTFT")):
        cells = "".join(f"{f'{np.median(one):.1%} ({one.mean():.1%})':>18}" for one in off[:, :, column].T)
        print(f"{metric:22}{cells}")
    for reason in dict.fromkeys(reasons):
        print(f"  · {reason}")
    return 0


def predicted(point: dict[str, str], model: str) -> PerformanceEstimate:
    """A run as one of the models sees it."""
    names = ("model", "gpu", "weight_dtype", "engine")
    return estimate_performance(
        load_catalog(), **{name: point[name] for name in names}, **{name: int(point[name]) for name in INTEGERS},
        performance=model,
    )  # type: ignore[arg-type]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
