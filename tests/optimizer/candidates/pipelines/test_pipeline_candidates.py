"""Pipelines over several offers as candidates: lawful, within memory and quality, and split as well as can be."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mixed_cards import L4, T4, mixed, workload

from catalog import Catalog
from optimizer import load_scenario
from optimizer.candidates import Candidates, build_candidates, replica_rates_rps
from optimizer.candidates.pipelines import pipeline_candidates
from optimizer.candidates.pipelines.quality import Quality


def pipelines(catalog: Catalog, given: dict[str, Any]) -> Candidates:
    """Of the workload `chat`."""
    scenario = load_scenario(given, catalog)
    return pipeline_candidates("chat", scenario.workloads["chat"], scenario.inventory, scenario, catalog)


def test_without_the_key_there_are_none(catalog: Catalog) -> None:
    scenario = load_scenario(mixed({"chat": workload(heterogeneous_pipelines=False)}), catalog)
    (candidates,) = build_candidates(scenario, catalog, prune=False)
    assert not any(spec.stages for spec in candidates.specs)


def test_stages_hold_every_layer_once_and_stand_on_two_offers_or_more(catalog: Catalog) -> None:
    found = pipelines(catalog, mixed(inventory={"old": T4, "new": L4, "spare": L4}))
    assert {len(spec.stages) for spec in found.specs} == {2, 3, 4}
    for spec in found.specs:
        edges = [(stage.first_layer, stage.last_layer) for stage in spec.stages]
        assert edges[0][0] == 0
        assert edges[-1][1] == 39  # of the 40 layers of Qwen3-14B
        assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(edges))
        assert len({stage.offer for stage in spec.stages}) > 1
        assert spec.gpus == len(spec.stages)


def test_the_card_that_is_slower_takes_fewer_layers(catalog: Catalog) -> None:
    # 320 GB/s against 300: the T4 reads faster, but holds 14.6 GiB to the L4's 22, so that memory decides.
    # In int8 it does not, and the 4090 with 1008 GB/s takes about three times the layers of the T4.
    fast = {"gpu": "rtx-4090", "gpus_per_server": 1, "own": 1}
    given = mixed({"chat": workload(weight_dtypes=["int8-w8a16"])}, {"old": T4, "fast": fast})
    (spec,) = (spec for spec in pipelines(catalog, given).specs if len(spec.stages) == 2)
    old, new = spec.stages
    assert (old.gpu, new.gpu) == ("t4", "rtx-4090")
    assert new.last_layer - new.first_layer > 1.8 * (old.last_layer - old.first_layer)


def test_no_other_split_of_the_same_stages_carries_more(catalog: Catalog) -> None:
    # In int4 memory bounds no split between 8 and 31 layers on the T4, so that all of these can be tried.
    given = mixed({"chat": workload(weight_dtypes=["gptq-int4"], min_quality="98%")})
    scenario, found = load_scenario(given, catalog), pipelines(catalog, given)
    (k,) = (k for k, spec in enumerate(found.specs) if len(spec.stages) == 2)
    first, second = found.specs[k].stages

    def rate(last: int) -> float:
        stages = (first._replace(last_layer=last), second._replace(first_layer=last + 1))
        return float(replica_rates_rps(replace(found.specs[k], stages=stages), scenario.workloads["chat"], catalog)[0])

    rates = {last: rate(last) for last in range(8, 32)}
    assert rates[first.last_layer] == pytest.approx(found.rate_rps[k, 0], rel=1e-9)
    # What is minimised is the time of a token while the batch is full, not the rate within the latency targets.
    assert max(rates.values()) <= found.rate_rps[k, 0] * 1.02


def test_formats_may_differ_by_stage_within_the_quality_asked_for(catalog: Catalog) -> None:
    # int4 of a 14B model has 98.2 % of the quality, fp16 99.95 %: with 99 % asked for, two fifths may be in int4.
    asked = workload(weight_dtypes=["fp16", "gptq-int4"], min_quality="99%")
    found = pipelines(catalog, mixed({"chat": asked}))
    several = [spec for spec in found.specs if len({stage.weight_dtype for stage in spec.stages}) > 1]
    assert several
    for spec in several:
        in_int4 = sum(s.last_layer - s.first_layer + 1 for s in spec.stages if s.weight_dtype == "gptq-int4")
        assert 0 < in_int4 <= 40 * (0.9995 - 0.99) / (0.9995 - 0.982)
    assert not any(spec.weight_dtype == "gptq-int4" for spec in found.specs)


def test_least_layers_in_the_better_format() -> None:
    # 1.0 and 0.98, 0.99 asked for: half of 40; beside a cache of 0.995, 0.99 / 0.995 = 0.99497, three quarters.
    quality = Quality(weights=(1.0, 0.98), caches=(1.0, 0.995), by_layer=(0, 1), least=0.99)
    assert quality.layers_in(0, 1, 0, 40) == 20
    assert quality.layers_in(0, 1, 1, 40) == 30
    assert Quality((1.0, 0.98), (1.0,), (0, 1), 0.97).layers_in(0, 1, 0, 40) == 1


def test_cards_of_several_vendors_and_regions_are_not_joined(catalog: Catalog) -> None:
    amd = {"gpu": "mi300x", "gpus_per_server": 1, "own": 1}
    assert not pipelines(catalog, mixed(inventory={"nvidia": L4, "amd": amd})).specs
    here, there = (offer | {"region": region} for offer, region in ((T4, "east"), (L4, "west")))
    assert not pipelines(catalog, mixed(inventory={"old": here, "new": there})).specs


def test_a_slow_network_makes_hand_overs_slow_whichever_offer_has_it(catalog: Catalog) -> None:
    def rate(old: str, new: str) -> float:
        given = mixed(inventory={"old": T4 | {"network": old}, "new": L4 | {"network": new}})
        found = pipelines(catalog, given)
        return max(found.rate_rps[k, 0] for k, spec in enumerate(found.specs) if len(spec.stages) == 2)

    slow = [rate("1Gbit/s", "100Gbit/s"), rate("100Gbit/s", "1Gbit/s"), rate("1Gbit/s", "1Gbit/s")]
    np.testing.assert_allclose(slow, slow[0])
    assert slow[0] < rate("100Gbit/s", "100Gbit/s")


def test_a_pipeline_is_dropped_where_one_of_its_cards_does_as_much_alone(catalog: Catalog) -> None:
    # A 4B model runs on the L4 by itself, faster than any pipeline of it with a T4 that could not do the same alone.
    given = mixed({"chat": workload(model="Qwen/Qwen3-4B")})
    (kept,) = build_candidates(load_scenario(given, catalog), catalog)
    everything = pipelines(catalog, given)
    assert sum(bool(spec.stages) for spec in kept.specs) < len(everything.specs)


def test_on_llamacpp_a_stage_has_one_card_and_more_than_four_stand_on_two_offers(catalog: Catalog) -> None:
    four = {"gpus_per_server": 4}
    chat = workload(model="Qwen/Qwen3-32B", engines=["llamacpp"], weight_dtypes=["gguf-q8_0"], max_context=4096,
                    max_num_batched_tokens=[512])  # fmt: skip
    found = pipelines(catalog, mixed({"chat": chat}, {"old": T4 | four, "new": L4 | four, "more": L4 | four}))
    assert {spec.tp for spec in found.specs} == {1}
    assert {len(spec.stages) for spec in found.specs} <= set(range(2, 9))
    offers = {(len(spec.stages), len({stage.offer for stage in spec.stages})) for spec in found.specs}
    assert {(4, 2), (4, 3), (5, 2)} <= offers
    assert (5, 3) not in offers
