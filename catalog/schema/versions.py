"""Releases of engines as their makers spell them, in order."""

from __future__ import annotations

import re

_RELEASE = re.compile(
    r"[vb]?([0-9]+(?:[.][0-9]+)*)"
    r"(?:[-._]?(?:a|alpha|b|beta|c|rc|pre|preview|post|rev|r|dev)[-._]?\d*)*"
    r"(?:\+[a-z0-9]+(?:[-._][a-z0-9]+)*)?"
)
"""https://packaging.python.org/en/latest/specifications/version-specifiers/, and builds such as `b5000`."""


def version_key(version: str) -> tuple[int, ...]:
    """`0.17.1` -> (0, 17, 1), without trailing zeros, so that 0.17 and 0.17.0 are one; ValueError when it is none.

    What is built before or after a release (`0.8.5.post1`, `0.11.0rc2.dev3+cu128`) counts as that release.
    """
    spelt = _RELEASE.fullmatch(version.strip().lower())
    if spelt is None:
        raise ValueError(f"{version!r} is no release")
    numbers = [int(part) for part in spelt[1].split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
