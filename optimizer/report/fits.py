"""What fits on a card: every model of the catalog in the first format that does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from catalog.loader import Catalog
from optimizer.errors import InputError
from optimizer.fitting import Fit, what_fits
from optimizer.report.assumed import assumed_rules
from optimizer.report.tables import table
from optimizer.report.words import bullets, count, figure, gib

CONTEXT_TOKENS = 8192
"""Asked of a model when no context is said: what a chat needs."""
_NOT_ASKED = ("input_tokens", "output_tokens")
_OF_ONE_MODEL = {"speculative": "heads that draft tokens", "tables_on_host": "n-gram tables"}


@dataclass(frozen=True, slots=True)
class Fits:
    """What fits, and what was asked."""

    question: Mapping[str, Any]
    fits: tuple[Fit, ...]
    n_models: int
    assumed: tuple[str, ...]


def fits_answer(catalog: Catalog, gpu: str, flags: Mapping[str, Any]) -> Fits:
    """Models that fit on `gpu` with these arguments of `estimate_memory`; a context of 8192 tokens unless said."""
    catalog.find("gpu", gpu)
    question = {name: value for name, value in flags.items() if name not in _NOT_ASKED} | {"gpu": gpu}
    if question.get("weight_dtype") is not None:
        catalog.find("weight_format", question["weight_dtype"])
    for flag, what in _OF_ONE_MODEL.items():
        if question.get(flag):
            option = f"--{flag.replace('_', '-')}"
            raise InputError(f"{what} belong to one model; name it: gpuplan memory MODEL {option} …")
    if question["max_model_len"] is None:
        question["max_model_len"] = CONTEXT_TOKENS
    assumed = assumed_rules(catalog.find("engine", question["engine"]), question["engine_version"])
    return Fits(question, what_fits(catalog, question), len(catalog.models), assumed)


def fits_data(found: Fits) -> dict[str, Any]:
    """Everything, as JSON keys."""
    asked = {name: value for name, value in found.question.items() if value is not None}
    return {**asked, "fits": found.fits, "assumed": found.assumed}


def fits_report(found: Fits) -> RenderableType:
    """A table, the largest model first."""
    asked = found.question
    rows = [
        (fit.model, fit.weight_dtype, gib(fit.weights_gib), gib(fit.kv_cache_gib), count(fit.kv_cache_tokens),
         figure(math.floor(fit.max_concurrency)))
        for fit in found.fits
    ]  # fmt: skip
    gpus = asked["tp"] * asked["pp"] * asked["dp"]
    where = asked["gpu"] if gpus == 1 else f"{gpus} × {asked['gpu']}"
    headline = f"{len(rows)} of {found.n_models} models fit on {where} with {count(asked['max_model_len'])} tokens"
    return Group(
        Text(f"{headline} ({asked['engine']})", style="bold"),
        Text(""),
        table(
            "Largest first, each in the first format that fits (per GPU)",
            (("model", "left"), ("weights in", "left"), ("GiB", "right"), ("KV GiB", "right"),
             ("KV tokens", "right"), ("requests", "right")),
            rows,
        ),
        Text(""),
        *bullets("Assumed", found.assumed),
    )  # fmt: skip
