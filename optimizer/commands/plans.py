"""Commands on plans: derive their promises again, put them side by side, export them."""

from __future__ import annotations

import sys

import click

from optimizer.commands.command import answer, command, delivery, the_catalog
from optimizer.commands.reading import read_plan, sound_plan
from optimizer.commands.running import NOT_SOUND, SOUND


@command("verify", example="gpuplan verify quickstart.plan.json")
@click.argument("plan")
def verify(plan: str) -> None:
    """Derive every promise of a plan again.

    Works from the scenario inside the plan and the catalog alone; prints each broken promise and exits 1.
    """
    from optimizer.report.checks import verify_report

    layout, problems = read_plan(plan, the_catalog())
    answer(lambda: verify_report(layout, problems), {"sound": not problems, "problems": problems})
    click.get_current_context().exit(NOT_SOUND if problems else SOUND)


@command("compare", example="gpuplan compare rented.plan.json bought.plan.json")
@click.argument("plans", metavar="PLAN PLAN...", nargs=-1, required=True)
def compare(plans: tuple[str, ...]) -> None:
    """Put plans side by side: cost, servers, workloads."""
    from optimizer.report.comparison import comparison_data, comparison_report

    if len(plans) < 2:
        raise click.UsageError("compare needs two plans or more")
    layouts = {plan: sound_plan(plan, the_catalog()) for plan in plans}
    answer(lambda: comparison_report(layouts), comparison_data(layouts))


@command("export", example="gpuplan export quickstart.plan.json --to vllm,k8s -O deploy")
@click.argument("plan", required=False)
@click.option("--to", "targets", metavar="TARGET,...", help="What to export to; --list names the targets.")
@click.option("--period", type=click.IntRange(1), default=1, help="Of a plan of several periods; default the first.")
@click.option("--list", "list_targets", is_flag=True, help="List the targets.")
def export(plan: str | None, targets: str | None, period: int, list_targets: bool) -> None:
    """Write a plan as files that engines and clusters run."""
    from optimizer.exporters import EXPORTERS
    from optimizer.report.checks import targets_report
    from optimizer.topology import build_topology

    if list_targets:
        summaries = {name: exporter.summary for name, exporter in EXPORTERS.items()}
        answer(lambda: targets_report(summaries), {"targets": summaries})
        return
    if plan is None or targets is None:
        raise click.UsageError("export needs a PLAN and --to TARGET,...; --list names the targets")
    chosen = targets.split(",")
    if unknown := [name for name in chosen if name not in EXPORTERS]:
        raise click.BadParameter(f"{', '.join(unknown)}; there is {', '.join(EXPORTERS)}", param_hint="--to")
    catalog = the_catalog()
    topology = build_topology(sound_plan(plan, catalog), catalog, period)
    exports = [EXPORTERS[name].render(topology) for name in chosen]
    for left_out in (line for export in exports for line in export.left_out):
        click.echo(f"left out: {left_out}", err=True)
    delivery().put_files(sys.stdout, {name: text for export in exports for name, text in export.files.items()})
