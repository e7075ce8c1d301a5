"""Commands around scenario files: write one to start from, check them, their schema."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from optimizer.commands.command import answer, command, delivery, the_catalog
from optimizer.commands.reading import read_scenario

TEMPLATES = ("quickstart", "purchase", "multi-region", "uncertain-demand")


@command("init", example="gpuplan init --template purchase")
@click.option("--template", type=click.Choice(TEMPLATES), default=TEMPLATES[0], show_default=True,
              help="The question that it asks.")  # fmt: skip
def init(template: str) -> None:
    """Write a scenario to start from; never overwrites."""
    from importlib.resources import files

    from optimizer.files import write_new_file

    path = delivery().path or Path(f"{template}.yaml")
    write_new_file(path, files("scenarios").joinpath(f"{template}.yaml").read_text(encoding="utf-8"))
    click.echo(f"wrote {path}; next: gpuplan solve {path}")


@command("check", example="gpuplan check quickstart.yaml")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
def check(files: tuple[str, ...]) -> None:
    """Report every fault of scenario files.

    Each has its line and column, and what was probably meant. FILE may be - for stdin.
    """
    from optimizer.report.checks import check_all, check_data, check_report

    catalog = the_catalog()
    scenarios, faults = check_all(files, lambda file: read_scenario(file, catalog))
    if scenarios:
        answer(lambda: check_report(scenarios), {"sound": check_data(scenarios)})
    if faults:
        raise faults


@command("schema", example="gpuplan schema scenario -O scenario.schema.json")
@click.argument("kind", type=click.Choice(("scenario", "plan", "topology")), default="scenario")
def schema(kind: str) -> None:
    """Print the JSON Schema of a kind of file."""
    from optimizer.plans import plan_schema
    from optimizer.scenario import scenario_schema
    from optimizer.topology import topology_schema

    data = {"scenario": scenario_schema, "plan": plan_schema, "topology": topology_schema}[kind]()
    delivery().put_document(sys.stdout, data, "json")
