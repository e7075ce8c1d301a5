"""What a user's own benchmarks change in the predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from catalog.loader import Catalog
from optimizer.calibration import Calibrated, Facts, calibrate, measurements, read_results, read_side_file
from optimizer.calibration.content import median_error
from optimizer.calibration.facts import SideFile
from optimizer.calibration.measurement import Measurement
from optimizer.calibration.observations import FIGURES
from optimizer.performance.bands import closest_residual
from optimizer.report.data import Form
from optimizer.report.tables import table
from optimizer.report.words import UNKNOWN, bullets, count, figure, milliseconds, percent
from optimizer.serving_config import BoolArray

TITLES = {"tpot_ms": "TPOT", "ttft_ms": "TTFT", "output_tokens_per_s": "tokens/s", "prefill_ms": "prefill"}
MOST_RUNS = 40
"""Shown one by one."""


def calibrate_results(
    results: Sequence[Path], side_file: Path | None, said: Mapping[str, Any], catalog: Catalog
) -> Calibrated:
    """The calibration that result files call for, completed with what the user says of them."""
    runs = read_results(results)
    side = read_side_file(side_file) if side_file is not None else SideFile()
    return calibrate(measurements(runs, Facts(**said), side, catalog), catalog, date.today())


def calibration_text(done: Calibrated, form: Form) -> str:
    """The calibration file."""
    if form == "yaml":
        return done.text
    content = done.calibration.model_dump(mode="json", exclude_defaults=True)
    return json.dumps({"kind": "calibration", **content}, indent=2, ensure_ascii=False) + "\n"


def calibration_report(done: Calibrated) -> RenderableType:
    """Errors before and after, the runs, and what the bands become."""
    runs = done.observed.measurements
    where = sorted({(m.engine, m.gpu) for m in runs})
    return Group(
        Text(
            f"{done.calibration.id}: {count(len(runs), 'run')} on {', '.join(' '.join(w) for w in where)}", style="bold"
        ),
        Text(""),
        _errors(done, where),
        Text(""),
        _bands(done),
        Text(""),
        *([_runs(done), Text("")] if len(runs) <= MOST_RUNS else []),
        *bullets("What this means", _remarks(done)),
    )


def _errors(done: Calibrated, where: Sequence[tuple[str, str]]) -> RenderableType:
    rows = []
    pairs = np.array([f"{m.engine} {m.gpu}" for m in done.observed.measurements])
    for engine, gpu in where:
        for f, name in enumerate(FIGURES):
            stated = (pairs == f"{engine} {gpu}") & np.isfinite(done.before[f])
            if stated.any():
                errors = (_error(errors[f], stated) for errors in (done.before, done.after, done.left_out))
                rows.append((f"{engine} {gpu}", TITLES[name], count(int(stated.sum())), *errors))
    return table(
        "Median error of the prediction; `left out`: of runs that the fit did not see",
        (("engine, GPU", "left"), ("of", "left"), ("runs", "right"), ("before", "right"), ("after", "right"),
         ("left out", "right")),
        rows,
    )  # fmt: skip


def _error(logarithms: Any, stated: BoolArray) -> str:
    chosen = logarithms[stated]
    return UNKNOWN if np.isnan(chosen).all() else percent(median_error(chosen), 1)


def _bands(done: Calibrated) -> RenderableType:
    rows = []
    for traits in dict.fromkeys(t._replace(weights="", compute="", link="") for t in done.observed.traits):
        for name, model in ((traits.model, traits.model), ("any other model", "")):
            here = traits._replace(model=model)
            ends = [
                closest_residual(metric, here, calibration)
                for metric in ("tpot", "ttft")  # type: tuple[Any, ...]
                for calibration in (done.shipped, done.calibration)
            ]
            words = (f"{figure(end.low)}–{figure(end.high)}" for end in ends)
            rows.append((f"{traits.engine} {traits.gpu}", name, *words))
    return table(
        "80% bands, as multiples of the prediction",
        (("engine, GPU", "left"), ("model", "left"), ("TPOT before", "right"), ("after", "right"),
         ("TTFT before", "right"), ("after", "right")),
        list(dict.fromkeys(rows)),
    )  # fmt: skip


def _runs(done: Calibrated) -> RenderableType:
    rows = []
    for i, run in enumerate(done.observed.measurements):
        for f, name in enumerate(FIGURES):
            if np.isfinite(done.before[f, i]):
                measured = float(getattr(done.observed, name)[i])
                predicted = (measured * float(np.exp(errors[f, i])) for errors in (done.before, done.after))
                shown = figure if name == "output_tokens_per_s" else milliseconds
                rows.append((Path(run.source).name, _what(run), TITLES[name], shown(measured), *map(shown, predicted)))
    return table(
        "Runs",
        (
            ("file", "left"),
            ("run", "left"),
            ("of", "left"),
            ("measured", "right"),
            ("before", "right"),
            ("after", "right"),
        ),
        rows,
    )


def _what(run: Measurement) -> str:
    return (
        f"{run.model} {run.weight_dtype}, tp {run.tp}, {count(run.input_tokens)} tokens in, "
        f"{count(run.output_tokens)} out, {figure(run.concurrency)} in flight"
    )


def _remarks(done: Calibrated) -> list[str]:
    remarks = [
        "runs of several models, sizes and numbers in flight say more than many alike: what they share holds for other "
        "models on that card as well",
        "other cards and engines are predicted as before",
    ]
    if len(done.observed) == 1:
        remarks.insert(0, "one run cannot show how well the calibration predicts others; give two or more")
    return remarks
