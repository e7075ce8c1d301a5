"""The fit of the shipped constants writes the same bytes whenever it runs on the same measurements."""

from __future__ import annotations

import csv
import gzip
import os
import subprocess
import sys
from pathlib import Path

import yaml

from optimizer.calibration.write import calibration_yaml

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "tests" / "optimizer" / "performance" / "measured_points.csv"
SHIPPED = ROOT / "catalog" / "data" / "calibration" / "shipped.yaml"
FIT = """
import sys
from pathlib import Path
import yaml
from benchmarks.fit.__main__ import HERE, _before_the_fit
from benchmarks.fit.calibrate import constants_of, residuals_of
from benchmarks.fit.fit import fit
from benchmarks.fit.held_out import group_folds, held_out
from benchmarks.fit.read import read_folder
from catalog import load_catalog
from optimizer.calibration.observations import observe
from optimizer.calibration.write import calibration_yaml
catalog = load_catalog()
measurements, _ = read_folder(Path(sys.argv[1]), catalog)
observed = observe(measurements, catalog, _before_the_fit(yaml.safe_load((HERE / "settings.yaml").read_text())))
errors = residuals_of(held_out(observed, group_folds(observed)), observed)
print(calibration_yaml({"constants": constants_of(fit(observed)), "residuals": errors}))
"""


def test_two_runs_in_different_processes_write_the_same_bytes(tmp_path: Path) -> None:
    # Sets and hashes are ordered differently in each; the two files of the whole fit are made from the same parts
    with RUNS.open(newline="", encoding="utf-8") as text, (tmp_path / "measured_aggregated.csv").open("w") as file:
        runs = list(csv.DictReader(line for line in text if not line.startswith("#")))
        rows = [
            run | {"gpu_key": "", "pp": 1, "attention_dp": 1, "moe_ep": run["ep"], "gpus": run["tp"]} for run in runs
        ]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with gzip.open(tmp_path / "points.jsonl.gz", "wt"):
        pass
    texts = [
        subprocess.run(
            [sys.executable, "-c", FIT, str(tmp_path)], cwd=ROOT, capture_output=True, check=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert b"residuals:" in texts[0]
    assert texts[0] == texts[1]


def test_the_shipped_calibration_is_as_the_fit_writes_it() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert calibration_yaml(yaml.safe_load(text)) == text


def test_the_shipped_errors_of_silicon_tables_are_those_of_their_report() -> None:
    errors = yaml.safe_load((ROOT / "benchmarks" / "fit" / "silicon.yaml").read_text(encoding="utf-8"))
    assert yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["silicon"] == errors
