"""Speed and peak memory of what users wait for; every figure is the median over fresh processes.

usage: python benchmarks/bench.py [NAME...]      all, or only the named measurements; exits 1 if one is over its limit
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optimizer.scenario import Scenario

ROOT = Path(__file__).resolve().parents[1]
GPUPLAN = Path(sys.executable).with_name("gpuplan")
PROCESSES = 5
LIMIT_MB = 300
KIB_PER_MB = 1e6 / 1024
QUICKSTART, MIXED_CARDS = ROOT / "scenarios" / "quickstart.yaml", ROOT / "scenarios" / "mixed-cards.yaml"
CANDIDATES = 100_000


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the table."""

    what: str
    limit_s: float
    run: Callable[[], float]
    """Seconds, measured in the process it runs in."""


def main(names: list[str]) -> int:
    """Print the table; 1 when a figure is over its limit."""
    if names[:1] == ["--one"]:
        seconds = MEASUREMENTS[names[1]].run()
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        print(json.dumps({"seconds": seconds, "peak_mb": peak / KIB_PER_MB}))
        return 0
    if unknown := set(names) - set(MEASUREMENTS):
        print(f"unknown: {', '.join(sorted(unknown))}; there is {', '.join(MEASUREMENTS)}", file=sys.stderr)
        return 2
    over = False
    print(f"{'':10}{'':52}{'median':>9}{'limit':>9}{'peak':>9}")
    for name in names or MEASUREMENTS:
        measurement = MEASUREMENTS[name]
        runs = [one_run(name) for _ in range(PROCESSES)]
        seconds = statistics.median(run["seconds"] for run in runs)
        peak_mb = statistics.median(run["peak_mb"] for run in runs)
        too_much = seconds > measurement.limit_s or peak_mb > LIMIT_MB
        over |= too_much
        print(f"{name:11}{measurement.what:52}{seconds:7.3f} s{measurement.limit_s:7.2f} s{peak_mb:6.0f} MB"
              f"{'   over' if too_much else ''}")  # fmt: skip
    print(f"Medians of {PROCESSES} fresh processes; limit of peak memory {LIMIT_MB} MB.")
    return int(over)


def one_run(name: str) -> dict[str, float]:
    """Figures of one measurement in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def wall(*arguments: str) -> float:
    """Seconds of a whole command, start-up included."""
    started = time.perf_counter()
    subprocess.run([GPUPLAN, *arguments], capture_output=True, check=True, cwd=ROOT)
    return time.perf_counter() - started


def load_the_catalog() -> float:
    """With everything imported, nothing cached."""
    from catalog import load_catalog

    started = time.perf_counter()
    load_catalog()
    return time.perf_counter() - started


def one_workload() -> float:
    """Load and optimize, after import and with the catalog in memory."""
    return solve_text(scenario_text(workloads=1, offers=3))


def contended() -> float:
    """Ten workloads that compete for forty limited offers, proven to 0.1 %."""
    return solve_text(scenario_text(workloads=10, offers=40))


def over_several_offers() -> float:
    """A 70B model over three offers of unlike cards, every format and degree tried."""
    return solve_text(MIXED_CARDS.read_text(encoding="utf-8"))


def over_six_offers() -> float:
    """CPU seconds that find and rate the pipelines of a 70B model over six offers of unlike cards, in every format."""
    from catalog import load_catalog
    from optimizer.candidates.pipelines import pipeline_candidates

    cards = ("l4", "rtx-4090", "a10g", "a100-40gb-sxm", "l40s", "h100-sxm")
    offers = [f"  {card}: {{gpu: {card}, gpus_per_server: 8, rent: {{price: $1/gpu/h}}}}" for card in cards]
    chat = (
        "  chat: {model: meta-llama/Llama-3.1-70B-Instruct, requests: 1/s, input_tokens: 1200, output_tokens: 250, "
        "max_context: 4k, slo: {ttft_p95: 20s, tpot_p95: 250ms}, heterogeneous_pipelines: true}"
    )
    catalog = load_catalog()
    scenario = scenario_of("\n".join(["name: bench", "workloads:", chat, "inventory:", *offers, ""]))
    started = time.process_time()
    found = pipeline_candidates("chat", scenario.workloads["chat"], scenario.inventory, scenario, catalog)
    seconds = time.process_time() - started
    assert found.specs
    return seconds


def hundred() -> float:
    """A hundred workloads on forty limited offers, proven to 0.5 % by columns."""
    return solve_text(scenario_text(workloads=100, offers=40, stock=20), gap=0.005)


def explain_none() -> float:
    """CPU seconds that say why there is no plan for a hundred workloads on forty offers that are too few."""
    from catalog import load_catalog
    from optimizer.api import EXPLANATION_SHARE
    from optimizer.candidates import build_candidates
    from optimizer.explain import explain_infeasible

    catalog = load_catalog()
    scenario = scenario_of(scenario_text(workloads=100, offers=40).replace("requests: ", "peak: 12x, requests: "))
    candidates = build_candidates(scenario, catalog)
    started = time.process_time()
    found = explain_infeasible(scenario, catalog, candidates, time_limit_s=60.0 * EXPLANATION_SHARE)
    seconds = time.process_time() - started
    assert found.conflict
    return seconds


def explain_many() -> float:
    """CPU seconds that explain the plan of scenarios/many-workloads.yaml, of 32 workloads."""
    return explained(ROOT / "scenarios" / "many-workloads.yaml")


def explain_fifty() -> float:
    """The same of fifty workloads on forty limited offers."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(scenario_text(workloads=50, offers=40, stock=10))
        file.flush()
        return explained(Path(file.name))


def explained(file: Path) -> float:
    """CPU seconds that explain the plan of a scenario."""
    import optimizer
    from catalog import load_catalog
    from optimizer.explain import explain_plan
    from optimizer.scenario import scenario_catalog

    catalog = load_catalog()
    scenario = optimizer.load_scenario(str(file), catalog)
    layout = optimizer.optimize(scenario, catalog, gap=0.005)
    started = time.process_time()
    found = explain_plan(layout, scenario, scenario_catalog(scenario, catalog))
    seconds = time.process_time() - started
    assert found.reasons
    return seconds


def scenario_of(text: str) -> Scenario:
    """The scenario that a file of this text holds."""
    from optimizer.scenario import load_scenario

    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        return load_scenario(file.name)


def quarters() -> float:
    """Fifty growing workloads on twenty offers to own, buy, rent and reserve over twelve quarters, proven to 1 %."""
    return solve_text(scenario_over_periods(workloads=50, offers=20, periods=12), gap=0.01)


def solve_text(text: str, gap: float = 0.001) -> float:
    """Seconds from a scenario file to a layout that is proven to a gap."""
    import yaml  # noqa: F401  # imported when the first scenario is read; the figure is for after import

    import optimizer.api
    from catalog import load_catalog

    catalog = load_catalog()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        started = time.perf_counter()
        layout = optimizer.optimize(optimizer.load_scenario(file.name, catalog), catalog, gap=gap)
        seconds = time.perf_counter() - started
    assert layout.status == "optimal", layout.status
    return seconds


def scenario_text(workloads: int, offers: int, stock: int = 1) -> str:
    """Workloads of four models over offers of six cards, of each one to three times `stock` servers to compete for."""
    models = ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B", "Qwen/Qwen3-32B", "Qwen/Qwen3-0.6B")
    cards = ("h100-sxm", "h200-sxm", "a100-80gb-sxm", "l40s", "a10g", "h100-pcie")
    usd = (2.4, 3.3, 1.5, 0.9, 0.6, 2.1)
    needs = [
        f"  w{i}: {{model: {models[i % 4]}, requests: {0.4 + 0.3 * (i * 7 % 10):.1f}/s, "
        f"input_tokens: {200 + 170 * (i % 20)}, "
        f"output_tokens: {60 + 37 * (i % 20)}, slo: {{ttft_p95: {2 + i % 3}s, tpot_p95: {60 + 4 * (i % 20)}ms}}}}"
        for i in range(workloads)
    ]
    servers = [
        f"  o{i}: {{gpu: {cards[i % 6]}, gpus_per_server: {(1, 2, 4, 8)[i // 6 % 4]}, "
        f"rent: {{price: ${usd[i % 6] * (1 + 0.013 * i):.3f}/gpu/h, max: {stock * (1 + i % 3)}}}}}"
        for i in range(offers)
    ]
    return "\n".join(["name: bench", "workloads:", *needs, "inventory:", *servers, ""])


def scenario_over_periods(workloads: int, offers: int, periods: int) -> str:
    """The same four models and six cards with growth, some ninety cards at the end, and every term but spot."""
    models = ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B", "Qwen/Qwen3-32B", "Qwen/Qwen3-0.6B")
    cards = ("h100-sxm", "h200-sxm", "a100-80gb-sxm", "l40s", "a10g", "h100-pcie")
    usd = (2.4, 3.3, 1.5, 0.9, 0.6, 2.1)
    price_usd = (33_000, 42_000, 16_000, 9_000, 4_000, 26_000)
    needs = [
        f"  w{i}: {{model: {models[i % 4]}, requests: {1.6 + 1.2 * (i * 7 % 10):.1f}/s, growth: {i * 3 % 11}%/period, "
        f"input_tokens: {200 + 170 * (i % 20)}, "
        f"output_tokens: {60 + 37 * (i % 20)}, slo: {{ttft_p95: {2 + i % 3}s, tpot_p95: {60 + 4 * (i % 20)}ms}}}}"
        for i in range(workloads)
    ]
    servers = []
    for i in range(offers):
        card, size = i % 6, (1, 2, 4, 8)[i // 6 % 4]
        terms = [f"rent: {{price: ${usd[card] * (1 + 0.013 * i):.3f}/gpu/h, max: {20 * (1 + i % 3)}}}"]
        if i % 3 == 0:
            bought = f"price: ${price_usd[card] * size}/server, max: 20, life: 48mo, residual: 20%"
            terms.append(f"buy: {{{bought}, lead_time: {3 + 3 * (i % 2)}mo}}")
        if i % 3 == 1:
            terms.append(f"reserve: [{{term: 12mo, price: ${usd[card] * 0.7:.3f}/gpu/h, max: 20}}]")
        if i % 5 == 0:
            terms.append(f"own: {1 + i % 2}")
        servers.append(f"  o{i}: {{gpu: {cards[card]}, gpus_per_server: {size}, {', '.join(terms)}}}")
    head = [
        "name: bench",
        f"horizon: {3 * periods}mo",
        f"periods: {periods}",
        "discount_rate: 8%/yr",
        "facility: {power_price: $0.11/kWh, pue: 1.3, opex: $100/server/mo}",
    ]
    return "\n".join([*head, "workloads:", *needs, "inventory:", *servers, ""])


def evaluate_candidates() -> float:
    """Memory and performance of 100,000 configurations of one model, as the candidates need them."""
    import numpy as np

    from catalog import load_catalog
    from optimizer.memory import replica_memory
    from optimizer.performance import TokenMix, replica_performance
    from optimizer.serving_config import Configurations

    catalog = load_catalog()
    formats = tuple(catalog.formats[name] for name in ("bf16", "fp8", "awq-int4"))
    gpus = tuple(catalog.gpus[name] for name in ("h100-sxm", "a100-80gb-sxm", "l40s", "h200-sxm"))
    row = np.arange(CANDIDATES)
    one = np.ones(CANDIDATES, np.int64)
    configurations = Configurations(
        catalog.models["Qwen/Qwen3-32B"], catalog.engines["vllm"], None, gpus, formats,
        (catalog.kv_formats["auto"], catalog.kv_formats["fp8"]),
        gpu=row % 4, weight_format=row // 4 % 3, kv_format=row // 12 % 2,
        tp=2 ** (row // 24 % 4), pp=2 ** (row // 96 % 2), dp=one, ep=one,
    )  # fmt: skip
    batch = 1 + row // 192 % 512
    mix = TokenMix(("all",), np.ones(1), np.array([1000.0]), np.array([250.0]), 0.0)
    started = time.perf_counter()
    memory = replica_memory(configurations, max_model_len=8192, max_num_seqs=batch)
    replica_performance(configurations, memory, mix, batch.astype(float), catalog.calibration)
    return time.perf_counter() - started


def rate_candidates() -> float:
    """CPU seconds for a million candidates (configuration on an offer × batch size), from enumeration to pruning.

    Of a hundred workloads on forty offers, with percentile targets; the batch size of a configuration is decided on
    by bisection, and its capacity is the largest rate at which the targets hold. Those that serve nobody do not count;
    those in formats that others cover do, though they go unrated.
    """
    from catalog import load_catalog
    from optimizer.candidates import build_candidates
    from optimizer.candidates.enumerate import batch_sizes

    catalog, scenario = load_catalog(), scenario_of(scenario_text(workloads=100, offers=40))
    started = time.process_time()
    candidates = build_candidates(scenario, catalog)
    seconds = time.process_time() - started
    workloads = scenario.workloads.values()
    serving = [one.n_evaluated - sum(one.rejected.values()) for one in candidates]
    return 1e6 * seconds / sum(n * len(batch_sizes(w)) for n, w in zip(serving, workloads, strict=True))


def simulate_a_minute() -> float:
    """CPU seconds of a simulated minute of one replica with 64 requests always in flight."""
    import numpy as np

    from catalog import load_catalog
    from optimizer.memory import replica_memory
    from optimizer.performance import TokenMix
    from optimizer.serving_config import one_configuration
    from optimizer.simulation import Requests, TokenSizes, closed_loop, simulated_replica

    catalog = load_catalog()
    one = one_configuration(
        catalog.models["Qwen/Qwen3-14B"], catalog.engines["vllm"], None, catalog.gpus["h100-sxm"],
        catalog.formats["bf16"], catalog.kv_formats["auto"],
    )  # fmt: skip
    mix = TokenMix(("all",), np.ones(1), np.array([1000.0]), np.array([250.0]), 0.0)
    memory = replica_memory(one, max_model_len=8192, max_num_seqs=np.array([64]))
    replica = simulated_replica(one, memory, mix, catalog.calibration, max_model_len=8192)
    sizes = [TokenSizes(1000, 0.3, 250, 0.3)]
    requests = Requests.drawn(np.zeros(2000), np.ones(1), sizes, 8192, np.random.default_rng(0))
    started = time.process_time()
    outcome = closed_loop(replica, requests, 64)
    return (time.process_time() - started) / (outcome.elapsed_ms / 60_000)


MEASUREMENTS = {
    "help": Measurement("gpuplan --help", 0.3, lambda: wall("--help")),
    "catalog": Measurement("load_catalog()", 0.3, load_the_catalog),
    "quickstart": Measurement("gpuplan solve scenarios/quickstart.yaml", 2.0, lambda: wall("solve", str(QUICKSTART))),
    "one": Measurement("load and optimize one workload, after import", 0.1, one_workload),
    "evaluate": Measurement("memory and performance of 100,000 candidates", 0.5, evaluate_candidates),
    "rate": Measurement("a million candidates with percentile capacity", 0.5, rate_candidates),
    "simulate": Measurement("a simulated minute of a replica, 64 in flight", 0.05, simulate_a_minute),
    "stages": Measurement("a model over three offers of unlike cards", 5.0, over_several_offers),
    "cards": Measurement("pipelines of a model over six offers of unlike cards", 5.0, over_six_offers),
    "contended": Measurement("10 workloads on 40 limited offers, proven", 1.5, contended),
    "quarters": Measurement("50 workloads, 20 offers, 12 periods, proven to 1 %", 60.0, quarters),
    "none": Measurement("why 100 workloads on 40 offers have no plan", 3.0, explain_none),
    "many": Measurement("why a plan of 32 workloads is as it is", 5.0, explain_many),
    "fifty": Measurement("why a plan of 50 workloads on 40 offers is", 5.0, explain_fifty),
    "hundred": Measurement("100 workloads on 40 limited offers, proven to 0.5 %", 15.0, hundred),
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
