"""Random instances, handed as files to a solver that shares nothing with ours but the files."""

from __future__ import annotations

from pathlib import Path

import highspy
import pytest
from random_instances import draw, draw_over_periods, instance, is_servable

from catalog import Catalog
from optimizer.solve import Limits, program_text, solve
from optimizer.solve.columns import solve_columns


@pytest.mark.parametrize("seed", range(12))
def test_costs_and_bounds_of_random_instances_are_those_of_the_file(
    seed: int, catalog: Catalog, tmp_path: Path
) -> None:
    # Half of them over several periods; mid-size ones: benchmarks/second_solver.py.
    inst = instance(draw_over_periods(seed) if seed % 2 else draw(seed), catalog)
    if not is_servable(inst):
        pytest.skip("a class has no candidate; optimize refuses that before there is a program")
    path = tmp_path / "program.lp"
    path.write_text(program_text(inst, "lp"))
    ours = solve(inst, Limits(gap=0.0), method="plain", solver="scip")
    highs = read(path)
    if ours.outcome == "infeasible":
        assert highs.getModelStatus() == highspy.HighsModelStatus.kInfeasible
        return
    assert highs.getInfo().objective_function_value == pytest.approx(ours.bound_usd_per_hour, rel=1e-6)
    by_columns = solve_columns(inst, Limits(gap=0.001, time_limit_s=5.0))
    if by_columns is not None:
        assert by_columns.bound_usd_per_hour <= highs.getInfo().objective_function_value * (1 + 1e-6)


def read(path: Path) -> highspy.Highs:
    """HiGHS, which has read the file by itself and solved it to the end."""
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("mip_rel_gap", 0.0)
    assert highs.readModel(str(path)) == highspy.HighsStatus.kOk
    highs.run()
    return highs
