"""Times of stages: of all batches together as of each by itself."""

import numpy as np
from mixed_cards import L4, T4, mixed, workload

from catalog import Catalog
from optimizer import load_scenario
from optimizer.candidates.pipelines.grounds import grounds
from optimizer.candidates.pipelines.stages import Axes, Setting, StageTimes, batches
from optimizer.serving_config import Configurations, FloatArray, IntArray

TOKENS = (2048, 512)


def times_of(catalog: Catalog, batch: IntArray) -> FloatArray:
    """[settings, fractions, places, formats, V, C + 1] of a 14B model in two formats on two cards."""
    scenario = load_scenario(mixed({"chat": workload(gpu_memory_utilization="90%")}, {"old": T4, "new": L4}), catalog)
    (ground,) = grounds(scenario.inventory, catalog)
    none, formats = np.zeros(0, np.int64), ("fp16", "gptq-int4")
    shape = Configurations(
        catalog.models["Qwen/Qwen3-14B"], catalog.engines["vllm"], None, ground.gpus,
        tuple(catalog.formats[name] for name in formats), (catalog.kv_formats["auto"],),
        none, none, none, none, none, none, none, links=ground.links,
    )  # fmt: skip
    axes = Axes(batch, TOKENS, (1,), 8192)
    times = StageTimes(shape, ground, axes, scenario.workloads["chat"], catalog.calibration)
    return np.stack([times.of(Setting(0, tokens, 1, n_stages)) for tokens in TOKENS for n_stages in (2, 3)])


def test_what_is_asked_of_all_batches_together_is_what_each_alone_says(catalog: Catalog) -> None:
    # A batch is looked at only where the next smaller one runs: none may run that has not been looked at.
    every = batches(None)
    together = times_of(catalog, every)
    n_running = np.isfinite(together).sum(axis=(0, 1, 2, 3, 5))
    assert n_running[0] > n_running[-1] > 0
    for number, batch in enumerate(every.tolist()):
        np.testing.assert_array_equal(together[..., number, :], times_of(catalog, np.array([batch]))[..., 0, :])
