"""The command that solves a scenario."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optimizer.commands.command import SHARE, Amount, calibrated, command, delivery, engine_options, the_catalog
from optimizer.commands.reading import read_scenario
from optimizer.commands.running import INFEASIBLE, INTERRUPTED, NO_PLAN, SOUND

if TYPE_CHECKING:
    from catalog.schema.calibration import PerformanceName
    from optimizer.workers import EngineName

EXIT_OF_STATUS = {"optimal": SOUND, "feasible": SOUND, "infeasible": INFEASIBLE, "no_plan": NO_PLAN}


def lp_or_mps(_ctx: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """The ending decides the format of a written program."""
    if path is not None and path.suffix not in (".lp", ".mps"):
        raise click.BadParameter(f"{str(path)!r} ends neither in .lp nor in .mps")
    return path


@command("solve", example="gpuplan solve quickstart.yaml --time-limit 30s -O quickstart.plan.json")
@click.argument("file")
@click.option("--time-limit", type=Amount("duration", "DURATION_S"), default="60s", show_default=True,
              help="For the whole answer; then the best plan so far is given, with its gap.")  # fmt: skip
@click.option(
    "--gap",
    type=SHARE,
    default="0.1%",
    show_default=True,
    help="Stop when no plan can be cheaper by more than this.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes that rate the candidates of many workloads.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the solver's random choices.")
@click.option("--solver", type=click.Choice(("scip", "highs")), default="scip", show_default=True,
              help="Which one is asked first; the other one where it fails.")  # fmt: skip
@click.option(
    "--alternatives",
    type=click.IntRange(0, 100),
    default=0,
    metavar="K",
    help="Find the K next best plans of other kinds too.",
)
@click.option(
    "--stress",
    "stressed",
    is_flag=True,
    help="Say what the plan does at 1.25 and 1.5 times the demand and at −20% speed, and what would help.",
)
@calibrated
@click.option("--performance", type=click.Choice(("calibrated", "silicon")),
              help="Time steps by our model, or by kernels as aiconfigurator-core measured them.  "
              "[default: as the scenario says]")  # fmt: skip
@click.option(
    "--method",
    type=click.Choice(("plain", "columns")),
    help="The whole program at once, or plans of single workloads.  [default: by size]",
)
@engine_options(None, "the many parts of a large scenario")
@click.option("--warm-start", "earlier", metavar="PLAN", help="Begin from an earlier plan, such as yesterday's.")
@click.option("--write-lp", "program", type=click.Path(path_type=Path), metavar="FILE",
              callback=lp_or_mps, help="Write the program too, as .lp or .mps.")  # fmt: skip
@click.option("--validate", is_flag=True, help="Simulate the plan, and tighten until its latency targets hold there.")
def solve(
    file: str,
    time_limit: float,
    gap: float,
    program: Path | None,
    earlier: str | None,
    validate: bool,
    performance: PerformanceName | None,
    engine: EngineName | None,
    address: str | None,
    workers: int | None,
    **settings: Any,
) -> None:
    """Find the cheapest plan for a scenario file.

    Its JSON, which -O plan.json keeps, is what verify, compare and export read. FILE may be - for stdin.
    """
    from optimizer import optimize
    from optimizer.plans import dump_plan, load_plan
    from optimizer.report.delivery import progress
    from optimizer.report.plan import plan_report
    from optimizer.validation import optimize_validated
    from optimizer.workers import asked_engine

    catalog = the_catalog()
    scenario = read_scenario(file, catalog)
    if performance is not None:
        scenario = scenario.model_copy(update={"performance": performance})
    start = None if earlier is None else load_plan(earlier)
    with asked_engine(engine, address, workers) as there, progress(sys.stderr) as report:
        solver = optimize_validated if validate else optimize
        layout = solver(
            scenario, catalog, time_limit, gap, start=start, write_program=program, progress=report, engine=there,
            **settings,
        )  # fmt: skip
    delivery().put(sys.stdout, lambda: plan_report(layout, scenario), lambda form: dump_plan(layout, form))
    interrupted = any(warning.startswith("interrupted") for warning in layout.warnings)
    click.get_current_context().exit(INTERRUPTED if interrupted else EXIT_OF_STATUS[layout.status])
