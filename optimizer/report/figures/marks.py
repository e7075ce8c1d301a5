"""What every picture is made of: texts, bars, lines, axes, legends, and colours that follow light and dark."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from xml.sax.saxutils import escape, unescape

WIDTH = 460.0
"""Of every picture, in its own units: texts of 12 units stay legible where a phone shows 360 pixels."""
LINE = 16.0
"""Height of a line of text."""
LETTER = 6.9
"""Mean width of a letter of 12 units; an estimate, so texts are cut a little early rather than late."""
BOLD = 1.09
"""Times as wide as other letters."""
MARGIN = 16.0
"""Around a picture that stands alone."""
MOST_POWERS = 3
"""Of ten on an axis that also names what lies between them."""
COLOURS = ("#0072b2", "#d98200", "#009e73", "#b8568f", "#4aa3dc", "#c4500a", "#7a6fc4", "#8a8f98")
"""On white; after Okabe and Ito, whose colours can be told apart without seeing red and green
(https://jfly.uni-koeln.de/color/)."""
N_COLOURS = len(COLOURS)
QUOTES = {"&quot;": '"', "&#39;": "'"}
"""What stands for quotes in text that is also an attribute."""

STYLE = (
    f"\nsvg.fig{{{';'.join(f'--c{at}:{one}' for at, one in enumerate(COLOURS))};"
    """
--ink:#1c2430;--soft:#5b6675;--rule:#d5dae1;--idle:#e9ecf0;--good:#177245;--bad:#b3261e;
font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;max-width:640px;width:100%;height:auto;
display:block}
svg.fig text{fill:var(--ink)}svg.fig .soft{fill:var(--soft)}svg.fig .strong{font-weight:600}
svg.fig .region{font-weight:600;fill:var(--c0)}
svg.fig .in{fill:#fff;font-size:10px}svg.fig .small{font-size:10px}svg.fig .rule{stroke:var(--rule);stroke-width:1}
svg.fig .mark{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:4 3}svg.fig .band{stroke:var(--ink);stroke-width:1.5}
svg.fig .curve{fill:none;stroke-width:2}svg.fig .spread{opacity:.2}
svg.fig .idle{fill:var(--idle)}svg.fig .good{fill:var(--good)}
svg.fig .bad{fill:var(--bad)}svg.fig .box{fill:none;stroke:var(--rule)}
svg.fig .f0{fill:var(--c0)}svg.fig .f1{fill:var(--c1)}svg.fig .f2{fill:var(--c2)}svg.fig .f3{fill:var(--c3)}
svg.fig .f4{fill:var(--c4)}svg.fig .f5{fill:var(--c5)}svg.fig .f6{fill:var(--c6)}svg.fig .f7{fill:var(--c7)}
svg.fig .l0{stroke:var(--c0)}svg.fig .l1{stroke:var(--c1)}svg.fig .l2{stroke:var(--c2)}svg.fig .l3{stroke:var(--c3)}
svg.fig .l4{stroke:var(--c4)}svg.fig .l5{stroke:var(--c5)}svg.fig .l6{stroke:var(--c6)}svg.fig .l7{stroke:var(--c7)}
@media screen and (prefers-color-scheme:dark){svg.fig{--ink:#e6eaf0;--soft:#a3adba;--rule:#3a4350;--idle:#2b323c;
--c0:#4ea0d8;--c1:#f0a732;--c2:#2fbf94;--c3:#dc86b8;--c4:#86c5ee;--c5:#ea7a3a;--c6:#a79df0;--c7:#9aa2ad;
--good:#4cc38a;--bad:#ff8a80}svg.fig .in{fill:#10151b}}
"""
)
"""Style sheet of the pictures; a document holds it once."""


PAPER = (
    "svg.fig .paper{fill:#fff}@media screen and (prefers-color-scheme:dark){svg.fig .paper{fill:#161b22}}"
    "svg.fig{max-width:none}"
)
"""What a picture of its own stands on."""


def picture(title: str, height: float, body: Sequence[str]) -> str:
    """A whole picture; its title is what a screen reader says, the table beside it holds the numbers."""
    return (
        f'<svg class="fig" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {math.ceil(height)}" role="img">'
        f"<title>{safe(title)}</title>{''.join(body)}</svg>"
    )


def standalone(*pictures: str, heading: str = "") -> str:
    """Pictures as one file, under each other and a heading, with the style and the titles that a page would give."""
    drawn, y = _titled(heading, -10.0) if heading else ([], -LINE)
    y += LINE
    for svg in pictures:
        head, _, body = svg.partition("<title>")
        title, _, marks = body.partition("</title>")
        height = float(head.rpartition(f"0 0 {WIDTH:.0f} ")[2].split('"')[0])
        lines, title_height = _titled(unescape(title, QUOTES), y - 10)
        y += title_height - LINE
        shown = marks.removesuffix("</svg>")
        drawn += [*lines, shown if y == 0 else f'<g transform="translate(0,{y:g})">{shown}</g>']
        y += height + 3 * MARGIN
    first = safe(heading) if heading else pictures[0].partition("<title>")[2].partition("</title>")[0]
    room = f"{-MARGIN:g} {-2 * MARGIN:g} {WIDTH + 2 * MARGIN:g} {y:g}"
    return (
        f'<svg class="fig" xmlns="http://www.w3.org/2000/svg" viewBox="{room}" role="img"><style>{STYLE}{PAPER}</style>'
        f'<title>{first}</title><rect x="{-MARGIN:g}" y="{-2 * MARGIN:g}" width="100%" height="100%" class="paper"/>'
        f"{''.join(drawn)}</svg>\n"
    )


def _titled(title: str, y: float) -> tuple[list[str], float]:
    """A title in as many lines as it needs, the first with its baseline at y, and their height."""
    lines = textwrap.wrap(title, int(WIDTH / LETTER / BOLD))
    return [text(0, y + at * LINE, line, "strong") for at, line in enumerate(lines)], len(lines) * LINE


def safe(words: str) -> str:
    """Text that no reader takes for markup; control characters, which XML forbids, are left out."""
    return escape("".join(c for c in words if c.isprintable()), {mark: name for name, mark in QUOTES.items()})


def fitted(words: str, width: float) -> str:
    """The words, cut with an ellipsis where they would be wider."""
    most = max(1, int(width / LETTER))
    return words if len(words) <= most else f"{words[: most - 1].rstrip()}…"


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "", width: float | None = None) -> str:
    """A text whose baseline is at y; with a width it is cut to it, and shown whole on hovering."""
    shown = words if width is None else fitted(words, width / (BOLD if kind == "strong" else 1))
    hint = f"<title>{safe(words)}</title>" if shown != words else ""
    about = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{about}>{safe(shown)}{hint}</text>'


def bar(x: float, y: float, width: float, height: float, kind: str, hint: str = "") -> str:
    """A filled box, at least a hair wide; the hint is shown on hovering."""
    title = f"<title>{safe(hint)}</title>" if hint else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.6):.1f}" height="{height:.1f}" rx="1.5" '
        f'class="{kind}">{title}</rect>'
    )


def rule(x1: float, y1: float, x2: float, y2: float, kind: str = "rule") -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def legend(names: Sequence[str], top: float) -> tuple[list[str], float]:
    """Coloured squares with their names in as many rows as they need; the marks and where they end."""
    drawn, x, y = [], 0.0, top
    for position, name in enumerate(names):
        shown = fitted(name, WIDTH - 20)
        width = 20 + len(shown) * LETTER + 10
        if x + width > WIDTH and x > 0:
            x, y = 0.0, y + LINE
        drawn.append(bar(x, y, 10, 10, colour(position)))
        drawn.append(text(x + 15, y + 9, shown))
        x += width
    return drawn, y + LINE + 4


def colour(position: int, kind: str = "f") -> str:
    """Class of a fill (`f`) or line (`l`) colour; after eight they begin again."""
    return f"{kind}{position % N_COLOURS}"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high, about so many of them."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def ticks_of_powers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from low to high; of many only the powers."""
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= MOST_POWERS else (1,)
    found = [step * 10.0**power for power in powers for step in steps]
    return [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
