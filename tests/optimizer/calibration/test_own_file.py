"""A calibration file is used by whatever it is laid under, and a plan made with it verifies by itself."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from catalog import Catalog, load_catalog
from optimizer import estimate_performance, load_scenario, optimize, verify
from optimizer.calibration import calibrate, catalog_with_calibration
from optimizer.calibration.measurement import Measurement
from optimizer.errors import InputError
from optimizer.plans import dump_plan, parse_plan

SHIPPED = load_catalog()
ASKED = {"model": "Qwen/Qwen3-8B", "gpu": "l40s", "weight_dtype": "fp8"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of runs 40 % slower than predicted."""
    predicted = estimate_performance(SHIPPED, **ASKED, concurrency=32)  # type: ignore[arg-type]
    runs = [
        Measurement(
            f"{n}.json", **ASKED, engine="vllm", engine_version=None, tp=1, pp=1, dp=1, ep=1,  # type: ignore[arg-type]
            input_tokens=1024, output_tokens=512, concurrency=32,
            tpot_ms=1.4 * predicted.tpot_ms, ttft_ms=1.4 * predicted.ttft_ms,
        )
        for n in range(3)
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("own") / "calibration.yaml"
    path.write_text(calibrate(runs, SHIPPED, date(2026, 11, 23)).text)
    return path


@pytest.fixture(scope="module")
def own(file: Path) -> Catalog:
    return catalog_with_calibration((), file)


def test_predictions_come_from_it_and_say_so(own: Catalog) -> None:
    before, after = (estimate_performance(c, **ASKED, concurrency=32) for c in (SHIPPED, own))  # type: ignore[arg-type]
    assert after.tpot_ms == pytest.approx(1.4 * before.tpot_ms, rel=0.08)
    assert before.source.startswith("shipped-")
    assert after.source == own.calibration.id
    assert after.source.startswith("own-")


def test_every_anchor_states_its_runs_and_their_source(own: Catalog) -> None:
    of_card = [f for f in own.calibration.constants.weight_read_efficiency.factors if f.gpu == "l40s"]
    assert {factor.points for factor in of_card} == {3}
    assert "own benchmarks: 0.json, 1.json, 2.json" in own.calibration.sources[-1].text
    assert [used.source_family for used in own.calibration.data][-2:] == ["2.json", "2.json"]


def test_a_plan_carries_it_whole_and_verifies_without_the_file(own: Catalog) -> None:
    workload = {
        "model": "Qwen/Qwen3-8B", "requests": "3/s", "input_tokens": 1000, "output_tokens": 300, "slo": "throughput",
        "weight_dtypes": ["fp8"], "tp": [1], "pp": [1],
    }  # fmt: skip
    offer = {"gpu": "l40s", "gpus_per_server": 4, "rent": {"price": "$1/gpu/h"}}
    scenario = load_scenario({"name": "own", "workloads": {"chat": workload}, "inventory": {"l40s": offer}}, own)
    layout = optimize(scenario, own)
    assert layout.workloads[0].replica_groups[0].source == own.calibration.id
    again = parse_plan(dump_plan(layout), "plan.json")
    assert verify(again, load_scenario(again.inputs, SHIPPED), SHIPPED) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.yaml", None, "cannot be read"),
        ("gpu.yaml", "kind: gpu\nid: x\n", "gpu 'x'"),
        ("half.yaml", "kind: calibration\nid: own\nname: x\n", "calibration 'own': "),
        ("broken.yaml", "kind: [", "cannot be read: did not find"),
        ("text.txt", "kind: calibration\n", "one entry"),
    ],
)
def test_what_is_no_calibration_is_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        catalog_with_calibration((), tmp_path / name)
    assert message.lower() in str(caught.value).lower()
