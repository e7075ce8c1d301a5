"""What the report rests on: assumptions, sources with dates, and how to make the plan again."""

from __future__ import annotations

from collections.abc import Iterator

from catalog import Catalog
from catalog.schema import Source
from optimizer.layout import Layout
from optimizer.plans import plan_sha256
from optimizer.report.plan import proof
from optimizer.report.story.parts import Block, Bullets, Code, Words, table
from optimizer.report.words import UNKNOWN, percent

LONGEST_SOURCE = 110
"""Letters of a source; the catalog has the whole."""


def provenance_blocks(layout: Layout, catalog: Catalog) -> Iterator[Block]:
    """Assumptions, then sources, then solver, hashes and commands."""
    if layout.assumptions:
        yield Bullets(layout.assumptions)
    yield table(
        "Sources of the cards and models used; `gpuplan catalog gpus show ID` has all",
        "what|source|retrieved|known how",
        list(_sources(layout, catalog)),
    )
    yield Words(proof(layout))
    yield table(
        "How the plan was made",
        "what|value",
        [
            ("scenario, SHA-256", layout.scenario_sha256),
            ("plan, SHA-256", plan_sha256(layout)),
            ("catalog", layout.catalog_version),
            ("solver", layout.solver),
            ("status and gap", f"{layout.status}, {percent(layout.gap, 3)}"),
        ],
    )
    yield Words("To make plan and report again, from the scenario or from the plan file, which holds it:")
    yield Code("gpuplan solve SCENARIO.yaml -O PLAN.json\ngpuplan report PLAN.json -O report.html")


def _sources(layout: Layout, catalog: Catalog) -> Iterator[tuple[str, str, str, str]]:
    groups = [group for one in layout.workloads for group in one.replica_groups]
    for gpu in dict.fromkeys(row.gpu for row in layout.servers):
        yield from _of(gpu, catalog.gpus[gpu].sources, ("visible_memory_gib", "memory_bandwidth_gb_per_s", ""))
    for model in dict.fromkeys(group.model for group in groups if group.model):
        yield from _of(model, catalog.models[model].sources, ("",))
    for weight_dtype in dict.fromkeys(group.weight_dtype for group in groups if group.weight_dtype):
        yield from _of(f"quality of {weight_dtype}", catalog.formats[weight_dtype].sources, ("quality",))


def _of(what: str, sources: tuple[Source, ...], fields: tuple[str, ...]) -> Iterator[tuple[str, str, str, str]]:
    """For each field the first source that backs it (`` = one that backs all)."""
    shown: dict[str, Source] = {}
    for field in fields:
        source = next((one for one in sources if field in one.fields or (not field and not one.fields)), None)
        if source is not None:
            shown.setdefault(source.text, source)
    for text, source in shown.items():
        cut = text if len(text) <= LONGEST_SOURCE else f"{text[: LONGEST_SOURCE - 1].rstrip()}…"
        yield what, cut, source.retrieved.isoformat() if source.retrieved else UNKNOWN, source.label.value
