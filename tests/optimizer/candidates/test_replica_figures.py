"""Figures of many replicas together are those of each alone."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import Catalog
from optimizer import load_scenario
from optimizer.candidates import build_candidates, replica_figures

OFFERS = {
    "l40s": {"gpu": "l40s", "gpus_per_server": 4, "rent": {"price": "$1.5/gpu/h"}},
    "h100": {"gpu": "h100-sxm", "gpus_per_server": 8, "rent": {"price": "$2.7/gpu/h"}},
}
SHORT, LONG = {"input_tokens": 200, "output_tokens": 60}, {"input_tokens": 3000, "output_tokens": 400}


def workload(i: int, **settings: Any) -> dict[str, Any]:
    return {"model": "Qwen/Qwen3-8B", "requests": f"{1 + i}/s", "weight_dtypes": ["bf16", "fp8"], **settings}


def test_figures_of_many_replicas_are_those_of_each_alone(catalog: Catalog) -> None:
    targets = {"ttft_p95": "2s", "tpot_p95": "60ms"}
    classes = {"short": {"share": "70%", **SHORT}, "long": {"share": "30%", **LONG}}
    workloads = {
        "w0": workload(0, **SHORT, slo=targets),
        "w1": workload(1, **LONG, slo={"ttft_p95": "1s", "tpot_p95": "40ms"}, prefix_hit="40%"),
        "w2": workload(2, **LONG, slo="throughput"),
        "w3": workload(3, classes=classes, slo=targets),
        "w4": workload(4, **SHORT, slo=targets, model="Qwen/Qwen3-0.6B"),
    }
    scenario = load_scenario({"name": "many", "workloads": workloads, "inventory": OFFERS}, catalog)
    asked = [(spec, scenario.workloads[c.workload]) for c in build_candidates(scenario, catalog) for spec in c.specs]
    together = replica_figures(asked, catalog)
    assert len(together) == len(asked) > len(workloads)  # some workload has several
    for figures, one in zip(together, asked, strict=True):
        (alone,) = replica_figures([one], catalog)
        assert figures.memory == alone.memory
        assert figures.extrapolated == alone.extrapolated
        for name in ("ttft_ms", "tpot_ms", "e2e_ms"):
            assert getattr(figures, name) == pytest.approx(getattr(alone, name))
        assert figures.ttft_interval_ms == pytest.approx(alone.ttft_interval_ms)
        assert figures.tpot_interval_ms == pytest.approx(alone.tpot_interval_ms)


def test_there_are_no_figures_of_nothing(catalog: Catalog) -> None:
    assert replica_figures([], catalog) == []
