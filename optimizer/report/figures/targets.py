"""Predictions against their targets: each row to the scale of its own target, with the band of the mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optimizer.report.figures.marks import LETTER, LINE, WIDTH, bar, legend, picture, rule, text

HEIGHT = 14.0
FARTHEST = 1.5
"""Times the target; a band that reaches further is cut there."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target and what is predicted for it."""

    label: str
    limit: float
    predicted: float
    band: tuple[float, float] | None
    """In which the mean lies, four times in five."""


def target_chart(title: str, rows: Sequence[Target], written: Callable[[float], str]) -> str:
    """A bar a row up to what is predicted; the band of the mean lies on it, the target is the dashed line."""
    reach = max((min(max(one.predicted, *(one.band or (0.0,))) / one.limit, FARTHEST) for one in rows), default=1.0)
    scale = WIDTH / max(reach, 1.02)
    drawn, y = legend(["predicted", "mean, 80 % band"], 0.0)
    for one in rows:
        y += LINE - 4
        said = f"{written(one.predicted)} of {written(one.limit)}"
        drawn.append(text(0, y, one.label, "strong", width=WIDTH - LETTER * (len(said) + 1)))
        drawn.append(text(WIDTH, y, said, "soft", "end"))
        y += 5
        part = min(one.predicted / one.limit, FARTHEST)
        drawn.append(bar(0, y, scale, HEIGHT, "idle"))
        drawn.append(bar(0, y, part * scale, HEIGHT, "f0", f"{one.label}: {said}"))
        if one.band is not None:
            low, high = (min(end / one.limit, FARTHEST) * scale for end in one.band)
            hint = f"mean {written(one.band[0])} to {written(one.band[1])}"
            drawn.append(bar(low, y + HEIGHT / 4, high - low, HEIGHT / 2, "f1", hint))
        drawn.append(rule(scale, y - 1, scale, y + HEIGHT + 1, "mark"))
        y += HEIGHT + 8
    drawn.append(text(0, y + 9, "dashed: target", "soft"))
    return picture(title, y + LINE + 2, drawn)
