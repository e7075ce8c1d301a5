"""What a scenario of a batch costs in processor time and memory, warm, in one worker.

usage: python benchmarks/batch.py [SCENARIOS]      of each kind; processor time, so that a busy machine does not matter
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from bench import KIB_PER_MB, ROOT, scenario_text

from catalog import Catalog, load_catalog
from optimizer import optimize
from optimizer.batch import Items, Settings, find_items
from optimizer.batch.row import Made, Row
from optimizer.batch.work import Job, Solver, Task

ONE = """\
base: one.yaml
set:
  workloads.w0.requests: {from: 0.5/s, to: 5/s, steps: 50}
  inventory.o0.rent.price: {from: $1/gpu/h, to: $3/gpu/h, steps: 400}
"""
PURCHASE = f"""\
base: {ROOT}/scenarios/purchase.yaml
set:
  inventory.h100-node.rent.price: {{from: $1.50/gpu/h, to: $3/gpu/h, steps: 40}}
  inventory.l40s-box.buy.price: {{from: $30k/server, to: $60k/server, steps: 25}}
"""
AFRESH = 10
"""Scenarios solved with nothing remembered, to compare with."""


def main(n: int) -> None:
    """Print a line for each figure."""
    catalog = load_catalog()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "one.yaml").write_text(scenario_text(workloads=1, offers=3), encoding="utf-8")
        for title, text in (("one workload", ONE), ("purchase", PURCHASE)):
            (folder / "sweep.yaml").write_text(text, encoding="utf-8")
            items = find_items([str(folder / "sweep.yaml")], catalog)
            spread = range(0, len(items), max(1, len(items) // n))
            batch_ms = batched_ms(items, catalog, folder, spread)
            some = spread[:: max(1, len(spread) // AFRESH)]
            for solver in ("highs", "scip"):
                afresh_ms = fresh_ms(items, catalog, some, solver)
                print(f"{title:14}{len(spread):6,} in a batch {batch_ms:7.1f} ms each; afresh with {solver:5} "
                      f"{afresh_ms:7.1f} ms each, {afresh_ms / batch_ms:.1f} times that")  # fmt: skip
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MB:.0f} MB")


def batched_ms(items: Items, catalog: Catalog, folder: Path, indices: range) -> float:
    """Processor time of a scenario as a worker solves it, plan written; the first, which warms up, left out."""
    solve = Solver(Job(items, catalog, Settings(), Made(catalog.version, "", ""), folder / "plans"))
    solve(Task(indices[0]))
    started = time.process_time()
    replies = [solve(Task(index)) for index in indices]
    assert all(isinstance(reply, Row) for reply in replies)
    return (time.process_time() - started) / len(indices) * 1000


def fresh_ms(items: Items, catalog: Catalog, indices: range, solver: str) -> float:
    """Processor time of a scenario by itself, in a process that has solved others before."""
    started = time.process_time()
    for index in indices:
        optimize(items.scenario(index, catalog), catalog, solver=solver)  # type: ignore[arg-type]
    return (time.process_time() - started) / len(indices) * 1000


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
