"""Percentiles over means, from the points that report them."""

from __future__ import annotations

import gzip
import json
from math import exp, log
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from benchmarks.fit.read import POINTS_FILE

LEAST_CONCURRENCY = 8
"""A lone request does not wait: percentiles are taken under load."""
METRICS = ("ttft", "tpot", "e2e")


def percentiles(folder: Path) -> dict[str, dict[str, Any]]:
    """p50, p90, p95 and p99 of each metric as multiples of its mean.

    Sources state mean, p50 and p99; p90 and p95 lie between them on the log-normal through both.
    """
    with gzip.open(folder / POINTS_FILE, "rt") as lines:
        points = [json.loads(line) for line in lines]
    loaded = [p for p in points if (p["batch_or_concurrency"] or 0) >= LEAST_CONCURRENCY and not p["spec_decode"]]
    return {metric: _of_metric(metric, loaded) for metric in METRICS}


def _of_metric(metric: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    keys = [f"{metric}_ms_{statistic}" for statistic in ("mean", "p50", "p99")]
    stated = [[point[key] for key in keys] for point in points if all(point[key] for key in keys)]
    mean, p50, p99 = np.array(stated).T
    middle, high = float(np.median(p50 / mean)), float(np.median(p99 / mean))
    normal = NormalDist()
    spread = log(high / middle) / normal.inv_cdf(0.99)
    between = {f"p{percent}": middle * exp(spread * normal.inv_cdf(percent / 100)) for percent in (90, 95)}
    multiples = {"p50": middle, **between, "p99": high}
    note = (
        "medians of p50/mean and p99/mean over points with at least 8 requests in flight, most from SGLang's cookbook "
        "with output lengths drawn at random; p90 and p95 on the log-normal through both"
    )
    return {name: float(f"{value:.3g}") for name, value in multiples.items()} | {"points": len(stated), "note": note}
