"""What scenarios cost in a batch: processor time and memory of one, rate and efficiency of many, and a large solve.

usage: python benchmarks/batch.py [one|rate|memory|solve] [N]      all but `memory` without a name; --help shows this

one     processor time of a scenario, warm, in one worker, N of each kind (1,000), against 10 of them each by itself, by
        both solvers; a busy machine does not matter; 2 minutes
rate    N scenarios (2,000) of one workload by one and by two workers: a second, once warm, and the efficiency of the
        second; also by Ray where it is installed; a minute, for which the machine must have nothing else to do
memory  the peak of driver and two workers together over N scenarios (20,000); 2 to 4 minutes
solve   a solve of N workloads (24) of two request classes, by this process and by two workers of each engine: seconds,
        and processor time where it can be had; a minute
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import yaml
from bench import KIB_PER_MB, ROOT, scenario_text

from catalog import Catalog, load_catalog
from optimizer import load_scenario, optimize
from optimizer.batch import Items, Settings, State, find_items, run_batch
from optimizer.batch.row import Made
from optimizer.batch.work import Job, Solved, Solver, Task
from optimizer.workers import Engine, EngineName, Processes, open_engine

ONE = """\
base: one.yaml
set:
  workloads.w0.requests: {from: 0.5/s, to: 5/s, steps: 50}
  inventory.o0.rent.price: {from: $1/gpu/h, to: $3/gpu/h, steps: STEPS}
"""
PURCHASE = f"""\
base: {ROOT}/scenarios/purchase.yaml
set:
  inventory.h100-node.rent.price: {{from: $1.50/gpu/h, to: $3/gpu/h, steps: 40}}
  inventory.l40s-box.buy.price: {{from: $30k/server, to: $60k/server, steps: 25}}
"""
AFRESH = 10
"""Scenarios solved with nothing remembered, to compare with."""
LOADS = 50
"""Of the sweep over one workload."""
WARM_PART = 0.1
"""Of the scenarios, done before the rate is taken: by then every worker has started and rated."""
EVERY_S = 1.0
"""Between two looks at the memory."""


def main(name: str | None, n: int | None) -> int:
    """Print a line for each figure; 2 when there is no such measurement."""
    measurements = {"one": (one, 1000), "rate": (rate, 2000), "solve": (large_solve, 24), "memory": (memory, 20_000)}
    if name in ("-h", "--help"):
        print(__doc__)
        return 0
    if name is not None and name not in measurements:
        print(f"unknown: {name}; there is {', '.join(measurements)}", file=sys.stderr)
        return 2
    for measurement, usual in [measurements[name]] if name else list(measurements.values())[:-1]:
        with tempfile.TemporaryDirectory() as folder:
            measurement(n or usual, load_catalog(), Path(folder))
    return 0


def one(n: int, catalog: Catalog, folder: Path) -> None:
    """Of both kinds, in a batch and afresh."""
    for title, items in (("one workload", of_one(20_000, catalog, folder)), ("purchase", purchase(catalog, folder))):
        spread = range(0, len(items), max(1, len(items) // n))
        batch_ms = batched_ms(items, catalog, spread)
        some = spread[:: max(1, len(spread) // AFRESH)]
        for solver in ("highs", "scip"):
            afresh_ms = fresh_ms(items, catalog, some, solver)
            print(f"{title:14}{len(spread):6,} in a batch {batch_ms:7.1f} ms each; afresh with {solver:5} "
                  f"{afresh_ms:7.1f} ms each, {afresh_ms / batch_ms:.1f} times that")  # fmt: skip
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MB:.0f} MB")


def rate(n: int, catalog: Catalog, folder: Path) -> None:
    """By one worker and by two, plans written."""
    items = of_one(n, catalog, folder)
    alone = warm_rate(items, catalog, folder / "1", Processes(1))
    both = warm_rate(items, catalog, folder / "2", Processes(2))
    print(f"{n:,} scenarios: {alone:.0f}/s by one worker, {both:.0f}/s by two; efficiency {both / alone / 2:.0%}")
    if find_spec("ray"):
        with open_engine("ray", n_workers=2) as engine:
            print(f"{warm_rate(items, catalog, folder / 'ray', engine):.0f}/s by two actors of Ray")


def memory(n: int, catalog: Catalog, folder: Path) -> None:
    """Resident sets of this process and its workers; what they share counts every time."""
    peak_mb, due = 0.0, 0.0

    def look(state: State) -> None:
        nonlocal peak_mb, due
        if state.seconds >= due:
            due = state.seconds + EVERY_S
            peak_mb = max(peak_mb, resident_mb())

    state = run_batch(
        of_one(n, catalog, folder), catalog, folder / "out", Settings(), engine=Processes(2), progress=look
    )
    print(f"{n:,} scenarios: {state.per_second:.0f}/s, at most {peak_mb:.0f} MB in all")


def large_solve(n: int, catalog: Catalog, folder: Path) -> None:  # noqa: ARG001
    """The same scenario by this process and by engines, to a gap of 0.5 %."""
    data = yaml.safe_load(scenario_text(workloads=n, offers=40, stock=20))
    for workload in data["workloads"].values():
        size = {key: workload.pop(key) for key in ("input_tokens", "output_tokens")}
        longer = {key: 2 * tokens for key, tokens in size.items()}
        workload["classes"] = {"short": {"share": "60%", **size}, "long": {"share": "40%", **longer}}
    scenario = load_scenario(data, catalog)

    def solved(engine: Engine | None) -> str:
        began = time.perf_counter(), time.process_time(), children_s()
        layout = optimize(scenario, catalog, 600, gap=0.005, method="columns", engine=engine)
        assert layout.status == "optimal", layout.status
        wall_s, own_s, theirs_s = (now - then for now, then in zip(
            (time.perf_counter(), time.process_time(), children_s()), began, strict=True))  # fmt: skip
        return f"{wall_s:6.1f} s; processor time {own_s:.1f} s here" + (f", {theirs_s:.1f} s there" if engine else "")

    print(f"{n} workloads of two classes, by this process:\n  {solved(None)}")
    engines: list[EngineName] = ["local", "ray"] if find_spec("ray") else ["local"]
    for name in engines:
        started = time.perf_counter()
        with open_engine(name, n_workers=2) as engine:
            opened_s = time.perf_counter() - started
            print(f"two workers of {name}, which opens in {opened_s:.1f} s:\n  {solved(engine)}", flush=True)


def children_s() -> float:
    """Processor time of the processes that this one started and that have ended; what runs on Ray is not among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def of_one(n: int, catalog: Catalog, folder: Path) -> Items:
    """n scenarios of one workload; load and price vary."""
    (folder / "one.yaml").write_text(scenario_text(workloads=1, offers=3), encoding="utf-8")
    return swept(ONE.replace("STEPS", str(max(2, n // LOADS))), catalog, folder)


def purchase(catalog: Catalog, folder: Path) -> Items:
    """A thousand prices."""
    return swept(PURCHASE, catalog, folder)


def swept(text: str, catalog: Catalog, folder: Path) -> Items:
    """The items of a sweep file."""
    (folder / "sweep.yaml").write_text(text, encoding="utf-8")
    return find_items([str(folder / "sweep.yaml")], catalog)


def batched_ms(items: Items, catalog: Catalog, indices: range) -> float:
    """Processor time of a scenario as a worker solves it; the first, which warms up, left out."""
    solve = Solver(Job(items, catalog, Settings(), Made(catalog.version, "", ""), keeps_plans=True))
    solve(Task(indices[0]))
    return processor_ms(lambda index: isinstance(solve(Task(index)), Solved), indices)


def fresh_ms(items: Items, catalog: Catalog, indices: range, solver: str) -> float:
    """Processor time of a scenario by itself, in a process that has solved others before."""
    return processor_ms(
        lambda index: bool(optimize(items.scenario(index, catalog), catalog, solver=solver)),  # type: ignore[arg-type]
        indices,
    )


def processor_ms(answers: Callable[[int], bool], indices: range) -> float:
    """Processor time of one of these."""
    started = time.process_time()
    assert all(answers(index) for index in indices)
    return (time.process_time() - started) / len(indices) * 1000


def warm_rate(items: Items, catalog: Catalog, out: Path, engine: Engine) -> float:
    """Scenarios a second after the first tenth."""
    warm: list[tuple[float, int]] = []

    def look(state: State) -> None:
        if not warm and state.n_done >= WARM_PART * len(items):
            warm.append((time.perf_counter(), state.n_done))

    run_batch(items, catalog, out, Settings(), engine=engine, progress=look)
    since, n_before = warm[0]
    return (len(items) - n_before) / (time.perf_counter() - since)


def resident_mb() -> float:
    """Of this process and those it started, now."""
    children = Path("/proc/self/task").glob("*/children")
    pids = ["self", *(pid for one in children for pid in one.read_text(encoding="utf-8").split())]
    pages = [int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) for pid in pids]
    return sum(pages) * resource.getpagesize() / 1e6


if __name__ == "__main__":
    arguments = sys.argv[1:]
    named = [one for one in arguments if not one.isdecimal()]
    counts = [int(one) for one in arguments if one.isdecimal()]
    sys.exit(main(named[0] if named else None, counts[0] if counts else None))
