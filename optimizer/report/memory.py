"""What fills a card: the stack as bars, requests at once (worst and typical case), and what would make it fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from catalog.loader import Catalog
from catalog.schema.uncertainty import Uncertainty
from optimizer.fitting import (
    Change,
    changes_that_fit,
    default_weight_dtype,
    fewest_gpus,
    first_format,
    longest_context_tokens,
)
from optimizer.memory import MemoryEstimate, estimate_memory
from optimizer.report.assumed import assumed_format, assumed_rules
from optimizer.report.figures import Stack, stack_chart, standalone
from optimizer.report.tables import Justify, table
from optimizer.report.words import bar, bullets, count, figure, gib, listed, percent, pool

BAR_CELLS = 30
PARTS = {
    "weights": "weights",
    "activation": "activation peak",
    "non_torch": "outside the allocator",
    "cuda_graph": "CUDA graphs",
}
FLAG_NAMES = {"gpu_memory_gib": "gpu_memory"}
"""Argument -> option, where the spelling differs by more than dashes."""


@dataclass(frozen=True, slots=True)
class MemoryAnswer:
    """What `gpuplan memory` says of one replica."""

    question: Mapping[str, Any]
    """Arguments of `estimate_memory`."""
    assumed: tuple[str, ...]
    estimate: MemoryEstimate
    visible_gib: float
    uncertainty: Mapping[str, Uncertainty]
    """Of each part of the stack."""
    typical_tokens: int
    """Input and output of a mean request."""
    typical_concurrency: float
    """Mean requests that fit at once, before max_num_seqs."""
    longest_context_tokens: int | None
    fewest_gpus: Change | None
    """Degrees of the least number of GPUs that serves what is asked for, in the format asked for."""
    first_format: Change | None
    """The model's own format, or the first narrower one, in which it fits on the GPUs asked for."""
    changes: tuple[Change, ...]

    def data(self) -> dict[str, Any]:
        """The estimate at the top level, all else beside it."""
        estimate = {name: getattr(self.estimate, name) for name in MemoryEstimate.__slots__}
        return {
            **{name: value for name, value in self.question.items() if value is not None},
            **estimate,
            "visible_gib": self.visible_gib,
            "certainty": {part: one.certainty for part, one in self.uncertainty.items()},
            "worst_case": {"tokens_per_request": self.estimate.max_model_len, "requests": self.worst_requests},
            "typical_case": {"tokens_per_request": self.typical_tokens, "requests": self.typical_requests},
            "longest_context_tokens": self.longest_context_tokens,
            "fewest_gpus": self.fewest_gpus,
            "first_format": self.first_format,
            "changes_that_fit": self.changes,
            "assumed": self.assumed,
        }

    @property
    def worst_requests(self) -> float:
        """Requests of max_model_len that run at once."""
        return min(self.estimate.max_concurrency, self.estimate.max_num_seqs)

    @property
    def typical_requests(self) -> float:
        """Mean requests that run at once."""
        return min(self.typical_concurrency, self.estimate.max_num_seqs)


def memory_answer(
    catalog: Catalog,
    *,
    gpu: str,
    weight_dtype: str | None,
    input_tokens: int,
    output_tokens: int,
    **flags: Any,
) -> MemoryAnswer:
    """Memory of one replica with mean requests of these sizes; `flags` are further arguments of `estimate_memory`."""
    card = catalog.find("gpu", gpu)
    weights = weight_dtype or default_weight_dtype(card)
    question = {"model": flags.pop("model"), "gpu": gpu, "weight_dtype": weights, **flags}
    estimate = estimate_memory(catalog, **question)
    typical_tokens = input_tokens + output_tokens
    as_sized = {"max_num_seqs": estimate.max_num_seqs, "max_num_batched_tokens": estimate.max_num_batched_tokens}
    typical = estimate_memory(catalog, **{**question, **as_sized, "max_model_len": typical_tokens})
    engine, version = catalog.find("engine", question["engine"]), question["engine_version"]
    rules = engine.at(version).memory
    return MemoryAnswer(
        question=question,
        assumed=(*(() if weight_dtype else (assumed_format(weights),)), *assumed_rules(engine, version)),
        estimate=estimate,
        visible_gib=question["gpu_memory_gib"] or card.visible_memory_gib,
        uncertainty={part: getattr(rules.uncertainty, part) for part in PARTS},
        typical_tokens=typical_tokens,
        typical_concurrency=typical.max_concurrency,
        longest_context_tokens=longest_context_tokens(catalog, question),
        fewest_gpus=fewest_gpus(catalog, question),
        first_format=first_format(catalog, question),
        changes=changes_that_fit(catalog, question),
    )


def memory_report(answer: MemoryAnswer) -> RenderableType:
    """The stack, the requests it holds, and advice."""
    return Group(
        _headline(answer),
        Text(""),
        _stack(answer),
        Text(""),
        *_requests(answer),
        *bullets("Assumed", answer.assumed),
        *bullets("What would make it fit", map(_change, answer.changes)),
        *([] if answer.estimate.fits or answer.changes else [Text("No change of one or two flags would make it fit.")]),
    )


def memory_picture(answers: Sequence[MemoryAnswer]) -> str:
    """The stacks as an SVG file, one bar a card, all to one scale, each part with how far it may be off.

    Of a single card the legend has the numbers.
    """
    asked = answers[0].question
    names = [*PARTS.values(), "KV cache"]
    if len(answers) == 1:
        parts = zip(names, _amounts(answers[0]), _plus_minus(answers[0]), strict=True)
        names = [f"{name} {gib(amount)}" + (f" ± {gib(off)}" if off else "") for name, amount, off in parts]
    stacks = [
        Stack(
            f"{answer.question['gpu']}: {'fits' if answer.estimate.fits else 'does not fit'}",
            _amounts(answer),
            limit=answer.estimate.budget_gib,
            whole=answer.visible_gib,
            plus_minus=_plus_minus(answer),
        )
        for answer in answers
    ]
    title = f"{asked['model']} in {asked['weight_dtype']} ({asked['engine']})"
    return standalone(stack_chart(title, names, stacks, lambda amount: f"{gib(amount)} GiB", "budget"))


def _amounts(answer: MemoryAnswer) -> tuple[float, ...]:
    estimate = answer.estimate
    return (*(getattr(estimate, f"{part}_gib") for part in PARTS), max(estimate.kv_cache_gib, 0.0))


def _plus_minus(answer: MemoryAnswer) -> tuple[float, ...]:
    estimate = answer.estimate
    return (*(estimate.plus_minus_gib[part] for part in PARTS), estimate.margin_gib)


def cards_report(answers: Sequence[MemoryAnswer]) -> RenderableType:
    """The same replica on several cards, a column a card."""
    asked = answers[0].question
    rows = [
        ("fits", *("yes" if a.estimate.fits else f"no: {a.estimate.reason_key}" for a in answers)),
        ("weights in", *(str(a.question["weight_dtype"]) for a in answers)),
        ("visible GiB", *(gib(a.visible_gib) for a in answers)),
        *((f"{name} GiB", *(gib(getattr(a.estimate, f"{part}_gib")) for a in answers)) for part, name in PARTS.items()),
        ("KV cache GiB", *(pool(a.estimate.kv_cache_gib) for a in answers)),
        ("± GiB", *(gib(a.estimate.margin_gib) for a in answers)),
        ("KV tokens", *(count(a.estimate.kv_cache_tokens) for a in answers)),
        ("requests, worst case", *(count(math.floor(a.worst_requests)) for a in answers)),
        ("requests, typical case", *(count(math.floor(a.typical_requests)) for a in answers)),
        ("longest request", *(count(a.longest_context_tokens or 0) for a in answers)),
        ("fewest GPUs", *(_gpus(a.fewest_gpus) for a in answers)),
    ]
    columns: list[tuple[str, Justify]] = [("", "left"), *((str(a.question["gpu"]), "right") for a in answers)]
    return Group(
        Text(f"{asked['model']} on {count(len(answers), 'card')} ({asked['engine']})", style="bold"),
        Text(""),
        table("Memory of each GPU (of the rank that limits)", columns, rows),
    )


def cards_data(answers: Sequence[MemoryAnswer]) -> dict[str, Any]:
    """One answer a card."""
    return {"cards": [a.data() for a in answers]}


def _headline(answer: MemoryAnswer) -> Text:
    asked = answer.question
    degrees = " ".join(f"{name} {asked[name]}" for name in ("tp", "pp", "dp", "ep") if asked[name] > 1)
    what = f"{asked['model']} in {asked['weight_dtype']} on {asked['gpu']}{' with ' + degrees if degrees else ''}"
    verdict = "fits" if answer.estimate.fits else f"does not fit: {answer.estimate.reason}"
    return Text(f"{what} ({asked['engine']}): {verdict}", style="bold")


def _stack(answer: MemoryAnswer) -> RenderableType:
    """Parts in GiB of one GPU, each with its bar on the card's visible memory."""
    estimate = answer.estimate
    rows = []
    for part, name in PARTS.items():
        size_gib: float = getattr(estimate, f"{part}_gib")
        one = answer.uncertainty[part]
        spread = estimate.plus_minus_gib[part]
        known = str(one.certainty) + (f", ± {gib(spread)}" if spread else "")
        rows.append((name, gib(size_gib), bar(size_gib / answer.visible_gib, BAR_CELLS), known))
    left = estimate.kv_cache_gib
    name = "KV cache" if left >= 0 else "missing"
    rows.append((name, gib(abs(left)), bar(max(left, 0.0) / answer.visible_gib, BAR_CELLS), _margin(estimate)))
    budget = f"{percent(estimate.utilization_fraction)} of {gib(answer.visible_gib)} GiB visible"
    rows.append(("budget", gib(estimate.budget_gib), bar(estimate.budget_gib / answer.visible_gib, BAR_CELLS), budget))
    return table(
        "Memory of each GPU (of the rank that limits)",
        (("", "left"), ("GiB", "right"), (f"of {gib(answer.visible_gib)} GiB", "left"), ("known", "left")),
        rows,
    )


def _margin(estimate: MemoryEstimate) -> str:
    said = f"what is left, ± {gib(estimate.margin_gib)}"
    return said + ("; too little with that margin" if estimate.fits and not estimate.fits_with_margin else "")


def _gpus(change: Change | None) -> str:
    if change is None:
        return "more than 16, or none of any number"
    tp, pp = int(change.flags["tp"]), int(change.flags["pp"])
    return f"{tp * pp}, with tp {tp}" + (f" and pp {pp}" if pp > 1 else "")


def _requests(answer: MemoryAnswer) -> list[RenderableType]:
    estimate = answer.estimate
    length = answer.longest_context_tokens
    longest = "none, of any length" if length is None else f"{count(length)} tokens"
    tokens = f"{count(estimate.kv_cache_tokens)} tokens in all"
    batched = count(estimate.max_num_batched_tokens)
    rows = (
        ("worst case", f"{_at_once(answer.worst_requests)} of {count(estimate.max_model_len)} tokens, max_model_len"),
        (
            "typical case",
            f"{_at_once(answer.typical_requests)} of {count(answer.typical_tokens)} tokens, mean input + output",
        ),
        ("longest request", longest),
        ("fewest GPUs", _gpus(answer.fewest_gpus)),
        ("first format", "none" if answer.first_format is None else str(answer.first_format.flags["weight_dtype"])),
        ("KV cache", f"{tokens}, {figure(estimate.kv_bytes_per_token)} bytes a token and GPU"),
        ("engine flags", f"max_num_seqs {count(estimate.max_num_seqs)}, max_num_batched_tokens {batched}"),
    )
    return [listed(rows), Text("")]


def _at_once(number: float) -> str:
    return count(math.floor(number), "request") + " at once"


def _change(change: Change) -> str:
    flags = " ".join(
        f"--{FLAG_NAMES.get(name, name).replace('_', '-')} {value}" for name, value in change.flags.items()
    )
    held = count(math.floor(change.max_concurrency), "request")
    return f"{flags}: {gib(change.kv_cache_gib)} GiB of KV cache, {held} of the longest kind at once"
