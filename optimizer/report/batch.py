"""A batch for people: how far it is, how it ended, and what its rows say in all."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TextIO

from rich.console import Group, RenderableType

from optimizer.batch import State
from optimizer.report.data import plain
from optimizer.report.delivery import progress
from optimizer.report.tables import table
from optimizer.report.words import figure, listed, percent, usd

ProgressForm = Literal["line", "json", "none"]
EVERY_S = 1.0
"""Between two JSON lines."""
FIGURES: Mapping[str, Callable[[float], str]] = {
    "usd_per_hour": usd,
    "gap": partial(percent, digits=2),
    "worst_latency_slack": partial(percent, digits=1),
    "seconds": figure,
}
"""Columns of the rows -> how they are written."""
MOST_LISTED = 5


@contextmanager
def reporting(stream: TextIO, form: ProgressForm) -> Iterator[Callable[[State], None]]:
    """Yields what is told how far a batch is: a line on a terminal, a JSON object a second and one at the end."""
    if form == "none":
        yield lambda _state: None
    elif form == "line":
        with progress(stream) as update:
            yield lambda state: update(progress_words(state))
    else:
        lines = _JsonLines(stream)
        try:
            yield lines.tell
        finally:
            lines.end()


class _JsonLines:
    """Writes the last state it was told, at most one a second."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: State | None = None
        self._due = time.monotonic()

    def tell(self, state: State) -> None:
        self._last = state
        if time.monotonic() >= self._due:
            self._write(state)

    def end(self) -> None:
        if self._last is not None:
            self._write(self._last)

    def _write(self, state: State) -> None:
        self._stream.write(json.dumps(plain(state.data())) + "\n")
        self._stream.flush()
        self._due = time.monotonic() + EVERY_S


def progress_words(state: State) -> str:
    """`1,200 of 20,000, 150/s, 2 min left: 1,180 optimal, 20 infeasible; worst gap 0.08%`."""
    left = "" if state.seconds_left is None else f", {_duration(state.seconds_left)} left"
    counts = ", ".join(f"{n:,} {status}" for status, n in state.counts.most_common())
    rate = f"{state.n_done:,} of {state.n_items:,}, {state.per_second:,.1f}/s{left}"
    return f"{rate}: {counts}; worst gap {state.worst_gap:.2%}" if counts else rate


def batch_report(state: State, folder: Path) -> RenderableType:
    """How a batch went, and what to do next where it is not over."""
    ended = "Interrupted" if state.interrupted else "Done"
    done = f"{state.n_done:,} of {state.n_items:,} scenarios in {_duration(state.seconds)}"
    lines = [f"{ended}: {done}, {state.per_second:,.1f}/s. Results are in {folder}."]
    ends = [(status, f"{n:,}") for status, n in sorted(state.statuses.items())]
    if n_errors := state.counts["error"]:
        ends.append(("error", f"{n_errors:,} (errors*.jsonl says why)"))
    if n_unchanged := state.counts["unchanged"]:
        lines.append(f"{n_unchanged:,} were solved before and have not changed.")
    if state.n_dropped:
        lines.append(f"{state.n_dropped:,} rows of scenarios that are no longer there were dropped.")
    lines += [
        f"{path.name} was damaged; it was set aside and its scenarios were solved again." for path in state.damaged
    ]
    if state.interrupted:
        lines.append("The same command with --resume goes on.")
    elif state.statuses:
        lines.append(f"Worst gap of this run {state.worst_gap:.2%}. `gpuplan batch report {folder}` shows the results.")
    return Group(*lines[:1], listed(ends), *lines[1:])


def results_data(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts by status, the range of each figure, and the cheapest and dearest scenarios."""
    priced = sorted((row for row in rows if row["usd_per_hour"] is not None), key=lambda row: row["usd_per_hour"])
    ends = {"cheapest": priced[:MOST_LISTED], "dearest": priced[: -MOST_LISTED - 1 : -1]}
    return {
        "scenarios": len(rows),
        "counts": dict(Counter(row["status"] for row in rows)),
        "figures": {name: _range([row[name] for row in rows if row[name] is not None]) for name in FIGURES},
        **{end: [{key: row[key] for key in ("scenario", "usd_per_hour", "gpus")} for row in some]
           for end, some in ends.items()},
    }  # fmt: skip


def results_report(data: Mapping[str, Any], folder: Path) -> RenderableType:
    """The same as tables."""
    counts = ", ".join(f"{n:,} {status}" for status, n in data["counts"].items())
    figures = [
        (name, *(FIGURES[name](values[key]) for key in ("least", "median", "most")))
        for name, values in data["figures"].items()
        if values is not None
    ]
    ends = [
        table(
            end.capitalize(),
            (("scenario", "left"), ("$/h", "right"), ("GPUs", "left")),
            [
                (row["scenario"], usd(row["usd_per_hour"]), ", ".join(f"{n} {gpu}" for gpu, n in row["gpus"].items()))
                for row in data[end]
            ],
        )
        for end in ("cheapest", "dearest")
    ]
    return Group(
        table(
            f"{folder}: {data['scenarios']:,} scenarios: {counts}",
            (("", "left"), ("least", "right"), ("median", "right"), ("most", "right")),
            figures,
        ),
        *(part for drawn in ends for part in ("", drawn)),
    )


def _range(values: list[float]) -> dict[str, float] | None:
    ordered = sorted(values)
    return {"least": ordered[0], "median": ordered[len(ordered) // 2], "most": ordered[-1]} if ordered else None


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
