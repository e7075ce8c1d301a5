"""The command that writes the purchase report."""

from __future__ import annotations

import sys

import click

from optimizer.commands.command import Amount, command, delivery, the_catalog
from optimizer.commands.reading import sound_plan

FORMS = ("html", "md")


@command("report", example="gpuplan report purchase.plan.json -O report.html")
@click.argument("plan")
@click.option(
    "--format", "form", type=click.Choice(FORMS), help="html or md.  [default: by the ending of -O, else html]"
)
@click.option("--time-limit", type=Amount("duration", "DURATION_S"), default="60s", show_default=True,
              help="For solving again with other prices, demand and targets; 0s leaves that out.")  # fmt: skip
def report(plan: str, form: str | None, time_limit: float) -> None:
    """Write a plan as a report to decide by.

    One file, without anything from outside: what to buy, rent and use, what it costs and why, what would change that.
    """
    from optimizer import load_scenario
    from optimizer.report.delivery import progress
    from optimizer.report.story import explore, page_html, page_markdown, purchase_page

    catalog, path = the_catalog(), delivery().path
    layout = sound_plan(plan, catalog)
    scenario = load_scenario(layout.inputs, catalog)
    found = None
    if time_limit and layout.cost is not None:
        with progress(sys.stderr) as say:
            found = explore(layout, scenario, catalog, time_limit, say)
    page = purchase_page(layout, scenario, catalog, found)
    chosen = form or ("md" if path is not None and path.suffix.lower() == ".md" else "html")
    text = page_markdown(page) if chosen == "md" else page_html(page)
    delivery().put_text(sys.stdout, text)
