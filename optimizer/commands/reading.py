"""Scenarios and plans as commands take them: a file or stdin, and no plan that breaks its promises."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from catalog.loader import Catalog
    from optimizer.layout import Layout
    from optimizer.scenario import Scenario


def read_scenario(file: str, catalog: Catalog) -> Scenario:
    """The scenario of a file, or of stdin for `-`."""
    from optimizer.files import read_text
    from optimizer.scenario import load_scenario, parse_scenario

    return (
        parse_scenario(read_text(sys.stdin.buffer), "stdin", catalog) if file == "-" else load_scenario(file, catalog)
    )


def read_plan(file: str, catalog: Catalog) -> tuple[Layout, list[str]]:
    """A plan (of stdin for `-`) and the promises it breaks."""
    from optimizer import load_plan, load_scenario, verify
    from optimizer.files import read_text
    from optimizer.plans import parse_plan

    layout = parse_plan(read_text(sys.stdin.buffer), "stdin") if file == "-" else load_plan(file)
    return layout, verify(layout, load_scenario(layout.inputs, catalog), catalog)


def sound_plan(file: str, catalog: Catalog) -> Layout:
    """A plan that keeps its promises; nothing is made of one that does not."""
    layout, problems = read_plan(file, catalog)
    if problems:
        raise click.ClickException("\n".join([f"{file} is not sound; solve its scenario again", *problems]))
    return layout
