"""Fits the constants of vLLM's memory rules on logs, so that what a log teaches can be left out before it is predicted.

A constant holds from the version where its value starts to the one where it changes. It is the median over sources of
each source's median, so that no sweep outvotes the rest; where no source is left it takes the neighbouring versions'
value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.memory.read import Logged
from catalog import Catalog
from catalog.schema import Engine
from catalog.schema.engine import EngineVersion, NonTorch, VllmRules
from catalog.schema.versions import version_key
from catalog.units import GIB
from optimizer.memory import estimate_memory

Key = tuple[str, int]
"""Name of a constant, and the row of `versions` where its value starts."""
_LEAST_SHARE = 0.85
"""Of the peak that the sampler must be, for a log to tell about it; the layer's peak hides it otherwise."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one log says a constant is."""

    key: Key
    source: str
    model: str
    value: float


def lessons(logs: Iterable[Logged], catalog: Catalog) -> list[Lesson]:
    """What the strict logs of vLLM say of the constants that are fitted."""
    engine = catalog.engines["vllm"]
    found = []
    for log in logs:
        if log.arguments["engine"] != "vllm" or log.doubts or not log.card_known:
            continue
        row = _row(engine, log.arguments["engine_version"])
        for name, value in _told(log, catalog, engine.versions[row]).items():
            found.append(Lesson((name, _starts(engine, name, row)), log.source, log.model, value))
    return found


def refitted(catalog: Catalog, known: Iterable[Lesson]) -> Catalog:
    """The catalog with vLLM's constants fitted on these lessons alone."""
    by_source: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for lesson in known:
        by_source[lesson.key][lesson.source].append(lesson.value)
    values = {key: median(median(of_one) for of_one in sources.values()) for key, sources in by_source.items()}
    engine = catalog.engines["vllm"]
    rows = tuple(_with(row, _values_at(engine, index, values)) for index, row in enumerate(engine.versions))
    engines = {**catalog.engines, "vllm": engine.model_copy(update={"versions": rows})}
    return replace(catalog, engines=engines)


def _told(log: Logged, catalog: Catalog, row: EngineVersion) -> dict[str, float]:
    rules = row.memory
    assert isinstance(rules, VllmRules)
    told = {}
    tp = log.arguments["tp"] * log.arguments["dp"]
    if "non_torch_gib" in log.figures and (log.arguments["pp"] == 1 or tp > 1):
        gpu = catalog.gpus[log.arguments["gpu"]]
        link = "fast" if gpu.link_gb_per_s is not None and tp <= gpu.link_domain_gpus else "pcie"
        told[f"non_torch {link} {_class_of(rules, tp)}"] = log.figures["non_torch_gib"]
    alone = not rules.graphs.inside_budget  # what is printed as activations covers the graphs otherwise
    if "activation_gib" in log.figures and log.arguments["pp"] == 1 and alone:
        sampler_gib = _sampler_gib(log, catalog)
        rest_gib = estimate_memory(catalog, **log.arguments).activation_gib - sampler_gib
        if sampler_gib > _LEAST_SHARE * log.figures["activation_gib"]:
            copies = rules.activation.sampler_copies
            told["sampler"] = (log.figures["activation_gib"] - rest_gib) / sampler_gib * copies
    return told


def _sampler_gib(log: Logged, catalog: Catalog) -> float:
    """The part of the estimated peak that grows with the sequences sampled; 0 where another part is the peak."""
    arguments = log.arguments
    estimate = estimate_memory(catalog, **arguments)
    more = {**arguments, "max_num_seqs": 2 * estimate.max_num_seqs}
    more["max_num_batched_tokens"] = estimate.max_num_batched_tokens
    doubled = estimate_memory(catalog, **more).activation_gib
    logits_gib = estimate.max_num_seqs * catalog.models[log.model].vocab_size * 4 / GIB
    rules = catalog.engines["vllm"].at(arguments["engine_version"]).memory
    assert isinstance(rules, VllmRules)
    whole_gib = rules.activation.sampler_copies * logits_gib
    return whole_gib if abs(doubled - estimate.activation_gib - whole_gib) < 0.02 * whole_gib else 0.0


def _class_of(rules: VllmRules, tp: int) -> int:
    return max(row.from_tp for row in rules.non_torch if row.from_tp <= tp)


def _row(engine: Engine, version: str | None) -> int:
    held = [i for i, row in enumerate(engine.versions) if not version or version_key(row.since) <= version_key(version)]
    return max(held, default=0)


def _constant(row: EngineVersion, name: str) -> object:
    """The value of a constant in a row; null where the row has none of that name."""
    rules = row.memory
    assert isinstance(rules, VllmRules)
    if name == "sampler":
        return rules.activation.sampler_copies
    _, link, from_tp = name.split()
    of_class = next((one for one in rules.non_torch if one.from_tp == int(from_tp)), None)
    return None if of_class is None else (of_class.fast_link_gib if link == "fast" else of_class.pcie_gib)


def _starts(engine: Engine, name: str, row: int) -> int:
    """The first row of the run of equal values that holds in `row`."""
    value = _constant(engine.versions[row], name)
    while row and _constant(engine.versions[row - 1], name) == value:
        row -= 1
    return row


def _values_at(engine: Engine, row: int, values: Mapping[Key, float]) -> Callable[[str], float | None]:
    """What a constant is in a row: fitted there, else of the nearest earlier row that was, else of a later one."""

    def value_of(name: str) -> float | None:
        start = _starts(engine, name, row)
        rows = sorted(
            (start_row for one, start_row in values if one == name), key=lambda r: (r > start, abs(r - start))
        )
        return values[name, rows[0]] if rows else None

    return value_of


def _with(row: EngineVersion, value_of: Callable[[str], float | None]) -> EngineVersion:
    rules = row.memory
    assert isinstance(rules, VllmRules)

    def known(name: str, shipped: float) -> float:
        value = value_of(name)
        return shipped if value is None else max(value, 0.0)

    activation = rules.activation.model_copy(
        update={"sampler_copies": known("sampler", rules.activation.sampler_copies)}
    )
    non_torch = tuple(
        NonTorch(
            from_tp=one.from_tp,
            fast_link_gib=known(f"non_torch fast {one.from_tp}", one.fast_link_gib),
            pcie_gib=known(f"non_torch pcie {one.from_tp}", one.pcie_gib),
        )
        for one in rules.non_torch
    )
    return row.model_copy(
        update={"memory": rules.model_copy(update={"activation": activation, "non_torch": non_torch})}
    )
