"""What every command has: --catalog, -o, -O, an example in its help, and values that carry units."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from catalog.loader import Catalog
    from optimizer.report.delivery import Delivery

Function = TypeVar("Function", bound=Callable[..., Any])


def keep(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    """Put an option where `delivery` and `the_catalog` find it."""
    if value:
        ctx.ensure_object(dict)[option.name] = value


def calibrated(function: Function) -> Function:
    """Add --calibration, which `the_catalog` then lays over the shipped constants."""
    return click.option("--calibration", type=click.Path(path_type=Path), expose_value=False, callback=keep,
                        metavar="FILE", help="Predict with what `gpuplan calibrate` wrote.")(function)  # fmt: skip


def engine_options(default: str | None, runs: str) -> Callable[[Function], Function]:
    """Add --engine, --address and --workers: what runs what the command gives out."""

    def add(function: Function) -> Function:
        for option in (
            click.option("--workers", type=click.IntRange(1), help="At a time.  [default: one per processor]"),
            click.option("--address", metavar="HOST:PORT", help="Of the Ray cluster; auto = the one that runs here.  "
                         "[default: a new one on this machine]"),
            click.option("--engine", type=click.Choice(("local", "ray")), default=default,
                         show_default=default is not None,
                         help=f"What runs {runs}: processes of this machine, or a Ray cluster."),
        ):  # fmt: skip
            function = option(function)
        return function

    return add


def keeping_what_it_reads(function: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse, before anything is done, to write an answer over a file that the command reads."""

    @functools.wraps(function)
    def run(*words: Any, **values: Any) -> Any:
        from optimizer.errors import Fault, InputError, Location

        path = delivery().path
        if path is not None and path.is_file() and any(path.samefile(one) for one in _files_of(values)):
            message = "this file is read; an answer in its place would lose it: choose another name with -O"
            raise InputError([Fault(message, Location(str(path)))])
        return function(*words, **values)

    return run


def _files_of(values: Mapping[str, Any]) -> Iterator[Path]:
    """Files that arguments and options name."""
    for value in values.values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, str | Path) and os.path.isfile(one):  # a pathlib path raises on names that are too long
                yield Path(one)


def command(name: str, example: str, group: click.Group | None = None, **settings: Any) -> Callable[[Function], Any]:
    """A command (or a group that is one) with --catalog, -o and -O, whose help ends in an example."""

    def decorate(function: Function) -> Any:
        make: Callable[..., Any] = click.group if settings.get("invoke_without_command") else click.command
        made = make(name, epilog=f"\b\nExample:\n  {example}", **settings)(keeping_what_it_reads(function))
        made.params += (
            click.Option(("--catalog",), type=click.Path(path_type=Path), multiple=True, expose_value=False,
                         callback=keep, metavar="PATH", help="Overlay your own entries, a file or folder; repeatable."),
            click.Option(("-o", "form"), type=click.Choice(("table", "json", "yaml")), expose_value=False,
                         callback=keep, help="Form of the answer.  [default: table]"),
            click.Option(("-O", "path"), type=click.Path(path_type=Path), expose_value=False, callback=keep,
                         metavar="FILE", help="Write the answer there (a folder for several files). Without -o its "
                         "ending decides the form, and the table is printed too."),
        )  # fmt: skip
        if group is not None:
            group.add_command(made)
        return made

    return decorate


def delivery() -> Delivery:
    """What -o and -O of the running command ask for."""
    from optimizer.report.delivery import Delivery

    said = click.get_current_context().ensure_object(dict)
    return Delivery(said.get("form"), said.get("path"))


def answer(
    table: Callable[[], RenderableType], data: Mapping[str, Any], picture: Callable[[], str] | None = None
) -> None:
    """The one print of a command: a table, its data as JSON or YAML, or an SVG picture where there is one."""
    from optimizer.report.data import dump

    delivery().put(sys.stdout, table, lambda form: dump(data, form), picture)


def the_catalog() -> Catalog:
    """The shipped catalog under the overlays of --catalog, and under the constants of --calibration."""
    from catalog import load_catalog

    said = click.get_current_context().ensure_object(dict)
    extra, calibration = said.get("catalog", ()), said.get("calibration")
    if calibration is None:
        return load_catalog(extra=extra)
    from optimizer.calibration import catalog_with_calibration

    return catalog_with_calibration(extra, calibration)


class Amount(click.ParamType):  # type: ignore[type-arg]
    """A number with its unit, read by the quantity of that name in `optimizer.scenario.quantities`."""

    def __init__(self, name: str, quantity: str, most: float = math.inf) -> None:
        self.name = name
        self.quantity = quantity
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from optimizer.scenario import quantities

        try:
            amount: float = getattr(quantities, self.quantity).parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if amount < 0 or (self.quantity == "COUNT" and not amount.is_integer()):
            self.fail(f"{value!r} is {'negative' if amount < 0 else 'not whole'}", param, ctx)
        if amount > self.most:
            self.fail(f"{value!r} is more than {getattr(quantities, self.quantity).text(self.most)}", param, ctx)
        return int(amount) if self.quantity == "COUNT" else amount


TOKENS = Amount("tokens", "COUNT")
SHARE = Amount("ratio", "RATIO", most=1.0)
