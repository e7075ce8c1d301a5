"""Small random instances of measured replicas that use all that a program may hold."""

from __future__ import annotations

import random
from typing import Any

from measured import scenario, workload

from catalog import Catalog
from optimizer import load_scenario
from optimizer.candidates import build_candidates
from optimizer.formulation import Instance, build_instance

GPUS = {"l4": (1.0, 0.7), "l40s": (3.0, 1.8), "h100-sxm": (11.0, 3.9)}  # speed, $/GPU/h


def draw(seed: int, of_two_classes: float = 0.2) -> dict[str, Any]:
    """Two to six workloads, some of two classes, on two or three offers, owned, for sale or rented, scarce or not."""
    rng = random.Random(f"columns/{seed}")
    inventory = {f"{gpu}-{i}": offer(gpu, rng) for i, gpu in enumerate(rng.choices(sorted(GPUS), k=rng.choice((2, 3))))}
    workloads = {f"w{w}": draw_workload(inventory, rng, of_two_classes) for w in range(rng.randint(2, 6))}
    more: dict[str, Any] = {"horizon": "12mo"}
    if rng.random() < 0.2:
        more["facility"] = {"power_price": "$0.10/kWh", "power_cap": f"{rng.randint(2, 30)}kW"}
    if rng.random() < 0.2:
        more["budget"] = {"monthly": f"${rng.randint(3, 60) * 1000}"}
    return scenario(workloads, inventory, **more)


def draw_over_periods(seed: int) -> dict[str, Any]:
    """The same over two or three periods of growth, with lead times, and servers that fail or are taken away."""
    rng = random.Random(f"columns over periods/{seed}")
    given = draw(seed) | {"periods": rng.choice((2, 3))}
    for one in given["workloads"].values():
        one["growth"] = rng.choice(("-20%/period", "0%/period", "60%/period"))
    for one in given["inventory"].values():
        if "buy" in one and rng.random() < 0.5:
            one["buy"]["lead_time"] = "3mo"
        if rng.random() < 0.2:
            one["failures"] = {"mtbf": "400h", "mttr": "24h", "availability": "95%"}
        if rng.random() < 0.3:
            price = GPUS[one["gpu"]][1] * rng.uniform(0.4, 0.9)
            one["spot"] = {"price": f"${price:.2f}/gpu/h", "interruption": "5%/h", "max": rng.randint(1, 6)}
    if rng.random() < 0.3:
        given["budget"] = given.get("budget", {}) | {"capex": f"${rng.randint(10, 200)}k"}
    return given


def offer(gpu: str, rng: random.Random) -> dict[str, Any]:
    """One kind of server on one to three terms; sizes of 1 to 8 GPUs, of which 6 needs patterns for groups of 4."""
    size = rng.choice((1, 2, 4, 6, 8))
    price = GPUS[gpu][1] * rng.uniform(0.7, 1.4)
    made: dict[str, Any] = {"gpu": gpu, "gpus_per_server": size, "rent": {"price": f"${price:.2f}/gpu/h"}}
    if rng.random() < 0.25:
        made["rent"]["max"] = rng.randint(1, 4)
    if rng.random() < 0.3:
        made["own"] = rng.randint(1, 2)
    if rng.random() < 0.3:
        made["buy"] = {"price": f"${price * size * 15000:.0f}/server", "max": rng.randint(1, 3), "life": "48mo"}
    if rng.random() < 0.3:
        months, cap = rng.choice((1, 5, 12)), {"max": rng.randint(1, 4)} if rng.random() < 0.5 else {}
        made["reserve"] = [{"term": f"{months}mo", "price": f"${price * 0.8:.2f}/gpu/h", **cap}]
    return made


def draw_workload(inventory: dict[str, Any], rng: random.Random, of_two_classes: float) -> dict[str, Any]:
    """Replicas of one or two sizes on each card; a second class is slower to serve, or not at all on some."""
    two_classes = rng.random() < of_two_classes
    measured: dict[tuple[str, int], float | dict[str, float]] = {}
    for one in inventory.values():
        for size in rng.sample((1, 2, 3, 4), rng.choice((1, 2))):
            if size <= one["gpus_per_server"]:
                rps = round(GPUS[one["gpu"]][0] * size ** rng.uniform(0.7, 1.05), 2)
                slow = round(rps * rng.choice((0.0, 0.3, 0.5)), 2)
                measured[one["gpu"], size] = {"short": rps, "long": slow} if two_classes else rps
    if not measured:
        one = next(iter(inventory.values()))
        measured[one["gpu"], 1] = {"short": 2.0, "long": 1.0} if two_classes else 2.0
    rate = round(rng.choice((0.3, 1.0, 3.0, 12.0)) * rng.uniform(0.5, 2.0), 2)
    classes = {"classes": {"short": "70%", "long": "30%"}} if two_classes else {}
    return workload(rate, [(gpu, size, rps) for (gpu, size), rps in measured.items()], **classes)


def instance(given: dict[str, Any], catalog: Catalog) -> Instance:
    """The instance of a scenario, none of its candidates dropped."""
    loaded = load_scenario(given, catalog)
    return build_instance(loaded, catalog, build_candidates(loaded, catalog))


def is_servable(inst: Instance) -> bool:
    """Whether every request class has a candidate."""
    return len(set(inst.demand_of_load.tolist())) == len(inst.demand_names)
