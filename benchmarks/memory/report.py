"""How far predictions are off on logs that the constants have not seen, as a page to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import yaml

from benchmarks.memory.judge import METRICS, Prediction, Verdict
from benchmarks.memory.read import Logged

REASONS: Mapping[str, str] = yaml.safe_load((Path(__file__).parent / "reasons.yaml").read_text(encoding="utf-8"))
LISTED = {"weights_gib": 0.01, "kv_bytes_per_token": 0.01, "activation_gib": 0.05, "kv_cache_gib": 0.05}
"""Misses above are listed, each with its reason."""
SHARES = (0.01, 0.02, 0.05)
NAMES = {
    "weights_gib": "weights",
    "kv_bytes_per_token": "KV bytes a token",
    "activation_gib": "activation peak",
    "kv_cache_gib": "KV pool",
}
INTRODUCTION = """# How exact memory predictions are

Made by `python -m benchmarks.memory FOLDER`; do not edit. `FOLDER` holds `records.jsonl` (figures that engines
printed when they started, read from public threads) and `fits.jsonl` (configurations that started or did not).

**As recorded** is what `records.jsonl` alone says; otherwise a record is completed by what its source says beside it,
where that was opened and is noted with the place (`sources.yaml`): a checkpoint's owner, a degree, a flag.

Before a log is predicted, everything that its source says is left out of the fit of vLLM's constants (peak of the
sampler by version, memory outside the allocator by version, degree and link); where nothing is left, the neighbouring
versions' value holds. One sweep gives most logs and is reported beside the rest: with the model left out that is
predicted, and with all of it left out.

**Strict**: model, weight format, card, version and fraction are stated and nothing in the log's own words speaks
against comparing it.
**Tuned**: sizes of tensors, cache layouts, graphs and defaults follow from engine sources and were checked on these
logs, so that what is held out are the fitted constants, not the arithmetic. What AMD cards count beside the weights
(0.17 GiB) comes from the two logs it is judged on; each predicts the other within 0.1 GiB. Weights within 0.1 GiB count
as right at every level.
"""


@dataclass(frozen=True, slots=True)
class Split:
    """Predictions under one way of leaving out."""

    name: str
    predictions: Sequence[Prediction]


def report(splits: Sequence[Split], verdicts: Sequence[Verdict], left_out: Mapping[str, Counter[str]]) -> str:
    """The whole page."""
    lines = [INTRODUCTION, "## Figures\n", "| logs | figure | n | median error | 1 % | 2 % | 5 % |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for split in splits:
        lines += _figures(split)
    lines += _facts(verdicts)
    lines += _missed([p for split in splits[:2] for p in split.predictions])
    lines.append("## Not compared\n")
    for what, reasons in left_out.items():
        lines += [f"- {what}: {reason} ({n})" for reason, n in sorted(reasons.items())]
    return "\n".join(lines) + "\n"


def _figures(split: Split) -> Iterable[str]:
    for strict in (True, False):
        for metric in METRICS:
            rows = [p for p in split.predictions if p.metric == metric and (p.strict or not strict)]
            if rows:
                shares = " | ".join(f"{sum(p.within(share) for p in rows) / len(rows):.0%}" for share in SHARES)
                logs = f"{split.name}, {'strict' if strict else 'all'}"
                yield f"| {logs} | {NAMES[metric]} | {len(rows)} | {median(p.error for p in rows):.2%} | {shares} |"


def _facts(verdicts: Sequence[Verdict]) -> list[str]:
    lines = ["\n## What starts and what does not\n", "| facts | right | of |", "| --- | --- | --- |"]
    for fits, name in ((True, "start"), (False, "do not start")):
        for strict in (True, False):
            rows = [v for v in verdicts if v.log.fits is fits and (not strict or not v.log.doubts)]
            lines.append(f"| {name}, {'strict' if strict else 'all'} | {sum(v.right for v in rows)} | {len(rows)} |")
    wrong = [v for v in verdicts if not v.right]
    said = [f"- `{v.log.id}`: {'starts' if v.log.fits else 'does not start'}; {_why(v.log)}" for v in wrong]
    return [*lines, "", *said, ""]


def _missed(predictions: Sequence[Prediction]) -> list[str]:
    missed = [p for p in predictions if not p.within(LISTED[p.metric])]
    rows = sorted(missed, key=lambda p: (p.log.id, p.metric))
    lines = ["## Missed: weights and KV bytes by more than 1 %, the rest by more than 5 %\n"]
    lines.append("| log | figure | predicted | logged | why |")
    lines.append("| --- | --- | --- | --- | --- |")
    lines += [
        f"| {p.log.id} | {NAMES[p.metric]} | {p.predicted:,.5g} | {p.logged:,.5g} | {_why(p.log)} |" for p in rows
    ]
    return [*lines, ""]


def _why(log: Logged) -> str:
    return REASONS.get(log.id) or "; ".join(log.doubts) or "not explained"
