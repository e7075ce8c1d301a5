"""Formats that go before anything is rated: never one that no other covers, on any card, degree, batch or mix."""

from __future__ import annotations

import numpy as np
import pytest

from catalog import Catalog
from optimizer import load_scenario
from optimizer.candidates.asked import Asked, token_mix
from optimizer.candidates.enumerate import Choices, accepted_only, batch_sizes, choices_of
from optimizer.candidates.formats import Covered, worth_rating
from optimizer.candidates.physics import Physics
from optimizer.candidates.search import Search
from optimizer.candidates.starts import LEAN, Flags
from optimizer.memory import ReplicaMemory
from optimizer.performance import LOAD_STEPS
from optimizer.performance.station import OpenReplicas
from optimizer.scenario import Workload
from optimizer.serving_config import BoolArray, FloatArray

OFFERS = {
    card: {"gpu": card, "gpus_per_server": gpus, "rent": {"price": "$1/gpu/h"}}
    for card, gpus in {"t4": 2, "l4": 4, "a100-80gb-sxm": 2, "h100-sxm": 8, "b200-sxm": 4, "mi300x": 2}.items()
}
ON_ENGINES = [
    ("Qwen/Qwen3-8B", "vllm"),
    ("openai/gpt-oss-20b", "vllm"),  # windows, and experts in MXFP4
    ("Qwen/Qwen3-30B-A3B", "vllm"),
    ("deepseek-ai/DeepSeek-V3", "vllm"),  # latent attention, published in block FP8
    ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "vllm"),  # recurrent layers, dealt unevenly to stages
    ("Qwen/Qwen3-8B", "sglang"),
    ("meta-llama/Llama-3.1-8B-Instruct", "trtllm"),
    ("google/gemma-3-12b-it", "llamacpp"),
]
FLOOR = 0.5
"""Of quality, which lets every format through of which it is known."""
ROUNDING = 1e-9


def choices_on(catalog: Catalog, model: str, engine: str) -> tuple[Workload, Choices]:
    """Of every format of known quality."""
    chat = {"requests": "1/s", "input_tokens": 900, "output_tokens": 200, "slo": {"ttft_p95": "2s", "tpot_p95": "60ms"}}
    chat |= {"model": model, "engines": [engine], "min_quality": f"{FLOOR:%}"}
    scenario = load_scenario({"name": "formats", "workloads": {"chat": chat}, "inventory": OFFERS}, catalog)
    workload = scenario.workloads["chat"]
    (choices,) = accepted_only([choices_of(workload, list(scenario.inventory.values()), catalog, model, engine)], FLOOR)
    return workload, choices


@pytest.mark.parametrize(("model", "engine"), ON_ENGINES)
def test_a_format_is_covered_by_what_is_as_fast_and_holds_as_much_everywhere(
    model: str, engine: str, catalog: Catalog
) -> None:
    workload, choices = choices_on(catalog, model, engine)
    accepted = choices.accepted(FLOOR)
    covered = Covered.of(choices.at_degrees(), catalog.calibration)
    physics = Physics.of(choices.configurations(accepted), batch_sizes(workload), catalog.calibration)
    pairs = covering_pairs(choices, physics, accepted, covered)
    assert len(pairs)
    some, others = pairs.T
    station = physics.station(token_mix(workload))
    default = physics.defaults.max_num_batched_tokens
    asked = ((0, 4096, default), (30, 512, default), (60, 4096, default), (30, 100_000, default // LEAN))
    for size, length, tokens in asked:
        memory = memory_of(physics, size, length, Flags(tokens, physics.defaults.most_fraction))
        assert (memory.fits[others] | ~memory.fits[some]).all()
        both = memory.fits[some]
        held = memory.concurrency(1500.0)
        assert (held[others[both]] >= held[some[both]] * (1 - ROUNDING)).all()
        places = np.full(len(held), float(physics.sizes[size]))
        replicas = OpenReplicas.of(station, places, (tokens * physics.configurations.dp).astype(float))
        for load in (0.2 * places, 0.7 * places):
            rate_rps = replicas.at(load).rate_rps
            assert (rate_rps[others] >= rate_rps[some] * (1 - ROUNDING)).all()
    best_rps = best_rates_rps(workload, physics)
    assert (best_rps[others] >= best_rps[some] * (1 - 1 / LOAD_STEPS)).all()


def best_rates_rps(workload: Workload, physics: Physics) -> FloatArray:
    """[n] what each configuration sustains within the targets, with the batch that suits it best."""
    holds = np.ones((len(physics.configurations), 1), np.int64)
    (found,) = Search([Asked(workload, physics, np.arange(len(holds)), holds)]).run()
    c, rated = physics.configurations, found.rated.configurations
    key, key_rated = (np.stack([x.gpu, x.weight_format, x.kv_format, x.tp, x.pp, x.dp, x.ep], 1) for x in (c, rated))
    best: dict[tuple[int, ...], float] = {}
    for row, rate_rps in zip(map(tuple, key_rated.tolist()), found.rated.rate_rps[:, 0].tolist(), strict=True):
        best[row] = max(best.get(row, 0.0), rate_rps)
    return np.array([best.get(row, 0.0) for row in map(tuple, key.tolist())])


def covering_pairs(choices: Choices, physics: Physics, accepted: BoolArray, covered: Covered) -> np.ndarray:
    """[pairs, 2] rows alike but for their formats, of which the second covers the first."""
    c = physics.configurations
    shape = (len(choices.places), len(choices.weights), len(choices.caches))
    degree = np.unique(np.stack([c.tp, c.pp, c.dp, c.ep]), axis=1, return_inverse=True)[1].ravel()
    row = np.full((*shape, degree.max() + 1), -1)
    row[c.gpu, c.weight_format, c.kv_format, degree] = np.arange(len(c))
    pairs = []
    for place, card in enumerate(choices.card_of_place.tolist()):
        for w, v in zip(*np.nonzero(covered.weights[card]), strict=True):
            for k, j in zip(*np.nonzero(covered.caches[card]), strict=True):
                if (w, k) != (v, j) and accepted[card, w, k] and accepted[card, v, j]:
                    both = np.stack([row[place, w, k], row[place, v, j]], axis=1)
                    pairs.append(both[(both >= 0).all(axis=1)])
    return np.concatenate(pairs)


def memory_of(physics: Physics, size: int, length: int, flags: Flags) -> ReplicaMemory:
    rows = np.arange(len(physics.configurations))
    ((_, memory),) = physics.memory(rows, np.full(len(rows), size), np.full(len(rows), length), flags)
    assert isinstance(memory, ReplicaMemory)
    return memory


def test_equal_formats_cover_each_other_and_wider_ones_cover_none(catalog: Catalog) -> None:
    _, choices = choices_on(catalog, "Qwen/Qwen3-8B", "vllm")
    covered = Covered.of(choices.at_degrees(), catalog.calibration)
    weights, caches = [f.id for f in choices.weights], [f.id for f in choices.caches]
    card = [gpu.id for gpu in choices.cards].index("h100-sxm")
    bf16, fp16, int4 = (weights.index(name) for name in ("bf16", "fp16", "awq-int4"))
    assert covered.weights[card, bf16, fp16]
    assert covered.weights[card, fp16, bf16]
    assert not covered.weights[card, int4, bf16]  # more bytes
    assert covered.caches[card, caches.index("auto"), caches.index("fp8")]
    assert not covered.caches[card, caches.index("fp8"), caches.index("auto")]


@pytest.mark.parametrize("mix", [True, False])
def test_whatever_goes_something_that_stays_covers_it(mix: bool) -> None:
    rng = np.random.default_rng(7)
    gone = 0
    for _ in range(400):
        n_ways, cards, weights, caches = rng.integers(1, 3), rng.integers(1, 4), rng.integers(1, 5), rng.integers(1, 4)
        accepted = [rng.random((cards, weights, caches)) < 0.7 for _ in range(n_ways)]
        covered = [Covered(orders(rng, cards, weights), orders(rng, cards, caches)) for _ in range(n_ways)]
        kept = worth_rating(accepted, covered, mix=mix)
        gone += sum(int(a.sum() - b.sum()) for a, b in zip(accepted, kept, strict=True))
        assert all((b <= a).all() for a, b in zip(accepted, kept, strict=True))

        def stays(way: int, g: int, w: int, k: int, v: int) -> bool:
            """Something that is kept in format v covers it."""
            by = covered[way]  # noqa: B023
            here = kept[way][g, v]  # noqa: B023
            return bool((here & by.weights[g, w, v] & by.caches[g, k]).any())

        of_format: dict[int, list[tuple[int, int, int, int]]] = {}
        for way, mask in enumerate(accepted):
            for g, w, k in np.argwhere(mask).tolist():
                of_format.setdefault(w, []).append((way, g, w, k))
        for rows in of_format.values():
            if mix:
                assert all(any(stays(*row, v) for v in range(weights)) for row in rows)
            else:
                assert any(all(stays(*row, v) for row in rows) for v in range(weights))
    assert gone > 1000


def orders(rng: np.random.Generator, n: int, size: int) -> BoolArray:
    """[n, size, size] whether one covers another: no larger in any of two numbers, of which many are equal."""
    values = rng.integers(0, 3, (n, size, 2))
    covers: BoolArray = (values[:, None, :, :] <= values[:, :, None, :]).all(axis=-1)
    return covers
