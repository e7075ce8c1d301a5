"""Replicas under random arrivals, many at once: each row as it is by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from catalog import Catalog
from optimizer.memory import replica_memory
from optimizer.performance import LOAD_STEPS, TokenMix, largest_load
from optimizer.performance.capacity import decoding_of, lateness
from optimizer.performance.constants import row_constants
from optimizer.performance.station import OpenReplicas, Station
from optimizer.performance.step import StepCurve, decode_step
from optimizer.performance.traits import trait_rows
from optimizer.performance.work import work_of
from optimizer.scenario import Target
from optimizer.serving_config import Configurations

SHORT = TokenMix(("a", "b"), np.array([0.8, 0.2]), np.array([300.0, 2500.0]), np.array([80.0, 400.0]), 0.1)
LONG = TokenMix(
    ("a", "b"), np.array([0.5, 0.5]), np.array([4000.0, 900.0]), np.array([700.0, 200.0]), 0.0,
    np.array([0.5, 0.2]), np.array([0.4, 0.0]),
)  # fmt: skip


def configurations_of(catalog: Catalog, model: str) -> Configurations:
    """With tensor, pipeline, data and expert parallelism, on cards with and without a link of their own."""
    degrees = [(1, 1, 1, 1), (2, 1, 1, 1), (8, 1, 1, 1), (2, 2, 1, 1), (4, 4, 1, 1)]
    degrees += [(1, 1, 8, 8), (2, 1, 4, 8)] if catalog.models[model].moe else []
    tp, pp, dp, ep = np.array(degrees * 2).T
    first = np.repeat(np.arange(2), len(degrees))
    return Configurations(
        catalog.models[model], catalog.engines["vllm"], None, (catalog.gpus["h100-sxm"], catalog.gpus["l40s"]),
        (catalog.formats["fp8"],), (catalog.kv_formats["auto"],), first, 0 * first, 0 * first, tp, pp, dp, ep,
    )  # fmt: skip


def station_of(catalog: Catalog, model: str, mix: TokenMix) -> Station:
    c = configurations_of(catalog, model)
    constants = row_constants(trait_rows(c, catalog.calibration), catalog.calibration)
    return Station.of(work_of(c, mix, catalog.calibration), constants, mix)


@pytest.mark.parametrize("model", ["Qwen/Qwen3-14B", "Qwen/Qwen3-235B-A22B", "deepseek-ai/DeepSeek-R1"])
@pytest.mark.parametrize("batch", [1.0, 7.0, 64.0, 700.0])
def test_the_curve_of_a_step_is_the_sum_of_its_parts(model: str, batch: float, catalog: Catalog) -> None:
    c = configurations_of(catalog, model)
    work = work_of(c, SHORT, catalog.calibration)
    constants = row_constants(trait_rows(c, catalog.calibration), catalog.calibration)
    batches = np.full(len(c), batch)
    parts = decode_step(work, constants, batches).total
    assert StepCurve.of(work, constants).ms(batches) == pytest.approx(parts, rel=1e-12)


def test_stations_put_together_are_each_what_they_were(catalog: Catalog) -> None:
    parts = [station_of(catalog, "Qwen/Qwen3-14B", SHORT), station_of(catalog, "Qwen/Qwen3-235B-A22B", LONG)]
    n = len(parts[0].first_ms)
    both, rows = Station.together(parts), np.arange(n + 14)[::-1]
    places, tokens = np.full(len(rows), 48.0), np.full(len(rows), 2048.0)
    together = OpenReplicas.of(both.take(rows), places, tokens).at(0.6 * places)
    for part, here in ((parts[0], rows < n), (parts[1], rows >= n)):
        m = int(here.sum())
        alone = OpenReplicas.of(part.take(np.arange(m)[::-1]), places[:m], tokens[:m]).at(0.6 * places[:m])
        assert together.rate_rps[here] == pytest.approx(alone.rate_rps, rel=1e-12)
        for metric, statistic in (("ttft", "p95"), ("tpot", "p99"), ("e2e", "mean")):
            expected = alone.statistic(metric, statistic)
            assert together.statistic(metric, statistic)[here] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("cv", [1.0, 3.0])
@pytest.mark.parametrize("statistic", ["mean", "p50", "p95"])
def test_tpot_of_a_full_batch_is_that_at_the_most_that_can_decode(cv: float, statistic: str, catalog: Catalog) -> None:
    station = station_of(catalog, "Qwen/Qwen3-14B", replace(LONG, arrival_cv=cv))
    n = len(station.first_ms)
    replicas = OpenReplicas.of(station, np.full(n, 32.0), np.full(n, 1024.0))
    assert replicas.full_tpot_ms(statistic) == pytest.approx(replicas.at(replicas.most).statistic("tpot", statistic))


def test_at_the_same_rate_nobody_is_later_where_no_places_are_counted(catalog: Catalog) -> None:
    station = station_of(catalog, "Qwen/Qwen3-14B", LONG)
    n = len(station.first_ms)
    places, tokens, decoding = np.full(n, 40.0), np.full(n, 4096.0), np.full(n, 30.0)
    counted = OpenReplicas.of(station, places, tokens).at(decoding)
    low, high = np.ones(n), decoding  # steps are shorter, so that fewer decode at once
    for _ in range(40):
        middle = (low + high) / 2
        slower = station.uncrowded(middle, middle, tokens).rate_rps < counted.rate_rps
        low, high = np.where(slower, middle, low), np.where(slower, high, middle)
    free = station.uncrowded(low, low, tokens)
    assert free.rate_rps == pytest.approx(counted.rate_rps)
    for metric in ("ttft", "tpot", "e2e"):
        for statistic in ("mean", "p50", "p95", "p99"):
            assert (free.statistic(metric, statistic) <= counted.statistic(metric, statistic)).all()


@pytest.mark.parametrize(
    "targets",
    [
        (Target("ttft", "p95", 1500.0), Target("tpot", "p95", 40.0)),
        (Target("e2e", "p90", 20_000.0),),
        (Target("tpot", "mean", 12.0),),
        (Target("ttft", "p99", 400.0),),
        (),
    ],
    ids=lambda targets: ",".join(target.name for target in targets) or "throughput",
)
def test_the_largest_load_is_held_and_the_next_is_not(targets: tuple[Target, ...], catalog: Catalog) -> None:
    c = configurations_of(catalog, "Qwen/Qwen3-14B")
    station = station_of(catalog, "Qwen/Qwen3-14B", SHORT)
    memory = replica_memory(c, max_model_len=8192, max_num_seqs=64)
    places = np.full(len(c), 64.0)
    replicas = OpenReplicas.of(station, places, memory.max_num_batched_tokens.astype(float))
    served = np.ones((len(c), 2), bool)
    load = largest_load(replicas, targets, served)

    def held(at: np.ndarray) -> np.ndarray:
        return lateness(replicas.at(decoding_of(at, replicas.most)), targets, served) <= 0

    assert (held(load) | (load == 0)).all()
    assert (~held(load + 1) | (load == LOAD_STEPS)).all()
    if not targets:
        assert (load == LOAD_STEPS).all()
