"""The command that writes the purchase report."""

from __future__ import annotations

import sys

import click

from optimizer.commands.command import Amount, command, the_catalog
from optimizer.commands.pages import PageForm, page_form_of, page_option, write_page
from optimizer.commands.reading import sound_plan


@command("report", example="gpuplan report purchase.plan.json -O report.html")
@click.argument("plan")
@page_option
@click.option("--time-limit", type=Amount("duration", "DURATION_S"), default="2min", show_default=True,
              help="For solving again with other prices, demand and targets; 0s leaves that out.")  # fmt: skip
def report(plan: str, page_form: PageForm | None, time_limit: float) -> None:
    """Write a plan as a report to decide by.

    One HTML file (or Markdown) that needs nothing else: what to buy, rent and use, what it costs and why, how sure that
    is, and what would change the decision.
    """
    from optimizer import load_scenario
    from optimizer.report.delivery import progress
    from optimizer.report.story import explore, purchase_page

    form = page_form_of(page_form)
    catalog = the_catalog()
    layout = sound_plan(plan, catalog)
    scenario = load_scenario(layout.inputs, catalog)
    with progress(sys.stderr) as say:
        found = explore(layout, scenario, catalog, time_limit, say) if time_limit and layout.cost else None
    write_page(purchase_page(layout, scenario, catalog, found), form)
