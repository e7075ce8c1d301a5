"""The written form of a model's layers: words, runs and repeated groups on one line, in place of sixty list items.

A word is `mixer/feedforward`, such as `full/dense` or `mamba2/moe`; a layer with only one of the two has one name
(`mamba2`, `moe`). `word*3` is a run, `(word*5 word)*10` a repeated group:

    (sliding/dense*5 full/dense)*10 sliding/dense*2        Gemma-3-27B, 62 layers
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

FEEDFORWARDS = ("dense", "moe")
"""What follows the mixer; every other name is a mixer."""

MAX_LAYERS = 1000
"""Several times what exists; more is a mistake in the file, and would be expanded layer by layer."""
_LONGEST_GROUP = 64
_TOKEN = re.compile(
    r"(?P<open>\()|(?P<word>[a-z0-9_-]+(?:/[a-z]+)?(?::\d+)?)(?:\*(?P<run>\d+))?|(?P<close>\))(?:\*(?P<times>\d+))?"
)


class LayerKind(NamedTuple):
    """One layer's parts; an empty name is an absent part."""

    mixer: str
    feedforward: str
    intermediate_size: int | None = None
    """Width of this layer's dense feed-forward part where it differs from the model's (`full/dense:14336`)."""


def expand_layers(pattern: str) -> tuple[str, ...]:
    """Every layer's word, in order; ValueError says which part of the pattern is not understood."""
    stack: list[list[str]] = [[]]
    position = 0
    for match in _TOKEN.finditer(pattern):
        if pattern[position : match.start()].strip():
            break
        position = match.end()
        if match["open"]:
            stack.append([])
        elif match["close"]:
            if len(stack) == 1:
                raise ValueError(f"layers: ')' without '(' in '{pattern}'")
            group = stack.pop()
            stack[-1].extend(_repeat(group, match["times"]))
        else:
            stack[-1].extend(_repeat([match["word"]], match["run"]))
    if rest := pattern[position:].strip():
        raise ValueError(f"layers: '{rest[:20]}' is not a word, run or group such as (sliding/dense*5 full/dense)*10")
    if len(stack) != 1:
        raise ValueError(f"layers: '(' without ')' in '{pattern}'")
    if not 0 < len(stack[0]) <= MAX_LAYERS:
        raise ValueError(f"layers: {len(stack[0]) or 'no'} layers in '{pattern[:40]}'; expected 1 to {MAX_LAYERS}")
    return tuple(stack[0])


def _repeat(words: list[str], times: str | None) -> list[str]:
    if len(words) * int(times or 1) > MAX_LAYERS:
        raise ValueError(f"layers: a group of {len(words)} layers times {times} is more than {MAX_LAYERS} layers")
    return words * int(times or 1)


def parse_word(word: str) -> LayerKind:
    """The parts of one layer's word."""
    names, _, width = word.partition(":")
    mixer, _, feedforward = names.partition("/")
    if not feedforward and mixer in FEEDFORWARDS:
        mixer, feedforward = "", mixer
    if feedforward and feedforward not in FEEDFORWARDS:
        raise ValueError(f"layers: '{word}': a mixer is followed by one of {', '.join(FEEDFORWARDS)}")
    return LayerKind(mixer, feedforward, int(width) if width else None)


def write_layers(words: Sequence[str]) -> str:
    """The shortest pattern (by letters) of runs and groups of runs that expands to these words."""
    best = [""] * (len(words) + 1)
    for start in range(len(words) - 1, -1, -1):
        options = []
        for period in range(1, min(_LONGEST_GROUP, (len(words) - start) // 2) + 1):
            unit = words[start : start + period]
            times = 1
            while words[start + times * period : start + (times + 1) * period] == unit:
                times += 1
            if times > 1:
                head = f"{unit[0]}*{times}" if period == 1 else f"({_write_runs(unit)})*{times}"
                options.append(f"{head} {best[start + times * period]}".strip())
        options.append(f"{words[start]} {best[start + 1]}".strip())
        best[start] = min(options, key=len)
    return best[0]


def _write_runs(words: Sequence[str]) -> str:
    runs: list[tuple[str, int]] = []
    for word in words:
        if runs and runs[-1][0] == word:
            runs[-1] = (word, runs[-1][1] + 1)
        else:
            runs.append((word, 1))
    return " ".join(word if count == 1 else f"{word}*{count}" for word, count in runs)
