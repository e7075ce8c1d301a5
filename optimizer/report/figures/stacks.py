"""Stacked bars, and the waterfall from a first amount to a last one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optimizer.report.figures.marks import LETTER, LINE, WIDTH, bar, colour, legend, picture, rule, text

Written = Callable[[float], str]
BAR = 18.0


@dataclass(frozen=True, slots=True)
class Stack:
    """One bar: an amount of each part, in the order of the chart's parts."""

    label: str
    amounts: tuple[float, ...]
    limit: float | None = None
    """A mark that the bar should not pass."""
    whole: float | None = None
    """What there is in all; default: the limit, or the longest bar."""
    note: str = ""
    """Said in place of the sum."""
    plus_minus: tuple[float, ...] = ()
    """By how much each amount may be off; drawn as a whisker at its end. Empty = not known."""


def stack_chart(
    title: str, parts: Sequence[str], stacks: Sequence[Stack], written: Written, limit_name: str = ""
) -> str:
    """A bar a row, all to one scale, each under its label with its sum; amounts of zero or less are left out."""
    largest = max((max(_sum(one), one.limit or 0.0, one.whole or 0.0) for one in stacks), default=0.0) or 1.0
    drawn, y = legend(parts, 0.0)
    for one in stacks:
        y += LINE - 4
        amount = one.note or written(_sum(one)) + (f" of {written(whole)}" if (whole := one.whole or one.limit) else "")
        drawn.append(text(0, y, one.label, "strong", width=WIDTH - LETTER * (len(amount) + 1)))
        drawn.append(text(WIDTH, y, amount, "soft", "end"))
        y, x, whiskers = y + 5, 0.0, list[str]()
        drawn.append(bar(0, y, (one.whole or one.limit or largest) / largest * WIDTH, BAR, "idle"))
        for position, (part, value) in enumerate(zip(parts, one.amounts, strict=True)):
            if value > 0:
                width, off = value / largest * WIDTH, one.plus_minus[position] if one.plus_minus else 0.0
                said = f"{one.label}, {part}: {written(value)}" + (f" ± {written(off)}" if off else "")
                drawn.append(bar(x, y, width, BAR, colour(position), said))
                x += width
                if off:
                    whiskers.append(_whisker(x, off / largest * WIDTH, y + BAR / 2))
        drawn += whiskers
        if one.limit is not None:
            at = min(one.limit / largest * WIDTH, WIDTH - 1)
            drawn.append(rule(at, y - 3, at, y + BAR + 3, "mark"))
        y += BAR + 8
    if limit_name:
        drawn.append(text(0, y + 9, f"dashed: {limit_name}", "soft"))
        y += LINE
    return picture(title, y + 2, drawn)


def waterfall_chart(title: str, steps: Sequence[tuple[str, float]], total: str, written: Written) -> str:
    """Each step begins where the last one ended; negative ones go back; the last bar is the sum."""
    ends, at = [], 0.0
    for _, amount in steps:
        ends.append((at, at + amount))
        at += amount
    low, high = min(0.0, *(min(pair) for pair in ends), at), max(0.0, *(max(pair) for pair in ends), at)
    scale = WIDTH / ((high - low) or 1.0)
    drawn, y = [], 0.0
    rows = [(label, *pair, "f2" if pair[1] < pair[0] else "f0") for (label, _), pair in zip(steps, ends, strict=True)]
    for label, begin, end, kind in (*rows, (total, 0.0, at, "f6")):
        y += LINE - 4
        drawn.append(text(0, y, label, "strong" if label == total else "", width=WIDTH - 90))
        drawn.append(text(WIDTH, y, written(end - begin), "soft", "end"))
        y += 5
        drawn.append(bar((min(begin, end) - low) * scale, y, abs(end - begin) * scale, BAR - 4, kind, label))
        if label != total:
            drawn.append(rule((end - low) * scale, y, (end - low) * scale, y + BAR + 14))
        y += BAR + 2
    return picture(title, y, drawn)


def _whisker(x: float, reach: float, y: float) -> str:
    return rule(max(x - reach, 0.0), y, min(x + reach, WIDTH), y)


def _sum(stack: Stack) -> float:
    return sum(max(amount, 0.0) for amount in stack.amounts)
