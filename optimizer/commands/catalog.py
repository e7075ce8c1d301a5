"""Commands that look up the catalog and add to it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from optimizer.commands.command import answer, command, delivery, the_catalog


@click.group("catalog", epilog="\b\nExample:\n  gpuplan catalog gpus --match hopper")
def catalog_commands() -> None:
    """Look up models, GPUs, formats, engines and prices."""


def listing(kind: str, word: str, entry: str) -> click.Group:
    """`catalog KIND` lists, `catalog KIND show ID` shows one entry whole."""
    words = {"help": f"List {kind}; `show ID` shows one with its sources.", "invoke_without_command": True}

    @command(kind, f"gpuplan catalog {kind} --match {word}", catalog_commands, **words)
    @click.option("--match", "words", multiple=True, metavar="WORD", help="Only lines with this word; repeatable.")
    @click.pass_context
    def entries(ctx: click.Context, words: tuple[str, ...]) -> None:
        from optimizer.report.catalog import catalog_report, catalog_rows

        if ctx.invoked_subcommand is None:
            rows = catalog_rows(the_catalog(), kind, words)
            answer(lambda: catalog_report(kind, rows), {kind: rows})

    @command("show", f"gpuplan catalog {kind} show {entry}", entries, help="Show one entry with its sources.")
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


@command("add-model", "gpuplan catalog add-model config.json --id me/my-model -O my-model.yaml", catalog_commands)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--id", required=True, help="Hugging Face id, or a name of your own.")
def add_model(config: Path, id: str) -> None:
    """Turn a Hugging Face config.json into an entry.

    --catalog then takes the file; nothing is fetched.
    """
    from optimizer.report.catalog import model_entry

    delivery().put_document(sys.stdout, model_entry(config, id), "yaml")
