"""Costs and bounds confirmed by another solver, which knows nothing but the program as `--write-lp` writes it.

usage: python benchmarks/second_solver.py [--instances 60] [--first 0] [--time-limit 60]

Every instance is solved as `gpuplan solve` would, by columns or as a whole, and its file goes to HiGHS by its own
reader (highspy, one of the development tools). Each of the two has a plan and a bound: a plan below the other's bound
would prove one of them wrong. Prints a line an instance; exits 1 if there is one that disagrees. Where no plan is found
in time there is nothing to compare, which is said and counted.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highspy

from catalog import Catalog, load_catalog
from optimizer import load_scenario, optimize

MODELS = ("Qwen/Qwen3-8B", "Qwen/Qwen3-14B", "Qwen/Qwen3-32B", "Qwen/Qwen3-0.6B")
CARDS = {"h100-sxm": 2.4, "h200-sxm": 3.3, "a100-80gb-sxm": 1.5, "l40s": 0.9, "a10g": 0.6, "h100-pcie": 2.1}  # $/h
HOURS_TO_BUY = 14_000
"""Of rent, that a server's price is drawn around."""
GAP = 0.005
TOLERANCE = 1e-6
"""Relative; plans and bounds are in double precision."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What one solver says of the least cost, USD per hour."""

    cost: float
    bound: float


def draw(seed: int) -> dict[str, Any]:
    """13 to 30 workloads on 6 to 16 offers; every other instance over 3 to 6 periods, some with spot servers."""
    rng = random.Random(f"second solver/{seed}")
    periods = rng.randint(3, 6) if seed % 2 else 1
    workloads = {f"w{w}": _workload(rng, periods) for w in range(rng.randint(13, 30))}
    inventory = {f"o{s}": _offer(rng, periods) for s in range(rng.randint(6, 16))}
    inventory["rest"] = {"gpu": "h100-sxm", "gpus_per_server": 8, "rent": {"price": "$4/gpu/h"}}
    given: dict[str, Any] = {
        "name": f"instance-{seed}",
        "horizon": f"{12 if periods == 1 else 3 * periods}mo",
        "periods": periods,
        "facility": {"power_price": "$0.11/kWh", "opex": "$100/server/mo"},
        "workloads": workloads,
        "inventory": inventory,
    }
    if rng.random() < 0.3:
        given["budget"] = {"capex": f"${rng.randint(100, 900)}k"}
    return given


def _workload(rng: random.Random, periods: int) -> dict[str, Any]:
    asked = {
        "model": rng.choice(MODELS),
        "requests": f"{rng.uniform(0.5, 9.0):.2f}/s",
        "input_tokens": rng.randint(200, 4000),
        "output_tokens": rng.randint(60, 800),
        "slo": {"ttft_p95": f"{rng.randint(2, 5)}s", "tpot_p95": f"{rng.randint(50, 140)}ms"},
    }
    return asked | ({"growth": f"{rng.randint(-5, 25)}%/period"} if periods > 1 else {})


def _offer(rng: random.Random, periods: int) -> dict[str, Any]:
    gpu, size = rng.choice(sorted(CARDS)), rng.choice((1, 2, 4, 8))
    price = CARDS[gpu] * rng.uniform(0.8, 1.5)
    offer: dict[str, Any] = {"gpu": gpu, "gpus_per_server": size}
    offer["rent"] = {"price": f"${price:.3f}/gpu/h", "max": rng.randint(1, 12)}
    if rng.random() < 0.4:
        bought = price * size * HOURS_TO_BUY * rng.uniform(0.7, 1.3)
        offer["buy"] = {"price": f"${bought:.0f}/server", "life": "48mo", "residual": "20%", "max": rng.randint(1, 8)}
        if periods > 1:
            offer["buy"]["lead_time"] = rng.choice(("0mo", "3mo"))
    if rng.random() < 0.3:
        offer["reserve"] = [{"term": rng.choice(("3mo", "9mo")), "price": f"${price * 0.75:.3f}/gpu/h", "max": 6}]
    if rng.random() < 0.25:
        offer["spot"] = {"price": f"${price * 0.5:.3f}/gpu/h", "interruption": "5%/h", "max": rng.randint(2, 8)}
    if rng.random() < 0.25:
        offer["own"] = rng.randint(1, 3)
    return offer


def ours(given: dict[str, Any], catalog: Catalog, program: Path, time_limit_s: float) -> tuple[str, Interval] | None:
    """Who solved it, and what it found; None when that was no plan."""
    layout = optimize(load_scenario(given, catalog), catalog, time_limit_s, GAP, write_program=program)
    if layout.cost is None:
        return None
    return layout.solver, Interval(layout.cost.usd_per_hour, layout.cost.bound_usd_per_hour)


def theirs(program: Path, time_limit_s: float) -> Interval:
    """What HiGHS makes of the file."""
    highs = highspy.Highs()
    for option, value in (("output_flag", False), ("mip_rel_gap", GAP), ("time_limit", time_limit_s), ("threads", 1)):
        highs.setOptionValue(option, value)
    if highs.readModel(str(program)) != highspy.HighsStatus.kOk:
        raise SystemExit(f"{program}: HiGHS cannot read it")
    highs.run()
    info = highs.getInfo()
    return Interval(info.objective_function_value, info.mip_dual_bound)


def agree(one: Interval, other: Interval) -> bool:
    """No plan of the one is below the bound of the other."""
    return one.bound <= other.cost * (1 + TOLERANCE) and other.bound <= one.cost * (1 + TOLERANCE)


def main(arguments: list[str]) -> int:
    """Print a line an instance and a summary; 1 when some disagree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=60)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds, of each solver")
    asked = parser.parse_args(arguments)
    catalog, disagreed, apart = load_catalog(), 0, []
    for seed in range(asked.first, asked.first + asked.instances):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "program.lp"
            started = time.process_time()
            found = ours(draw(seed), catalog, program, asked.time_limit)
            if found is None:
                print(f"{seed:4} no plan in time", flush=True)
                continue
            solver, mine = found
            middle = time.process_time()
            second = theirs(program, asked.time_limit)
        sound = agree(mine, second)
        disagreed += not sound
        apart.append(abs(mine.cost - second.cost) / second.cost)
        print(
            f"{seed:4} {solver:8}{mine.bound:11.4f} to {mine.cost:<11.4f}{middle - started:6.1f} s   "
            f"highspy {second.bound:11.4f} to {second.cost:<11.4f}{time.process_time() - middle:6.1f} s"
            f"{'' if sound else '   DISAGREE'}",
            flush=True,
        )
    print(
        f"{len(apart) - disagreed} of {len(apart)} agree; costs are at most {max(apart, default=0.0):.2%} apart; "
        f"{asked.instances - len(apart)} without a plan in time"
    )
    return int(disagreed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
