"""Commands that say why a plan is as it is, and what else there is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from optimizer.commands.command import Amount, answer, command, the_catalog
from optimizer.commands.reading import read_scenario, sound_plan

if TYPE_CHECKING:
    from optimizer.explain import Against


@command("explain", example="gpuplan explain quickstart.plan.json chat")
@click.argument("plan")
@click.argument("workload", required=False)
@click.option("--time-limit", type=Amount("duration", "DURATION_S"), default="4s", show_default=True,
              help="Of the processor's time.")  # fmt: skip
def explain(plan: str, workload: str | None, time_limit: float) -> None:
    """Say why a plan is as it is.

    What each group of replicas would be replaced by and what that costs more, which limits bind, what a little more of
    anything is worth, and at which prices, demand and speed the decision flips: all solved, nothing estimated. With a
    WORKLOAD, that of one workload. What the time did not suffice for is named. An infeasible plan says itself why. PLAN
    may be - for stdin.
    """
    from optimizer import load_scenario
    from optimizer.explain import explain_plan
    from optimizer.report.delivery import progress
    from optimizer.report.explanation import explanation_data, explanation_report
    from optimizer.report.infeasible import infeasible_report
    from optimizer.scenario import scenario_catalog

    catalog = the_catalog()
    layout = sound_plan(plan, catalog)
    if layout.infeasible is not None:
        found = layout.infeasible
        answer(lambda: infeasible_report(layout), {"infeasible": found.model_dump(mode="json")})
        return
    scenario = load_scenario(layout.inputs, catalog)
    with progress(sys.stderr) as report:
        explained = explain_plan(
            layout, scenario, scenario_catalog(scenario, catalog), workload, time_limit_s=time_limit, progress=report
        )
    answer(lambda: explanation_report(explained), explanation_data(explained))


@command("pareto", example="gpuplan pareto quickstart.yaml --against latency --svg quickstart.svg")
@click.argument("file")
@click.option(
    "--against",
    type=click.Choice(("latency", "quality", "power", "gpu-types")),
    default="latency",
    show_default=True,
    help="What more money buys.",
)
@click.option("--time-limit", type=Amount("duration", "DURATION_S"), default="10min", show_default=True,
              help="Of the processor's time; then the points found so far are given.")  # fmt: skip
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Draw the picture too.")
def pareto(file: str, against: Against, time_limit: float, svg: Path | None) -> None:
    """Show what more money buys.

    Plans for a scenario file that nothing beats both in cost and in latency, quality, power or number of GPU types;
    every one is solved. With objective served they serve what can be served. FILE may be - for stdin.
    """
    from optimizer.files import write_file
    from optimizer.fronts import front as find
    from optimizer.report.delivery import progress
    from optimizer.report.pareto import front_data, front_report, front_svg

    catalog = the_catalog()
    scenario = read_scenario(file, catalog)
    with progress(sys.stderr) as report:
        front = find(scenario, catalog, against, time_limit, progress=report)
    if svg is not None:
        write_file(svg, front_svg(front))
    answer(lambda: front_report(front), front_data(front), lambda: front_svg(front))
