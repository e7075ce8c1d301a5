"""What a line of a solver's log says of the best solution and the bound so far."""

from __future__ import annotations

import math
import re

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|inf)"
_SCIP = re.compile(rf"\|\s*({_NUMBER})\s*\|\s*({_NUMBER}|--)\s*\|[^|]*\|[^|]*$", re.IGNORECASE)
"""… | dual bound | primal bound | gap | completed (SCIP's display columns)."""
_HIGHS = re.compile(rf"\d%\s+({_NUMBER})\s+({_NUMBER})\s+(?:{_NUMBER}%|Large|inf)\s", re.IGNORECASE)
"""… explored % BestBound BestSol Gap … (HiGHS' table of the MIP search)."""


def objective_and_bound(line: str) -> tuple[float, float] | None:
    """(Objective of the best solution, infinite before the first; bound, −infinite before the first), if it has them.

    >>> objective_and_bound(" R       0       0         0   0.00%   30.2186813      123.8130364       75.59%   0")
    (123.8130364, 30.2186813)
    """
    found = _SCIP.search(line) or _HIGHS.search(line)
    if found is None:
        return None
    bound, objective = found.groups()
    return math.inf if objective == "--" else float(objective), float(bound)
