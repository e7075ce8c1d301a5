"""How far predictions with silicon tables are off: `python -m benchmarks.fit.silicon FOLDER`, with the extra.

Writes silicon.yaml, which the fit puts into the calibration, and SILICON.md. The tables are not fitted, but what
requests wait for is: like our own errors these are of groups that were left out of the fit.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import yaml

from benchmarks.fit.calibrate import residuals_of
from benchmarks.fit.fit import fit, is_closed_loop
from benchmarks.fit.held_out import Ratios, coverage, group_folds, mean_error, median_error, ratios_of
from benchmarks.fit.read import read_folder
from benchmarks.fit.report import table
from catalog import Catalog, load_catalog
from optimizer.calibration.measurement import Measurement
from optimizer.calibration.observations import FIGURES, Observations, observe, predict
from optimizer.performance.kernel_tables import silicon_version
from optimizer.performance.silicon import Silicon, silicon_knows, silicon_times
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray, one_configuration

HERE = Path(__file__).parent
ERRORS = HERE / "silicon.yaml"
REPORT = HERE / "SILICON.md"
METRICS = {"TPOT": "tpot_ms", "TTFT": "ttft_ms"}
INTRODUCTION = """# Predictions with steps timed by measured kernels

Made by `python -m benchmarks.fit.silicon FOLDER` with aiconfigurator-core {version}; do not edit. The runs are the
closed-loop ones of REPORT.md, as far as the tables hold them: {known} of {all}. Both models predict groups that were
left out of the fit: of ours all constants come from the other four folds, of the tables what requests wait for.
"""


def main() -> None:
    """Reads, predicts, judges, writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit.silicon", description=__doc__)
    parser.add_argument("folder", type=Path, help="with measured_aggregated.csv and points.jsonl.gz")
    folder = parser.parse_args().folder

    catalog = load_catalog()
    measurements, _ = read_folder(folder, catalog)
    observed = observe(measurements, catalog, catalog.calibration)
    folds, runs = group_folds(observed), is_closed_loop(observed)
    configurations = [_configuration(m, catalog) for m in observed.measurements]
    held = runs & np.array([bool(silicon_knows(one)[0]) for one in configurations])
    ours, theirs = _held_out(observed, folds, held, _times(configurations, held, catalog))
    judged = observed.take(held)
    errors = {"version": silicon_version(), "residuals": residuals_of(theirs, judged)}
    ERRORS.write_text(yaml.safe_dump(errors, sort_keys=False, default_flow_style=None, width=120), encoding="utf-8")
    REPORT.write_text(_report(judged, folds[held], ours, theirs, int(runs.sum())), encoding="utf-8")


def _configuration(m: Measurement, catalog: Catalog) -> Configurations:
    return one_configuration(
        catalog.models[m.model], catalog.engines[m.engine], m.engine_version, catalog.gpus[m.gpu],
        catalog.formats[m.weight_dtype], catalog.kv_formats[m.kv_cache_dtype], tp=m.tp, pp=m.pp, dp=m.dp, ep=m.ep,
    )  # fmt: skip


def _times(configurations: list[Configurations], held: BoolArray, catalog: Catalog) -> Silicon:
    """Of the measurements that the tables hold."""
    found = [silicon_times(configurations[i], catalog.calibration) for i in np.flatnonzero(held).tolist()]
    return Silicon(np.concatenate([t.decode_ms for t in found]), np.concatenate([t.prefill_ms for t in found]))


def _held_out(observed: Observations, folds: IntArray, held: BoolArray, times: Silicon) -> tuple[Ratios, Ratios]:
    """Errors of both models on the rows that the tables hold, each predicted by a fit to the other folds."""
    n = int(held.sum())
    ours, theirs = ({figure: np.full(n, np.nan) for figure in FIGURES} for _ in range(2))
    for fold in np.unique(folds[held]).tolist():
        fitted, rows = fit(observed.take(folds != fold)), held & (folds == fold)
        here, place = observed.take(rows), np.flatnonzero(folds[held] == fold)
        predicted = predict(here, fitted.constants(here), times.take(place))
        by_us = ratios_of(here, fitted)
        for figure in FIGURES:
            ours[figure][place] = by_us.of(figure)
            theirs[figure][place] = getattr(predicted, figure) / getattr(here, figure)
    return Ratios(**ours), Ratios(**theirs)


def _report(judged: Observations, folds: IntArray, ours: Ratios, theirs: Ratios, n_runs: int) -> str:
    engines = np.array([m.engine for m in judged.measurements])
    rows = {"all": np.ones(len(judged), bool)} | {one: engines == one for one in sorted(Counter(engines.tolist()))}
    head = ["", "n", *(f"{metric}, {whose}" for metric in METRICS for whose in ("calibrated", "silicon"))]
    lines = [
        [name, str(int(here.sum())), *(_errors(of.of(f)[here]) for f in METRICS.values() for of in (ours, theirs))]
        for name, here in rows.items()
    ]
    inside = [
        [metric, *(f"{coverage(of.of(figure), folds):.1%}" for of in (ours, theirs))]
        for metric, figure in METRICS.items()
    ]
    return "\n".join(
        [
            INTRODUCTION.format(version=silicon_version(), known=len(judged), all=n_runs),
            "Median (mean) of |predicted ÷ measured − 1|:",
            "",
            *table(head, lines),
            "",
            "Inside 80 % intervals whose ends were taken from four folds, counted on the fifth:",
            "",
            *table(["", "calibrated", "silicon"], inside),
            "",
        ]
    )


def _errors(ratios: FloatArray) -> str:
    return f"{median_error(ratios):.1%} ({mean_error(ratios):.1%})"


if __name__ == "__main__":
    main()
