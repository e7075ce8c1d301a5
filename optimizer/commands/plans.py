"""Commands on plans: derive their promises again, put them side by side, export them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from optimizer.commands.command import answer, command, delivery, the_catalog
from optimizer.commands.pages import PageForm, asked_form, page_option, write_page
from optimizer.commands.reading import read_plan, sound_plan
from optimizer.commands.running import NOT_SOUND, SOUND

if TYPE_CHECKING:
    from optimizer.exporters import Export
    from optimizer.topology import Topology


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
@page_option
def compare(plans: tuple[str, ...], page_form: PageForm | None) -> None:
    """Put plans side by side: cost, servers, workloads.

    -O compare.html writes a page of it, -O compare.svg draws what a month of each costs.
    """
    from optimizer.report.comparison import comparison_data, comparison_report
    from optimizer.report.story import comparison_page, comparison_picture

    if len(plans) < 2:
        raise click.UsageError("compare needs two plans or more")
    layouts = {plan: sound_plan(plan, the_catalog()) for plan in plans}
    if form := asked_form(page_form):
        write_page(comparison_page(layouts, the_catalog()), form)
    else:
        picture = partial(comparison_picture, layouts, the_catalog())
        answer(lambda: comparison_report(layouts), comparison_data(layouts), picture)


@command("export", example="gpuplan export quickstart.plan.json --to vllm,k8s -O deploy")
@click.argument("plan", required=False)
@click.option("--to", "targets", metavar="TARGET,...", help="What to export to, or all; --list names the targets.")
@click.option("--period", type=click.IntRange(1), default=1, help="Of a plan of several periods; default the first.")
@click.option("--future", metavar="NAME", help="Of a plan of several demand scenarios; default the likeliest.")
@click.option("--list", "list_targets", is_flag=True, help="List the targets.")
@click.option("--check", "judged", is_flag=True, help="Have the files judged by the validators that are installed.")
def export(
    plan: str | None, targets: str | None, period: int, future: str | None, list_targets: bool, judged: bool
) -> None:
    """Write a plan as files that engines and clusters run.

    `--to all` makes a folder for each target and a README that says how to apply it.
    """
    from optimizer.exporters import EXPORTERS, judge_files, verdicts_text
    from optimizer.report.checks import targets_report
    from optimizer.topology import build_topology

    if list_targets:
        summaries = {name: exporter.summary for name, exporter in EXPORTERS.items()}
        answer(lambda: targets_report(summaries), {"targets": summaries})
        return
    if plan is None or targets is None:
        raise click.UsageError("export needs a PLAN and --to TARGET,...; --list names the targets")
    if judged and delivery().path is None:
        raise click.UsageError("--check judges files: say where they go with -O FOLDER")
    render = _renderer(targets)
    catalog = the_catalog()
    done = render(build_topology(sound_plan(plan, catalog), catalog, period, future))
    for line in (*(f"left out: {one}" for one in done.left_out), *(f"warning: {one}" for one in done.warnings)):
        click.echo(line, err=True)
    written = delivery().put_files(sys.stdout, done.files)
    if judged:
        verdicts, missing = judge_files(written)
        click.echo(verdicts_text(verdicts, missing), err=True)
        click.get_current_context().exit(NOT_SOUND if any(verdict.problem for verdict in verdicts) else SOUND)


def _renderer(targets: str) -> Callable[[Topology], Export]:
    """What makes the files of these targets."""
    from optimizer.exporters import EXPORTERS, render_everything, render_together

    chosen = list(dict.fromkeys(targets.split(",")))
    if chosen == ["all"]:
        return render_everything
    if unknown := [name for name in chosen if name not in EXPORTERS]:
        known = ", ".join(("all", *EXPORTERS))
        raise click.BadParameter(f"{', '.join(unknown)}; there is {known}", param_hint="--to")
    return partial(render_together, chosen)
