"""The command line: arguments, one library call, one print; here an error becomes a message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from catalog.loader import Catalog
    from optimizer.layout import Layout
    from optimizer.report.delivery import Delivery
    from optimizer.scenario import Scenario

SOUND, NOT_SOUND, INVALID, INFEASIBLE, NO_PLAN, INTERRUPTED = 0, 1, 3, 4, 5, 130
"""Exit codes; 2, wrong usage, is click's own, and 1 also stands for the unexpected."""
EXIT_OF_STATUS = {"optimal": SOUND, "feasible": SOUND, "infeasible": INFEASIBLE, "no_plan": NO_PLAN}
TEMPLATES = ("quickstart", "purchase")
Function = TypeVar("Function", bound=Callable[..., Any])


class Gpuplan(click.Group):
    """Turns whatever a command raises into a message on stderr and an exit code; nothing else does."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            super().invoke(ctx)
            sys.stdout.flush()  # a reader that has gone is noticed here, not at interpreter shutdown
        except (click.ClickException, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(NOT_SOUND)
        except Exception as error:
            if os.environ.get("GPUPLAN_DEBUG") == "1":
                raise
            ctx.exit(complain(error))


def complain(error: Exception) -> int:
    """Say on stderr what went wrong; the exit code."""
    from optimizer.errors import GpuplanError, InputError
    from optimizer.scenario import render_faults

    if isinstance(error, GpuplanError):
        click.echo(render_faults(error) if isinstance(error, InputError) else f"error: {error}", err=True)
        return INVALID if isinstance(error, InputError) else NOT_SOUND
    click.echo(f"error: unexpected {' '.join(repr(error).split())[:300]}", err=True)
    click.echo("This is a fault of gpuplan. Please report it with the command; GPUPLAN_DEBUG=1 shows where.", err=True)
    return NOT_SOUND


def command(group: click.Group, name: str, example: str, **settings: Any) -> Callable[[Function], Any]:
    """A command (or a group that is one) with --catalog, -o and -O, whose help ends in an example."""

    def keep(ctx: click.Context, option: click.Parameter, value: Any) -> None:
        if value:
            ctx.ensure_object(dict)[option.name] = value

    def decorate(function: Function) -> Any:
        make = group.group if settings.get("invoke_without_command") else group.command
        made = make(name, epilog=f"\b\nExample:\n  {example}", **settings)(function)
        made.params += (
            click.Option(("--catalog",), type=click.Path(path_type=Path), multiple=True, expose_value=False,
                         callback=keep, metavar="PATH", help="Overlay your own entries, a file or folder; repeatable."),
            click.Option(("-o", "form"), type=click.Choice(("table", "json", "yaml")), expose_value=False,
                         callback=keep, help="Form of the answer.  [default: table]"),
            click.Option(("-O", "path"), type=click.Path(path_type=Path), expose_value=False, callback=keep,
                         metavar="FILE", help="Write the answer there (a folder for several files). Without -o its "
                         "ending decides the form, and the table is printed too."),
        )  # fmt: skip
        return made

    return decorate


def delivery() -> Delivery:
    """What -o and -O of the running command ask for."""
    from optimizer.report.delivery import Delivery

    said = click.get_current_context().ensure_object(dict)
    return Delivery(said.get("form"), said.get("path"))


def answer(table: Callable[[], RenderableType], data: Mapping[str, Any]) -> None:
    """The one print of a command: a table, or its data as JSON or YAML."""
    from optimizer.report.data import dump

    delivery().put(sys.stdout, table, lambda form: dump(data, form))


def the_catalog() -> Catalog:
    """The shipped catalog under the overlays of --catalog."""
    from catalog import load_catalog

    return load_catalog(extra=click.get_current_context().ensure_object(dict).get("catalog", ()))


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


class Amount(click.ParamType):  # type: ignore[type-arg]
    """A number with its unit, read by the quantity of that name in `optimizer.scenario.quantities`."""

    def __init__(self, name: str, quantity: str) -> None:
        self.name = name
        self.quantity = quantity

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from optimizer.scenario import quantities

        try:
            amount: float = getattr(quantities, self.quantity).parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if amount < 0 or (self.quantity == "COUNT" and not amount.is_integer()):
            self.fail(f"{value!r} is {'negative' if amount < 0 else 'not whole'}", param, ctx)
        return int(amount) if self.quantity == "COUNT" else amount


TOKENS = Amount("tokens", "COUNT")


@click.group(cls=Gpuplan, epilog="\b\nExample:\n  gpuplan init && gpuplan solve quickstart.yaml")
@click.version_option(package_name="gpuplan", message="gpuplan %(version)s")
def main() -> None:
    """Decide which GPUs to own, buy or rent to serve language models, and how to run them on these.

    Exit codes: 0 solved or sound, 1 not sound or unexpected, 2 usage, 3 invalid input, 4 proven infeasible, 5 no plan
    within the time limit, 130 interrupted. GPUPLAN_DEBUG=1 shows where the unexpected happened.
    """


@command(main, "init", example="gpuplan init --template purchase")
@click.option("--template", type=click.Choice(TEMPLATES), default=TEMPLATES[0], show_default=True)
def init(template: str) -> None:
    """Write a scenario to start from; never overwrites."""
    from importlib.resources import files

    from optimizer.files import write_new_file

    path = delivery().path or Path(f"{template}.yaml")
    write_new_file(path, files("scenarios").joinpath(f"{template}.yaml").read_text(encoding="utf-8"))
    click.echo(f"wrote {path}; next: gpuplan solve {path}")


@command(main, "check", example="gpuplan check quickstart.yaml")
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


@command(main, "schema", example="gpuplan schema scenario -O scenario.schema.json")
@click.argument("kind", type=click.Choice(("scenario", "plan", "topology")), default="scenario")
def schema(kind: str) -> None:
    """Print the JSON Schema of a kind of file."""
    from optimizer.plans import plan_schema
    from optimizer.scenario import scenario_schema
    from optimizer.topology import topology_schema

    data = {"scenario": scenario_schema, "plan": plan_schema, "topology": topology_schema}[kind]()
    delivery().put_document(sys.stdout, data, "json")


@command(main, "solve", example="gpuplan solve quickstart.yaml --time-limit 30s -O quickstart.plan.json")
@click.argument("file")
@click.option("--time-limit", type=Amount("duration", "DURATION_S"), default="60s", show_default=True)
@click.option(
    "--gap",
    type=Amount("ratio", "RATIO"),
    default="0.1%",
    show_default=True,
    help="Stop when no plan can be cheaper by more than this.",
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--solver", type=click.Choice(("scip", "highs")), default="scip", show_default=True)
@click.option("--write-lp", "program", type=click.Path(path_type=Path), metavar="FILE",
              help="Write the program too, as .lp or .mps.")  # fmt: skip
def solve(file: str, time_limit: float, gap: float, program: Path | None, **settings: Any) -> None:
    """Find the cheapest plan for a scenario file.

    Its JSON, which -O plan.json keeps, is what verify, compare and export read. FILE may be - for stdin.
    """
    from optimizer import optimize
    from optimizer.plans import dump_plan
    from optimizer.report.delivery import progress
    from optimizer.report.plan import plan_report

    catalog = the_catalog()
    scenario = read_scenario(file, catalog)
    with progress(sys.stderr) as report:
        layout = optimize(scenario, catalog, time_limit, gap, write_program=program, progress=report, **settings)
    delivery().put(sys.stdout, lambda: plan_report(layout, scenario), lambda form: dump_plan(layout, form))
    interrupted = any(warning.startswith("interrupted") for warning in layout.warnings)
    click.get_current_context().exit(INTERRUPTED if interrupted else EXIT_OF_STATUS[layout.status])


@command(main, "verify", example="gpuplan verify quickstart.plan.json")
@click.argument("plan")
def verify(plan: str) -> None:
    """Derive every promise of a plan again.

    Works from the scenario inside the plan and the catalog alone; prints each broken promise and exits 1.
    """
    from optimizer.report.checks import verify_report

    layout, problems = read_plan(plan, the_catalog())
    answer(lambda: verify_report(layout, problems), {"sound": not problems, "problems": problems})
    click.get_current_context().exit(NOT_SOUND if problems else SOUND)


@command(main, "compare", example="gpuplan compare rented.plan.json bought.plan.json")
@click.argument("plans", metavar="PLAN PLAN...", nargs=-1, required=True)
def compare(plans: tuple[str, ...]) -> None:
    """Put plans side by side: cost, servers, workloads."""
    from optimizer.report.comparison import comparison_data, comparison_report

    if len(plans) < 2:
        raise click.UsageError("compare needs two plans or more")
    layouts = {plan: sound_plan(plan, the_catalog()) for plan in plans}
    answer(lambda: comparison_report(layouts), comparison_data(layouts))


@command(main, "export", example="gpuplan export quickstart.plan.json --to vllm,k8s -O deploy")
@click.argument("plan", required=False)
@click.option("--to", "targets", metavar="TARGET,...", help="What to export to; --list names the targets.")
@click.option("--list", "list_targets", is_flag=True, help="List the targets.")
def export(plan: str | None, targets: str | None, list_targets: bool) -> None:
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
    topology = build_topology(sound_plan(plan, catalog), catalog)
    exports = [EXPORTERS[name].render(topology) for name in chosen]
    for left_out in (line for export in exports for line in export.left_out):
        click.echo(f"left out: {left_out}", err=True)
    delivery().put_files(sys.stdout, {name: text for export in exports for name, text in export.files.items()})


def replica(function: Function) -> Function:
    """Add how one replica runs and what it serves; shared by memory and perf."""
    options = (
        click.argument("model"),
        click.option("--gpu", required=True, help="GPU id; `gpuplan catalog gpus` lists them."),
        click.option("--weight-dtype", help="Weight format.  [default: bf16, or fp16 where the card has no bf16]"),
        click.option("--kv-cache-dtype", default="auto", show_default=True, help="Format of the KV cache."),
        click.option("--tp", type=click.IntRange(1), default=1, show_default=True, help="Tensor parallelism."),
        click.option("--pp", type=click.IntRange(1), default=1, show_default=True, help="Pipeline parallelism."),
        click.option("--dp", type=click.IntRange(1), default=1, show_default=True, help="Attention data parallelism."),
        click.option("--ep", type=click.IntRange(1), default=1, show_default=True, help="Expert parallelism."),
        click.option("--engine", default="vllm", show_default=True),
        click.option("--engine-version", help="[default: the newest that the catalog describes]"),
        click.option("--input-tokens", type=TOKENS, default="1024", show_default=True, help="Mean of a request."),
        click.option("--output-tokens", type=TOKENS, default="512", show_default=True, help="Mean of a request."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@command(main, "memory", example="gpuplan memory Qwen/Qwen3-14B --gpu a100-40gb-sxm --max-model-len 8k")
@replica
@click.option("--max-model-len", type=TOKENS, help="[default: the model's maximum]")
@click.option("--max-num-seqs", type=click.IntRange(1), help="[default: the engine's]")
@click.option("--max-num-batched-tokens", type=TOKENS, help="[default: the engine's]")
@click.option("--gpu-memory-utilization", type=click.FloatRange(0, 1, min_open=True), help="[default: the engine's]")
@click.option("--gpu-memory", "gpu_memory_gib", type=Amount("size", "MEMORY_GIB"), help="Override the card's: 22GiB.")
@click.option("--enforce-eager", is_flag=True, help="Without CUDA graphs.")
def memory(**question: Any) -> None:
    """Say what fills each GPU and what would fit."""
    from optimizer.report.memory import memory_answer, memory_report

    known = memory_answer(the_catalog(), **question)
    answer(lambda: memory_report(known), known.data())


@command(main, "perf", example="gpuplan perf Qwen/Qwen3-14B --gpu h100-sxm --input-tokens 2k --concurrency 64")
@replica
@click.option("--concurrency", type=click.IntRange(1), default=32, show_default=True, help="Requests always in flight.")
@click.option("--prefix-hit", "prefix_hit_fraction", type=Amount("ratio", "RATIO"), default="0%", show_default=True)
def perf(**question: Any) -> None:
    """Predict latency and throughput of one replica."""
    from optimizer.report.performance import performance_answer, performance_report

    known = performance_answer(the_catalog(), **question)
    answer(lambda: performance_report(known), known.data())


@main.group("catalog", epilog="\b\nExample:\n  gpuplan catalog gpus --match hopper")
def catalog_commands() -> None:
    """Look up models, GPUs, formats, engines and prices."""


def listing(kind: str, word: str, entry: str) -> click.Group:
    """`catalog KIND` lists, `catalog KIND show ID` shows one entry whole."""
    words = {"help": f"List {kind}; `show ID` shows one with its sources.", "invoke_without_command": True}

    @command(catalog_commands, kind, f"gpuplan catalog {kind} --match {word}", **words)
    @click.option("--match", "words", multiple=True, metavar="WORD", help="Only lines with this word; repeatable.")
    @click.pass_context
    def entries(ctx: click.Context, words: tuple[str, ...]) -> None:
        from optimizer.report.catalog import catalog_report, catalog_rows

        if ctx.invoked_subcommand is None:
            rows = catalog_rows(the_catalog(), kind, words)
            answer(lambda: catalog_report(kind, rows), {kind: rows})

    @command(entries, "show", f"gpuplan catalog {kind} show {entry}", help="Show one entry with its sources.")
    @click.argument("id")
    def show(id: str) -> None:
        from optimizer.report.catalog import catalog_entry

        delivery().put_document(sys.stdout, catalog_entry(the_catalog(), kind, id), "yaml")

    group: click.Group = entries
    return group


LISTINGS = (
    listing("models", "qwen3", "Qwen/Qwen3-14B"),
    listing("gpus", "hopper", "h100-sxm"),
    listing("formats", "int4", "awq-int4"),
    listing("engines", "vllm", "vllm"),
    listing("instances", "us-east-1", "aws/us-east-1/p5.48xlarge"),
)


@command(catalog_commands, "add-model", "gpuplan catalog add-model config.json --id me/my-model -O my-model.yaml")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--id", required=True, help="Hugging Face id, or a name of your own.")
def add_model(config: Path, id: str) -> None:
    """Turn a Hugging Face config.json into an entry.

    --catalog then takes the file; nothing is fetched.
    """
    from optimizer.report.catalog import model_entry

    delivery().put_document(sys.stdout, model_entry(config, id), "yaml")
