"""Lines of solvers' logs, as SCIP 9 and HiGHS 1.12 of OR-Tools 9.15 print them."""

from __future__ import annotations

import math

from optimizer.solve.log import objective_and_bound


def test_scip_tells_dual_and_primal_bound() -> None:
    line = (
        "d 5.4s|     8 |     9 |  7377 | 550.4 |pscostdi|   7 |  11k| 491 | 491 |   0 |  1 |   0 |  21 "
        "| 3.012324e+01 | 4.883554e+01 |  62.12%| unknown"
    )
    assert objective_and_bound(line) == (48.83554, 30.12324)


def test_highs_tells_best_bound_and_best_solution() -> None:
    line = " J       0       0         0   0.00%   -inf            42446.474798       Large        0      0      0    "
    assert objective_and_bound(line) == (42446.474798, -math.inf)


def test_other_lines_tell_nothing() -> None:
    heading = " time | node  | left  |LP iter|LP it/n|mem/heur|vars |cons |rows |  dualbound   | primalbound  |  gap"
    assert objective_and_bound(heading) is None
    assert objective_and_bound("presolved problem has 11671 variables (5468 bin, 6203 int, 0 cont)") is None
