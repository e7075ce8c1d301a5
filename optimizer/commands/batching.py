"""The commands on many scenarios at once: solve them, draw what came out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from optimizer.commands.command import SHARE, Amount, answer, command, delivery, engine_options, the_catalog
from optimizer.commands.running import INTERRUPTED, NOT_SOUND, SOUND

if TYPE_CHECKING:
    from optimizer.batch import Shard
    from optimizer.report.batch import ProgressForm
    from optimizer.workers import EngineName

FAILURES = ("infeasible", "no_plan", "feasible")


class OrRun(click.Group):
    """A group whose command may be left out: what names none of them belongs to `run`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named or not args else ["run", *args])


@click.group("batch", cls=OrRun, epilog="\b\nExample:\n  gpuplan batch prices.sweep.yaml -O prices --workers 2")
def batch() -> None:
    """Solve many scenarios and draw the results.

    `gpuplan batch SOURCE -O DIR` is short for `gpuplan batch run SOURCE -O DIR`.
    """


class ShardOf(click.ParamType):  # type: ignore[type-arg]
    """`i/n`, both from 1."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        from optimizer.batch import Shard

        i, _, n = str(value).partition("/")
        if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
            self.fail(f"{value!r} is not i/n with i from 1 to n, such as 3/16", param, ctx)
        return Shard(int(i), int(n))


@command("run", "gpuplan batch run prices.sweep.yaml -O prices --workers 2 --time-limit-each 10s", batch)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@engine_options("local", "the scenarios")
@click.option("--time-limit-each", type=Amount("duration", "DURATION_S"), default="10s", show_default=True,
              help="For each scenario; then its best plan so far is kept, with its gap.")  # fmt: skip
@click.option("--gap", type=SHARE, default="0.1%", show_default=True,
              help="Stop when no plan can be cheaper by more than this.")  # fmt: skip
@click.option("--solver", type=click.Choice(("highs", "scip")), default="highs", show_default=True,
              help="Which one is asked first; the other one where it fails.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on in DIR: solve what is missing, failed or has changed.")
@click.option("--shard", type=ShardOf(), metavar="I/N", help="Only the I-th of N parts, to split over machines.")
@click.option("--no-plans", is_flag=True, help="Keep the rows only.")
@click.option("--fail-on", "fail_on", multiple=True, type=click.Choice(FAILURES),
              help="Exit with 1 if a scenario ends so; repeatable. Errors always do.")  # fmt: skip
@click.option("--progress", "progress_form", type=click.Choice(("line", "json", "none")), default="line",
              show_default=True, help="On stderr: a line on a terminal, or a JSON object a second.")  # fmt: skip
def run(
    sources: tuple[str, ...],
    engine: EngineName,
    address: str | None,
    workers: int | None,
    time_limit_each: float,
    gap: float,
    solver: Any,
    shard: Shard | None,
    no_plans: bool,
    fail_on: tuple[str, ...],
    progress_form: ProgressForm,
    **settings: Any,
) -> None:
    """Solve scenarios and keep a row and a plan of each in -O DIR.

    SOURCE is a folder, a pattern or files of scenarios; or one sweep file, which varies a base scenario.
    """
    from optimizer.batch import Settings, find_items, run_batch
    from optimizer.report.batch import batch_report, reporting
    from optimizer.report.data import dump
    from optimizer.report.delivery import Delivery
    from optimizer.workers import open_engine

    folder = delivery().path
    if folder is None:
        raise click.UsageError("say where the results go: -O DIR")
    catalog = the_catalog()
    items = find_items(sources, catalog)
    how = Settings(time_limit_each, gap, solver)
    with open_engine(engine, address, workers) as there, reporting(sys.stderr, progress_form) as progress:
        state = run_batch(
            items, catalog, folder, how, engine=there, shard=shard, keep_plans=not no_plans, progress=progress,
            **settings,
        )  # fmt: skip
    Delivery(delivery().form, None).put(
        sys.stdout, lambda: batch_report(state, folder), lambda form: dump(state.data(), form)
    )
    failed = state.counts["error"] or any(state.statuses[status] for status in fail_on)
    click.get_current_context().exit(INTERRUPTED if state.interrupted else NOT_SOUND if failed else SOUND)


@command("report", "gpuplan batch report prices -O prices.svg", batch)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--x", help="Key of the sweep along the page.  [default: the last]")
@click.option("--y", help="Key of the sweep up the page.  [default: the one before; a single one draws a line]")
@click.option("--value", default="usd_per_hour", show_default=True, help="Column that is drawn.")
def report(folder: Path, x: str | None, y: str | None, value: str) -> None:
    """Draw the results of a sweep: a heat map, or a line with its band.

    -O FILE.svg keeps the picture, FILE.html a page of it. Without, the cheapest and the dearest are listed.
    """
    from optimizer.batch import read_results
    from optimizer.files import write_file
    from optimizer.report.batch import results_data, results_report
    from optimizer.report.sweep import sweep_page, sweep_svg

    rows, path = read_results(folder), delivery().path
    if path is not None and path.suffix.lower() == ".html":
        write_file(path, sweep_page(rows, value, x, y))
        click.echo(path)
        return
    data = results_data(rows)
    answer(lambda: results_report(data, folder), data, lambda: sweep_svg(rows, value, x, y))
