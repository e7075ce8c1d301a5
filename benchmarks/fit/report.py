"""What was fitted on what, and how far it is off, as a page to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.fit.anchored import ANCHORS, Anchored
from benchmarks.fit.extrapolate import LEFT_OUT
from benchmarks.fit.fit import is_closed_loop
from benchmarks.fit.held_out import Ratios, coverage, mean_error, median_error, tpot_like, ttft_like
from benchmarks.fit.parameters import PRIORS
from benchmarks.fit.ranking import ranked, repeats
from benchmarks.fit.read import WHOLE_REQUESTS
from benchmarks.fit.unseen import Unseen
from optimizer.calibration.measurement import Measurement
from optimizer.calibration.observations import Observations
from optimizer.serving_config import BoolArray, FloatArray, IntArray

INTRODUCTION = """# How the shipped constants were fitted

Made by `python -m benchmarks.fit FOLDER`; do not edit. `FOLDER` holds `measured_aggregated.csv` (closed-loop runs: mean
TTFT and TPOT at a constant number of requests in flight) and `points.jsonl.gz` (other published points). The model is
the one that plans use (`optimizer/performance`); only its constants are fitted, none of its shape.

Errors are |predicted ÷ measured − 1|. **Held out** means that whole model × GPU × engine groups were left out of the
fit that predicts them, in five folds; **in sample** that they were part of it. Repeat measurements of one configuration
differ by 3 to 7 %.
"""

FIGURE_TITLES = {
    "tpot_ms": "TPOT", "ttft_ms": "TTFT", "output_tokens_per_s": "throughput", "prefill_ms": "prefill",
}  # fmt: skip
REMAINS = """### What remains, and why

- Truth: `vllm · h200-sxm · Llama-3.1-8B` would compute 118,000 prompt tokens a second at 64 requests of 2,000 in
  flight, about 90 % of the card's rated FP8 arithmetic, and decode beside it, so its prompts were cached. `vllm ·
  h100-sxm · gpt-oss-120b` at 512 in flight ran about 100 of them at once, by TPOT and TTFT and Little's law: the
  server's own limit, which is not stated; these 9 runs alone are 1.9 points of the mean error of TPOT. KV types are
  not stated either: `vllm · b200-sxm · MiniMax-M2.5` holds twice the requests that a 16-bit cache has room for.
- Releases: one configuration in two releases is further apart than in one, but no release moves all models alike. Eras
  for vLLM 0.15, 0.17, TensorRT-LLM 1.1, SGLang 0.5.6 made held-out TPOT worse (12.6 instead of 12.2 %) and ordered
  fewer pairs.
- MI300X: its only other family measured mixtures of experts on four and eight cards, at half the speed that its data
  sheet promises; what remains with Argonne's left out grows with the batch, in which vLLM of 2024 fell further behind.
- Lone requests on one GPU: with XiongjieDai's tables left out llama.cpp was never seen, and it leaves half of HBM's
  bandwidth unused, as it does not of GDDR's; the H20 of Qwen's page reads weights at under half of the rated
  bandwidth, which no other source shows of any card. Where the engine is known on other cards (vLLM in 16 bit, 7B and
  more), errors are under 10 %.
- Argonne's llama.cpp points state no weight format; read as 16 bit, as the paper says, they are half as fast on the
  A100 as XiongjieDai's on the same card. Both cannot be the engine.
"""
METHOD = """## Method

1. Closed-loop runs set the constants: Gauss–Newton on the logarithms of TPOT and TTFT, errors beyond 15 % counted
   about linearly. Every constant is a value times factors by engine, generation of cards, width of weights, type of
   arithmetic, kind of attention, link and era of the engine. Each factor is pulled to 1 by a prior (`parameters.py`),
   which is what an unseen engine or card falls back on. TTFT weighs 0.15, as it is noisy; then the four constants of
   waiting are fitted again with TTFT at 0.5 and all others held fixed, which lowers the held-out errors of both.
   Stricter priors, other widths of them, and other limits of outliers were tried and gained nothing on folds drawn in
   another way; nor did an all-reduce that costs the same among any ranks, or by the rank.
2. With those held fixed, the other points add factors for engines, generations and eras that the runs lack. A
   generation that the runs lack has one factor on all its times beside those on each constant: a few points tell it
   how slow all of it is, where they say little of any one constant. The same factor for generations of the runs, or
   for eras and pairs, was tried and made TPOT, TensorRT-LLM and vLLM worse. A family of sources counts for at most
   300 points, however many it has. Where a point states TTFT and TPOT these are used, and its requests in flight
   follow from its rate by Little's law. Qwen's tokens per second are of whole requests, prefill included (`read.py`
   says why). Read as TPOT, those of vLLM were predicted 25 % off with that family left out, the more so the longer
   the prompt; as whole requests it is 18 %, without a bias.
3. Intervals are the 10 % and 90 % quantiles of measured over predicted, held out; outside what was measured they are
   widened by what leaving whole engines, generations … out of the fit does to them.
"""


@dataclass(frozen=True, slots=True)
class Judged:
    """Measurements with the errors of every way to leave some of them out of the fit."""

    observed: Observations
    folds: IntArray  # [m] of whole groups
    in_sample: Ratios
    held_out: Ratios
    """Groups left out, fold by fold."""
    families: Ratios
    """Families of sources left out, one by one; NaN for closed-loop runs."""
    own: Anchored
    """Groups left out, but for three runs of each."""
    unseen: Mapping[str, Unseen]
    """What was left out whole, in turn -> errors on it."""

    @property
    def runs(self) -> BoolArray:
        """[m] the closed-loop ones."""
        return is_closed_loop(self.observed)


def report(content: dict[str, Any], judged: Judged, left_out: Counter[str]) -> str:
    """The whole page."""
    observed = judged.observed
    return "\n".join(
        [
            INTRODUCTION,
            *_closed_loop(observed, judged.folds, judged.in_sample, judged.held_out, judged.runs),
            *_ranking(judged),
            *_points(judged),
            *_steady_state(judged),
            REMAINS,
            *_coverage(judged.folds, judged.held_out, judged.runs),
            *_unseen(judged.unseen),
            *_beyond(content),
            *_spreads(content, judged.own),
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
    lines = ["## Closed-loop runs", "", *table(head, [row("all", runs)] + [
        row(f"fold {fold + 1}", runs & (folds == fold)) for fold in sorted(set(folds.tolist()))
    ])]  # fmt: skip
    groups = sorted({(m.engine, m.gpu, m.model) for m, run in zip(observed.measurements, runs, strict=True) if run})
    rows = [row(" · ".join(g), _where(observed, lambda m, g=g: (m.engine, m.gpu, m.model) == g) & runs) for g in groups]
    return [*lines, "", *table(["engine · GPU · model", *head[1:]], rows), ""]


def _ranking(judged: Judged) -> list[str]:
    runs = judged.observed.take(judged.runs)
    out_of_sample = judged.held_out.take(judged.runs)
    ways: dict[str, Callable[[Measurement, Measurement], bool]] = {
        "all": lambda _a, _b: True,
        "of the same release of the engine": lambda a, b: a.engine_version == b.engine_version,
        "of different releases, or unknown ones": lambda a, b: a.engine_version != b.engine_version,
    }
    rows = []
    for label, counts in ways.items():
        found = [ranked(runs, of, counts) for of in (judged.in_sample.take(judged.runs), out_of_sample)]
        rows.append([label, str(found[0][1]), *(_percent(right) for right, _ in found)])
    again = {
        "within a release": repeats(runs, out_of_sample, lambda m: m.engine_version),
        "in any release": repeats(runs, out_of_sample, lambda _: None),
    }
    return [
        "## Ranking",
        "",
        "Pairs of configurations (degrees, formats) of one model on one card and engine at the same sizes and requests",
        "in flight, whose throughput per GPU differs by more than 10 %: which of both is the better one?",
        "",
        *table(["pairs", "n", "right, in sample", "right, held out"], rows),
        "",
        "How well does measuring again know the order? Pairs of which at least one configuration was measured more",
        "than once, ordered by its other runs, and held out by the model:",
        "",
        *table(
            ["measured again", "repeats", "pairs", "copies", "the others apart", "right by a repeat", "by the model"],
            [
                [
                    label,
                    *map(str, (of.runs, of.pairs)),
                    *map(_percent, (of.copies, of.apart, of.by_repeat, of.by_model)),
                ]
                for label, of in again.items()
            ],
        ),
        "",
        "A copy differs by less than 1 %: mostly one run published twice. The others are that far apart in the median.",
        "",
    ]


def _points(judged: Judged) -> list[str]:
    observed, others = judged.observed, ~judged.runs
    rows = []
    for family, engine in sorted(
        {(m.source, m.engine) for m, o in zip(observed.measurements, others, strict=True) if o}
    ):
        chosen = _where(observed, lambda m, f=family, e=engine: (m.source, m.engine) == (f, e))
        for figure, label in FIGURE_TITLES.items():
            stated = chosen & np.isfinite(judged.held_out.of(figure))
            if stated.any():
                ways = (judged.in_sample, judged.held_out, judged.families)
                errors = [_percent(median_error(of.of(figure)[stated])) for of in ways]
                rows.append([family, engine, label, str(int(stated.sum())), *errors])
    return [
        "## Other published points",
        "",
        "Median errors in sample, with groups held out, and with the whole family of sources left out:",
        "",
        *table(["family", "engine", "figure", "n", "in sample", "group out", "family out"], rows),
        "",
    ]


def _steady_state(judged: Judged) -> list[str]:
    """The figures that a plan rests on, of families that the fit has not seen."""
    observed = judged.observed
    lone = _where(observed, lambda m: m.concurrency == 1.0)
    one_gpu = _where(observed, lambda m: m.tp * m.pp * m.dp == 1)
    whole = lone & _where(observed, lambda m: m.source in WHOLE_REQUESTS)
    ways: list[tuple[str, str, BoolArray]] = [
        ("TPOT of a lone request", "tpot_ms", lone),
        ("TPOT of a lone request on one GPU", "tpot_ms", lone & one_gpu),
        ("tokens per second of a whole lone request", "output_tokens_per_s", whole),
    ]
    for engine in ("trtllm", "vllm"):
        of_engine = _where(observed, lambda m, e=engine: m.engine == e) & ~whole
        ways.append((f"throughput, {engine}", "output_tokens_per_s", of_engine))
        for generation in sorted({t.generation for t, o in zip(observed.traits, of_engine, strict=True) if o}):
            here = np.array([t.generation == generation for t in observed.traits])
            ways.append((f"throughput, {engine} on {generation}", "output_tokens_per_s", of_engine & here))
    rows = []
    for label, figure, chosen in ways:
        ratios = judged.families.of(figure)
        stated = chosen & np.isfinite(ratios)
        if stated.any():
            bias = float(np.median(ratios[stated]))
            rows.append([label, str(int(stated.sum())), _percent(median_error(ratios[stated])), f"{bias:.2f}"])
    return [
        "With the family left out, by what was measured; bias is the median of predicted ÷ measured:",
        "",
        *table(["figure", "n", "median error", "bias"], rows),
        "",
    ]


def _coverage(folds: IntArray, ratios: Ratios, runs: BoolArray) -> list[str]:
    """Ends from all folds but one, judged on that one: what the 80 % intervals really cover."""
    rows = []
    for name, of in (("TPOT", tpot_like(ratios)), ("TTFT", ttft_like(ratios))):
        rows.append([name, _percent(coverage(of[runs], folds[runs]))])
    return [
        "## Coverage of the 80 % intervals",
        "",
        "Ends taken from four folds, counted on the fifth, closed-loop runs:",
        "",
        *table(["", "inside"], rows),
        "",
    ]


def _unseen(judged: Mapping[str, Unseen]) -> list[str]:
    """Every card, and every era of every engine, predicted by a fit that has seen none of it."""
    lines = ["## Unseen cards and engines", ""]
    for what, of in judged.items():
        names = np.array(of.names)
        rows = []
        for label, chosen in [("all", names == names)] + [(name, names == name) for name in sorted(set(of.names))]:
            cells = [label]
            for errors in (of.tpot[chosen], of.ttft[chosen]):
                stated = errors[np.isfinite(errors)]
                bias = [_percent(median_error(stated)), f"{np.median(stated):.2f}"] if len(stated) else ["", ""]
                cells += [str(len(stated)), *bias]
            rows.append(cells)
        lines += [
            f"Every {what} left out of the fit in turn, all others in it; bias: median of predicted ÷ measured time.",
            "",
            *table(
                [what, "TPOT or throughput, n", "median error", "bias", "TTFT or prefill, n", "median error", "bias"],
                rows,
            ),
            "",
        ]
    return lines


def _beyond(content: dict[str, Any]) -> list[str]:
    widening = content["widening"]
    rows = [[name, f"{widening[name]:g}"] for name in (*LEFT_OUT, "concurrency", "pipeline")]
    return [
        "## Beyond what was measured",
        "",
        f"{widening['note'][0].upper()}{widening['note'][1:]}.",
        "",
        *table(["left out", "× width"], rows),
        "",
    ]


def _spreads(content: dict[str, Any], own: Anchored) -> list[str]:
    rows = [
        [metric.upper(), *(f"{of[part]:g}" for part in ("pair", "model", "run"))]
        for metric, of in content["spreads"].items()
    ]
    return [
        "## What one's own benchmarks can take away",
        "",
        "Errors on engines and cards left out of the fit, as standard deviations in the logarithm, by whose they are.",
        "`gpuplan calibrate` shrinks by them: one's own runs remove what belongs to the card and to the model.",
        "",
        *table(["", "engine and card", "model there", "single run"], rows),
        "",
        f"Of groups left out of the fit, {ANCHORS} runs given away as one's own and the others predicted:",
        "",
        *table(
            ["", "n", "median error without", "mean", "median error with", "mean", "inside the narrowed band"],
            [
                [metric, str(len(before)), *_errors_of(before), *_errors_of(after), _percent(float(inside.mean()))]
                for metric, before, after, inside in zip(("TPOT", "TTFT"), *own, strict=True)
            ],
        ),
        "",
    ]


def _errors_of(logarithms: FloatArray) -> list[str]:
    """Median and mean."""
    ratios = np.exp(logarithms)
    return [_percent(median_error(ratios)), _percent(mean_error(ratios))]


def _constants(content: dict[str, Any], observed: Observations) -> list[str]:
    engines = sorted({t.engine for t in observed.traits})
    rows = []
    for name in PRIORS:
        constant = content["constants"][name]
        factors = {f["engine"]: f["factor"] for f in constant["factors"] if set(f) == {"engine", "factor", "points"}}
        cells = [f"{constant['value'] * factors.get(engine, 1.0):.3g}" for engine in engines]
        rows.append([name, f"{constant['value']:.3g}", *cells, str(len(constant["factors"]))])
    return ["## Constants", "", "Value, with each engine's own factor, and how many factors there are:", "",
            *table(["constant", "any engine", *engines, "factors"], rows), ""]  # fmt: skip


def _left_out(left_out: Counter[str], used: int) -> list[str]:
    rows = [[reason, str(n)] for reason, n in sorted(left_out.items(), key=lambda item: (-item[1], item[0]))]
    return [
        "## Rows that were not used",
        "",
        f"{used} measurements were used. Of the others:",
        "",
        *table(["reason", "n"], rows),
    ]


def _where(observed: Observations, chosen: Callable[..., bool]) -> BoolArray:
    return np.array([chosen(m) for m in observed.measurements])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
