"""How far the closed form used for candidates lies from the simulated scheduler, and how fast the simulator is.

usage: python benchmarks/simulation.py [SECONDS]      simulated time of each run; default 1200

For replicas × request sizes × batches, at loads given in parts of a full batch: closed-form percentiles over simulated
ones, and those of other requests at the same rate, which is how far simulations differ among themselves. Then for
latency targets: the closed form's capacity over the largest rate at which the simulation holds them. Last for several
limits of a step's tokens, over a third of the time.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from catalog import load_catalog
from catalog.units import MS_PER_S
from optimizer.memory import ReplicaMemory, replica_memory
from optimizer.performance import (
    LOAD_STEPS,
    Latency,
    RatedReplicas,
    Statistic,
    TokenMix,
    largest_load,
    open_replicas,
)
from optimizer.performance.station import OpenReplicas
from optimizer.scenario import Target
from optimizer.serving_config import Configurations, FloatArray, one_configuration
from optimizer.simulation import (
    Outcome,
    Requests,
    SimulatedReplica,
    TokenSizes,
    arrival_times_ms,
    open_loop,
    simulated_replica,
)
from optimizer.simulation import closed_loop as simulate_closed_loop

CATALOG = load_catalog()
REPLICAS = (  # model, GPU, weights, tp, engine
    ("Qwen/Qwen3-14B", "h100-sxm", "bf16", 1, "vllm"),
    ("Qwen/Qwen3-8B", "l40s", "fp8", 1, "vllm"),
    ("Qwen/Qwen3-32B", "a100-80gb-sxm", "bf16", 2, "vllm"),
    ("Qwen/Qwen3-32B", "h100-sxm", "fp8", 1, "sglang"),
    ("meta-llama/Llama-3.1-70B-Instruct", "h200-sxm", "fp8", 4, "trtllm"),
    ("openai/gpt-oss-120b", "b200-sxm", "mxfp4", 1, "vllm"),
)
SIZES = ((200, 150, 0.0), (1000, 250, 0.0), (1000, 250, 0.6), (4000, 100, 0.5), (300, 1000, 0.7), (8000, 500, 0.0))
"""Mean input and output tokens, standard deviation of their logarithms."""
BATCHES = (8, 32, 128)
LOADS = (0.2, 0.4, 0.6)
ARRIVAL_CVS = (1.0, 2.0, 4.0)
TARGETS = (
    (Target("ttft", "p95", 1000.0), Target("tpot", "p95", 40.0)),
    (Target("ttft", "p99", 3000.0),),
    (Target("e2e", "p95", 20000.0),),
)
STEP_TOKENS = (1024, 2048, 4096, 8192, 16384)
OF_STEP_TOKENS = tuple(
    (replica, size, batch)
    for replica in (REPLICAS[0], REPLICAS[2], REPLICAS[4])
    for size in (SIZES[2], SIZES[3], SIZES[5], SIZES[4])
    for batch in (16, 64, 192)
)
OF_STEPS: tuple[tuple[Latency, Statistic], ...] = (("ttft", "mean"), ("ttft", "p95"), ("tpot", "mean"), ("tpot", "p95"))
MAX_MODEL_LEN = 32768
WARM_UP_FRACTION = 0.2
BISECTIONS = 6


@dataclass(frozen=True)
class Case:
    """One replica with one kind of request."""

    replica: tuple[str, str, str, int, str]
    size: tuple[int, int, float]
    batch: int
    arrival_cv: float = 1.0
    step_tokens: int | None = None
    """The engine's own limit where there is none."""

    @cached_property
    def configuration(self) -> Configurations:
        model, gpu, weights, tp, engine = self.replica
        return one_configuration(
            CATALOG.models[model], CATALOG.engines[engine], None, CATALOG.gpus[gpu], CATALOG.formats[weights],
            CATALOG.kv_formats["auto"], tp=tp,
        )  # fmt: skip

    @cached_property
    def memory(self) -> ReplicaMemory:
        return replica_memory(
            self.configuration, max_model_len=MAX_MODEL_LEN, max_num_seqs=np.array([self.batch]),
            max_num_batched_tokens=self.step_tokens,
        )  # fmt: skip

    @property
    def runs(self) -> bool:
        inputs, outputs, _ = self.size
        return bool(self.memory.fits[0]) and float(self.memory.concurrency(inputs + outputs)[0]) > 1.2 * self.batch

    @cached_property
    def mix(self) -> TokenMix:
        inputs, outputs, sigma = (np.array([float(value)]) for value in self.size)
        return TokenMix(("all",), np.ones(1), inputs, outputs, 0.0, sigma, sigma, self.arrival_cv)

    @cached_property
    def closed_form(self) -> OpenReplicas:
        places = np.array([float(self.batch)])
        return open_replicas(self.configuration, self.memory, self.mix, places, CATALOG.calibration)

    @cached_property
    def simulated(self) -> SimulatedReplica:
        return simulated_replica(
            self.configuration, self.memory, self.mix, CATALOG.calibration, max_model_len=MAX_MODEL_LEN
        )

    def requests(self, rate_rps: float, duration_s: float, seed: int = 0) -> Requests:
        rng = np.random.default_rng([seed, *self.size[:2], self.batch])
        inputs, outputs, sigma = self.size
        shrink = float(np.exp(-(sigma**2) / 2.0))
        sizes = [TokenSizes(inputs * shrink, sigma, outputs * shrink, sigma)]
        arrived_ms = arrival_times_ms(rate_rps, duration_s, rng, cv=self.arrival_cv)
        return Requests.drawn(arrived_ms, np.ones(1), sizes, MAX_MODEL_LEN, rng)

    def simulate(self, rate_rps: float, duration_s: float, seed: int = 0) -> Outcome:
        outcome = open_loop(self.simulated, self.requests(rate_rps, duration_s, seed))
        return outcome.take(np.flatnonzero(outcome.arrived_ms > WARM_UP_FRACTION * duration_s * MS_PER_S))


def main(duration_s: float) -> None:
    """Print the tables."""
    for cv in ARRIVAL_CVS:
        cases = [Case(r, s, b, cv) for r in REPLICAS for s in SIZES for b in BATCHES]
        cases = [case for case in cases if case.runs]
        print(f"{len(cases)} cases of {duration_s:.0f} simulated seconds, gaps between arrivals with cv {cv:g}\n")
        print_latencies(cases, duration_s)
        print_capacities(cases, duration_s)
        print()
    print_step_tokens(duration_s / 3.0)
    print_speed()


def print_latencies(cases: list[Case], duration_s: float) -> None:
    """Closed form over simulation, by statistic and load; and the simulation over itself with other requests."""
    ratios: dict[tuple[str, str, str], list[list[float]]] = {}
    for case in cases:
        for column, load in enumerate(LOADS):
            at = case.closed_form.at(np.array([load * case.batch]))
            seen, again = (case.simulate(float(at.rate_rps[0]), duration_s, seed).statistics() for seed in (0, 1))
            for metric in ("ttft", "tpot", "e2e"):
                for statistic in ("mean", "p50", "p95", "p99"):
                    predicted = float(at.statistic(metric, statistic)[0, 0])
                    for label, of in (("closed form", predicted), ("simulation", again[metric][statistic])):
                        kept = ratios.setdefault((label, metric, statistic), [[] for _ in LOADS])
                        kept[column].append(of / seen[metric][statistic])
    for label in ("closed form", "simulation"):
        print(f"{label + ' ÷ simulation':28}" + "".join(f"load {load:<22}" for load in LOADS))
        for (one, metric, statistic), by_load in ratios.items():
            if one == label:
                print(f"{f'{metric} {statistic}':28}" + "".join(f"{spread(np.array(of)):27}" for of in by_load))
        print()


def print_capacities(cases: list[Case], duration_s: float) -> None:
    """Closed form's largest rate over the simulation's, by targets."""
    print("capacity, closed form ÷ simulation")
    everybody = np.ones((1, 1), bool)
    for targets in TARGETS:
        ratios = []
        for case in cases:
            load = largest_load(case.closed_form, targets, everybody)
            predicted_rps = float(RatedReplicas.at(case.closed_form, load).rate_rps[0, 0])
            if 0 < load[0] < LOAD_STEPS:
                ratios.append(predicted_rps / simulated_capacity_rps(case, targets, predicted_rps, duration_s))
        named = ", ".join(f"{target.name} {target.limit_ms:.0f} ms" for target in targets)
        print(f"{named:40}{len(ratios):4} cases  {spread(np.array(ratios))}")


def simulated_capacity_rps(case: Case, targets: tuple[Target, ...], predicted_rps: float, duration_s: float) -> float:
    """The largest rate, within a factor of two of the prediction, at which the simulation holds every target."""
    low, high = predicted_rps / 2.0, predicted_rps * 2.0
    for _ in range(BISECTIONS):
        middle = float(np.sqrt(low * high))
        seen = case.simulate(middle, duration_s).statistics()
        held = all(seen[target.metric][target.statistic] <= target.limit_ms for target in targets)
        low, high = (middle, high) if held else (low, middle)
    return float(np.sqrt(low * high))


def print_step_tokens(duration_s: float) -> None:
    """Closed form over simulation, by the most tokens that a step computes, at a light load of what can decode then."""
    ratios: dict[tuple[Latency, Statistic], list[list[float]]] = {}
    for column, tokens in enumerate(STEP_TOKENS):
        for replica, size, batch in OF_STEP_TOKENS:
            case = Case(replica, size, batch, step_tokens=tokens)
            if not case.runs:
                continue
            at = case.closed_form.at(LOADS[0] * case.closed_form.most)
            seen = case.simulate(float(at.rate_rps[0]), duration_s).statistics()
            for metric, statistic in OF_STEPS:
                kept = ratios.setdefault((metric, statistic), [[] for _ in STEP_TOKENS])
                kept[column].append(float(at.statistic(metric, statistic)[0, 0]) / seen[metric][statistic])
    print(f"{f'load {LOADS[0]}, by tokens of a step':28}" + "".join(f"{tokens:<27,}" for tokens in STEP_TOKENS))
    for (metric, statistic), by_tokens in ratios.items():
        print(f"{f'{metric} {statistic}':28}" + "".join(f"{spread(np.array(of)):27}" for of in by_tokens))


def print_speed() -> None:
    """CPU time of a simulated minute of one replica with 64 requests always in flight."""
    case = Case(REPLICAS[0], SIZES[2], 64)
    requests, spent = case.requests(2.0, 1000.0), []
    for _ in range(5):
        started = time.process_time()
        outcome = simulate_closed_loop(case.simulated, requests, 64)
        spent.append((time.process_time() - started) * MS_PER_S / (outcome.elapsed_ms / MS_PER_S / 60.0))
    print(f"\na simulated minute at 64 in flight: {min(spent):.1f} ms of CPU")


def spread(ratios: FloatArray) -> str:
    """Median, and the median and ninth decile of the distance from one."""
    ratios = ratios[~np.isnan(ratios)]  # of a rare burst that came before the warm-up ended
    off = np.abs(ratios - 1.0)
    return f"{np.median(ratios):.2f}, off {np.median(off):.0%} (p90 {np.quantile(off, 0.9):.0%})"


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1200.0)
