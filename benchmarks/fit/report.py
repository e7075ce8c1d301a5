"""What was fitted on what, and how far it is off, as a page to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.fit.extrapolate import LEFT_OUT
from benchmarks.fit.fit import is_closed_loop
from benchmarks.fit.held_out import Ratios, ends, mean_error, median_error, tpot_like, ttft_like
from benchmarks.fit.observations import Observations
from benchmarks.fit.parameters import PRIORS
from optimizer.serving_config import BoolArray, IntArray

INTRODUCTION = """# How the shipped constants were fitted

Made by `python -m benchmarks.fit FOLDER`; do not edit. `FOLDER` holds `measured_aggregated.csv` (closed-loop runs: mean
TTFT and TPOT at a constant number of requests in flight) and `points.jsonl.gz` (other published points). The model is
the one that plans use (`optimizer/performance`); only its constants are fitted, none of its shape.

Errors are |predicted ÷ measured − 1|. **Held out** means that whole model × GPU × engine groups were left out of the
fit that predicts them, in five folds; **in sample** that they were part of it. Repeat measurements of one configuration
differ by 3 to 7 %.
"""

METHOD = """## Method

1. Closed-loop runs set the constants: Gauss–Newton on the logarithms of TPOT and TTFT (half weight), errors beyond 15 %
   counted about linearly. Every constant is a value times factors by engine, generation of cards, width of weights,
   type of arithmetic, kind of attention, link and era of the engine. Each factor is pulled to 1 by a prior
   (`parameters.py`), which is what an unseen engine or card falls back on.
2. With those held fixed, the other points add factors for engines, generations and eras that the runs lack. A family of
   sources counts for at most 300 points, however many it has.
3. Intervals are the 10 % and 90 % quantiles of measured over predicted, held out; outside what was measured they are
   widened by what leaving whole engines, generations … out of the fit does to them.
"""


def report(
    content: dict[str, Any],
    observed: Observations,
    folds: IntArray,
    in_sample: Ratios,
    out_of_sample: Ratios,
    left_out: Counter[str],
) -> str:
    """The whole page."""
    runs = is_closed_loop(observed)
    return "\n".join(
        [
            INTRODUCTION,
            *_closed_loop(observed, folds, in_sample, out_of_sample, runs),
            *_points(observed, in_sample, out_of_sample, ~runs),
            *_coverage(observed, folds, out_of_sample, runs),
            *_beyond(content),
            METHOD,
            *_constants(content, observed),
            *_left_out(left_out, len(observed)),
        ]
    )


def _closed_loop(
    observed: Observations, folds: IntArray, in_sample: Ratios, out_of_sample: Ratios, runs: BoolArray
) -> list[str]:
    def row(label: str, rows: BoolArray) -> list[str]:
        cells = [label, str(int(rows.sum()))]
        for ratios in (in_sample, out_of_sample):
            tpot, ttft = ratios.tpot_ms[rows], ratios.ttft_ms[rows]
            cells += [_percent(median_error(tpot)), _percent(mean_error(tpot)), _percent(median_error(ttft))]
        return cells

    head = ["", "n", "TPOT median, in sample", "mean", "TTFT median", "TPOT median, held out", "mean", "TTFT median"]
    lines = ["## Closed-loop runs", "", *_table(head, [row("all", runs)] + [
        row(f"fold {fold + 1}", runs & (folds == fold)) for fold in sorted(set(folds.tolist()))
    ])]  # fmt: skip
    groups = sorted({(m.engine, m.gpu, m.model) for m, run in zip(observed.measurements, runs, strict=True) if run})
    rows = [row(" · ".join(g), _where(observed, lambda m, g=g: (m.engine, m.gpu, m.model) == g) & runs) for g in groups]
    return [*lines, "", *_table(["engine · GPU · model", *head[1:]], rows), ""]


def _points(observed: Observations, in_sample: Ratios, out_of_sample: Ratios, others: BoolArray) -> list[str]:
    rows = []
    for family, engine in sorted(
        {(m.family, m.engine) for m, o in zip(observed.measurements, others, strict=True) if o}
    ):
        chosen = _where(observed, lambda m, f=family, e=engine: (m.family, m.engine) == (f, e))
        for label, figure in (
            ("batch-1 TPOT", "tpot_ms"),
            ("throughput", "output_tokens_per_s"),
            ("prefill", "prefill_ms"),
        ):
            stated = chosen & np.isfinite(out_of_sample.of(figure))
            if stated.any():
                errors = [_percent(median_error(r.of(figure)[stated])) for r in (in_sample, out_of_sample)]
                rows.append([family, engine, label, str(int(stated.sum())), *errors])
    return [
        "## Other published points",
        "",
        *_table(["family", "engine", "figure", "n", "median, in sample", "median, held out"], rows),
        "",
    ]


def _coverage(observed: Observations, folds: IntArray, ratios: Ratios, runs: BoolArray) -> list[str]:
    """Ends from all folds but one, judged on that one: what the 80 % intervals really cover."""
    rows = []
    for name, of in (("TPOT", tpot_like(ratios)), ("TTFT", ttft_like(ratios))):
        inside = np.zeros(len(observed), np.bool_)
        for fold in sorted(set(folds.tolist())):
            low, high = ends(of[runs & (folds != fold)])
            here = runs & (folds == fold)
            inside[here] = (1.0 / of[here] >= low) & (1.0 / of[here] <= high)
        rows.append([name, _percent(float(inside[runs].mean()))])
    return [
        "## Coverage of the 80 % intervals",
        "",
        "Ends taken from four folds, counted on the fifth, closed-loop runs:",
        "",
        *_table(["", "inside"], rows),
        "",
    ]


def _beyond(content: dict[str, Any]) -> list[str]:
    widening = content["widening"]
    rows = [[name, f"{widening[name]:g}"] for name in (*LEFT_OUT, "concurrency", "pipeline")]
    return [
        "## Beyond what was measured",
        "",
        f"{widening['note'].capitalize()}.",
        "",
        *_table(["left out", "× width"], rows),
        "",
    ]


def _constants(content: dict[str, Any], observed: Observations) -> list[str]:
    engines = sorted({t.engine for t in observed.traits})
    rows = []
    for name in PRIORS:
        constant = content["constants"][name]
        factors = {f["engine"]: f["factor"] for f in constant["factors"] if set(f) == {"engine", "factor", "points"}}
        cells = [f"{constant['value'] * factors.get(engine, 1.0):.3g}" for engine in engines]
        rows.append([name, f"{constant['value']:.3g}", *cells, str(len(constant["factors"]))])
    return ["## Constants", "", "Value, with each engine's own factor, and how many factors there are:", "",
            *_table(["constant", "any engine", *engines, "factors"], rows), ""]  # fmt: skip


def _left_out(left_out: Counter[str], used: int) -> list[str]:
    rows = [[reason, str(n)] for reason, n in sorted(left_out.items(), key=lambda item: (-item[1], item[0]))]
    return [
        "## Rows that were not used",
        "",
        f"{used} measurements were used. Of the others:",
        "",
        *_table(["reason", "n"], rows),
    ]


def _where(observed: Observations, chosen: Callable[..., bool]) -> BoolArray:
    return np.array([chosen(m) for m in observed.measurements])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
