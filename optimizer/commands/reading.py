"""Scenarios and plans as commands take them: a file or stdin, and no plan that breaks its promises."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catalog.loader import Catalog
    from optimizer.layout import Layout
    from optimizer.scenario import Scenario

MOST_LOG_BYTES = 80_000_000
"""Of a log that is read: start-up comes first."""


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
    from optimizer.errors import Fault, InputError, Location
    from optimizer.files import read_text
    from optimizer.plans import parse_plan

    layout = parse_plan(read_text(sys.stdin.buffer), "stdin") if file == "-" else load_plan(file)
    try:
        scenario = load_scenario(layout.inputs, catalog)
    except InputError as error:
        where = Location("stdin" if file == "-" else file)
        raise InputError([Fault(f"inputs.{fault.key}: {fault.message}", where) for fault in error.faults]) from error
    return layout, verify(layout, scenario, catalog)


def sound_plan(file: str, catalog: Catalog) -> Layout:
    """A plan that keeps its promises; nothing is made of one that does not."""
    from optimizer.errors import UnsoundPlan

    layout, problems = read_plan(file, catalog)
    if problems:
        raise UnsoundPlan("\n".join([f"{file} is not sound; solve its scenario again", *problems]))
    return layout


def read_log_text(path: str) -> str:
    """A log from a file, or from stdin for `-`; bytes that are no UTF-8 are replaced, as logs hold anything."""
    from optimizer.errors import InputError

    try:
        raw = sys.stdin.buffer.read(MOST_LOG_BYTES) if path == "-" else _start_of(Path(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; expected a start-up log, or - for stdin") from error
    return raw.decode("utf-8", errors="replace")


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_LOG_BYTES)
