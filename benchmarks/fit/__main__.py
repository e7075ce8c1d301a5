"""Fits the shipped constants: `python -m benchmarks.fit FOLDER` reads measurements, writes calibration and report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fit.anchored import anchored
from benchmarks.fit.calibrate import constants_of, data_used, fitted_on, residuals_of
from benchmarks.fit.extrapolate import LEFT_OUT, widening
from benchmarks.fit.fit import fit, is_closed_loop
from benchmarks.fit.held_out import families_held_out, group_folds, held_out, ratios_of
from benchmarks.fit.parameters import PRIORS
from benchmarks.fit.read import read_folder
from benchmarks.fit.report import Judged, report
from benchmarks.fit.spreads import spreads
from benchmarks.fit.unseen import unseen_cards, unseen_eras
from catalog import load_catalog
from catalog.schema import Calibration
from optimizer.calibration.observations import observe
from optimizer.calibration.write import calibration_yaml

HERE = Path(__file__).parent
SHIPPED = HERE.parents[1] / "catalog" / "data" / "calibration" / "shipped.yaml"


def main() -> None:
    """Reads, fits, judges, writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit", description=__doc__)
    parser.add_argument("folder", type=Path, help="with measured_aggregated.csv and points.jsonl.gz")
    parser.add_argument("--calibration", type=Path, default=SHIPPED, help="written; default: the shipped one")
    parser.add_argument("--report", type=Path, default=HERE / "REPORT.md", help="written")
    options = parser.parse_args()

    catalog = load_catalog()
    settings = yaml.safe_load((HERE / "settings.yaml").read_text(encoding="utf-8"))
    measurements, left_out = read_folder(options.folder, catalog)
    observed = observe(measurements, catalog, _before_the_fit(settings))
    fitted, folds = fit(observed), group_folds(observed)
    in_sample, out_of_sample = ratios_of(observed, fitted), held_out(observed, folds)
    runs = is_closed_loop(observed)
    content = settings | {
        "constants": constants_of(fitted),
        "residuals": residuals_of(out_of_sample, observed),
        "spreads": spreads(observed.take(runs)),
        "widening": widening(observed, out_of_sample.tpot_ms[runs]),
        "fitted_on": list(fitted_on(observed)),
        "data": list(data_used(in_sample, out_of_sample, observed)),
        "silicon": yaml.safe_load((HERE / "silicon.yaml").read_text(encoding="utf-8")),
    }
    text = calibration_yaml(content)
    Calibration.model_validate(yaml.safe_load(text))
    options.calibration.write_text(text, encoding="utf-8")
    own = anchored(observed.take(runs), folds[runs], content)
    unseen = {"card": unseen_cards(observed), "era of an engine": unseen_eras(observed)}
    judged = Judged(observed, folds, in_sample, out_of_sample, families_held_out(observed), own, unseen)
    options.report.write_text(report(content, judged, left_out), encoding="utf-8")


def _before_the_fit(settings: dict[str, Any]) -> Calibration:
    """The calibration as far as it is known: every constant at its prior's start, no errors."""
    exact = {"low": 1.0, "high": 1.0, "points": 1}
    even = {"pair": 1.0, "model": 1.0, "run": 1.0}
    return Calibration.model_validate(
        settings
        | {
            "constants": {name: {"value": prior.start} for name, prior in PRIORS.items()},
            "residuals": [{"metric": "ttft", **exact}, {"metric": "tpot", **exact}],
            "spreads": {"tpot": even, "ttft": even},
            "widening": dict.fromkeys((*LEFT_OUT, "pipeline", "concurrency"), 1.0) | {"note": ""},
            "fitted_on": [],
            "data": [],
        }
    )


if __name__ == "__main__":
    main()
