"""Leaving configurations unrated that others are better than: never one that a plan could want."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from catalog import Catalog
from optimizer import load_scenario
from optimizer.candidates import alone_rps
from optimizer.candidates.asked import Asked
from optimizer.candidates.field import Field
from optimizer.candidates.ground import Ground
from optimizer.candidates.race import SLACK, Entrant, most_rps
from optimizer.candidates.search import Found, Search
from optimizer.scenario import Scenario

OFFERS = {
    "a10": {"gpu": "a10", "gpus_per_server": 4, "rent": {"price": "$0.9/gpu/h"}},
    "l40s": {"gpu": "l40s", "gpus_per_server": 4, "rent": {"price": "$1.5/gpu/h"}},
    "h100": {"gpu": "h100-sxm", "gpus_per_server": 8, "rent": {"price": "$2.7/gpu/h"}},
    "mi300x": {"gpu": "mi300x", "gpus_per_server": 8, "rent": {"price": "$2.9/gpu/h"}},
}
MODELS = ("Qwen/Qwen3-8B", "openai/gpt-oss-20b", "Qwen/Qwen3-30B-A3B", "meta-llama/Llama-3.1-70B-Instruct")
TARGETS = ("throughput", {"ttft_p95": "1500ms", "tpot_p95": "45ms"}, {"e2e_p90": "40s"}, {"tpot_mean": "30ms"})


def scenario_of(catalog: Catalog, targets: Any, **extra: Any) -> Scenario:
    rng = np.random.default_rng(len(str(targets)))
    workloads = {
        f"w{i}": {
            "model": MODELS[i % len(MODELS)],
            "requests": f"{0.2 * 4 ** (i % 3):.2f}/s",
            "input_tokens": int(rng.integers(200, 6000)),
            "output_tokens": int(rng.integers(50, 900)),
            "slo": targets,
        }
        | extra
        for i in range(6)
    }
    return load_scenario({"name": "race", "workloads": workloads, "inventory": OFFERS}, catalog)


def asked_of(scenario: Scenario, catalog: Catalog) -> tuple[list[Asked], list[Entrant]]:
    here = tuple(range(len(OFFERS)))
    ground = Ground(scenario, catalog, {name: {0.0: here} for name in scenario.workloads}, share=False, beaten_go=False)
    asked, entrants = [], []
    for i, (name, workload) in enumerate(scenario.workloads.items()):
        asked += ground.prepared(workload, here, here).asked
        entrants.append(Entrant(i, alone_rps(name, scenario), not workload.single_format))
    return asked, entrants


def rows_of(found: Found) -> Iterator[tuple[tuple[Any, ...], float]]:
    """Configuration, batch and tokens of each that was rated, and its rate."""
    r, c = found.rated, found.rated.configurations
    columns = (c.gpu, c.weight_format, c.kv_format, c.tp, c.pp, c.dp, c.ep, r.max_batch_size, r.step_tokens)
    keys = np.stack(columns, axis=1).tolist()
    return zip(map(tuple, keys), r.rate_rps[:, 0].tolist(), strict=True)


@pytest.mark.parametrize("targets", TARGETS, ids=str)
def test_no_replica_sustains_more_than_its_bound(targets: Any, catalog: Catalog) -> None:
    asked, _ = asked_of(scenario_of(catalog, targets), catalog)
    for one in asked:
        search = Search([one])
        level, first = search._first_running()
        field = Field.whole([one])
        bound = SLACK * most_rps(field, first.at_most)
        c = one.physics.configurations
        columns = np.stack([c.gpu, c.weight_format, c.kv_format, c.tp, c.pp, c.dp, c.ep], axis=1)
        row_of = {tuple(key): i for i, key in enumerate(columns.tolist())}
        found = dict(rows_of(search.run()[0]))
        assert found
        for key, rate_rps in found.items():
            assert rate_rps <= bound[row_of[key[:7]]]
        assert level.shape == bound.shape


@pytest.mark.parametrize("targets", TARGETS, ids=str)
@pytest.mark.parametrize("mix", [False, True], ids=["one format", "formats mix"])
def test_what_is_rated_in_a_race_is_rated_as_ever_and_the_best_is_among_it(
    targets: Any, mix: bool, catalog: Catalog
) -> None:
    asked, entrants = asked_of(scenario_of(catalog, targets, single_format=not mix), catalog)
    whole, raced = Search(asked).run(), Search(asked).run(entrants)
    assert sum(len(one.rated.max_batch_size) for one in raced) < 0.6 * sum(
        len(one.rated.max_batch_size) for one in whole
    )
    for everything, some, entrant in zip(whole, raced, entrants, strict=True):
        rates = dict(rows_of(everything))
        assert dict(rows_of(some)).items() <= rates.items()
        assert everything.rejected == some.rejected
        assert everything.nearest_ms == some.nearest_ms
        best = Counter[tuple[str, int, int]]()
        for found in (everything, some):
            r, c = found.rated, found.rated.configurations
            formats = np.zeros(len(c), int) if mix else c.weight_format
            here = Counter[tuple[str, int, int]]()
            cards = np.array([gpu.id for gpu in c.gpus])[c.gpu]
            for gpu, weights, gpus, rate in zip(cards, formats, c.gpus_per_replica, r.rate_rps[:, 0], strict=True):
                for size in (1, 2, 4, 8, 16):  # what so many GPUs of a kind carry in one format, at most what is asked
                    carried = min(rate * (size // gpus), entrant.demand_rps)
                    here[gpu, weights, size] = max(here[gpu, weights, size], carried)
            best = best or here
        assert {key: value for key, value in here.items() if value} == pytest.approx(
            {key: value for key, value in best.items() if value}
        )
