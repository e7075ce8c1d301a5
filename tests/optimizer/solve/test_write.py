"""The written program, read by another solver, has the same optimum."""

from __future__ import annotations

from pathlib import Path

import highspy
import pytest
from measured import rented, scenario, workload

from catalog import Catalog
from optimizer import load_scenario
from optimizer.candidates import build_candidates
from optimizer.formulation import Instance, build_instance, build_program, lay_out
from optimizer.solve import program_text, solve_program


def several_workloads(catalog: Catalog) -> Instance:
    """Three workloads that contend for two cheap servers; groups of 3 on servers of 8 need patterns."""
    classes = {"short": "70%", "long": "30%"}
    given = scenario(
        {
            "a": workload(17, [("h100-sxm", 2, 5.1), ("h100-sxm", 3, 8.3)]),
            "b": workload(9, [("h100-sxm", 1, {"short": 3, "long": 0.7}), ("l4", 1, {"short": 0.4})], classes=classes),
            "c": workload(30, [("h100-sxm", 3, 7.7), ("l4", 1, 0.9)]),
        },
        {"few": rented("h100-sxm", 8, 2.1, most=2), "many": rented("h100-sxm", 4, 2.9), "small": rented("l4", 1, 0.7)},
    )
    loaded = load_scenario(given, catalog)
    return build_instance(loaded, catalog, build_candidates(loaded, catalog))


@pytest.mark.parametrize("form", ["lp", "mps"])
def test_another_solver_reads_the_file_and_finds_the_same_optimum(form: str, catalog: Catalog, tmp_path: Path) -> None:
    inst = several_workloads(catalog)
    path = tmp_path / f"program.{form}"
    path.write_text(program_text(inst, form))  # type: ignore[arg-type]
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("mip_rel_gap", 0.0)
    assert highs.readModel(str(path)) == highspy.HighsStatus.kOk
    highs.run()
    program = build_program(inst, lay_out(inst))
    assert highs.getLp().num_col_ == len(program.upper)
    assert highs.getLp().num_row_ == len(program.row_upper)
    assert highs.getInfo().objective_function_value == pytest.approx(solve_program(program).objective, rel=1e-7)


def test_names_of_models_with_a_slash_can_be_read(catalog: Catalog, tmp_path: Path) -> None:
    chat = {"model": "Qwen/Qwen3-8B", "requests": "4/s", "input_tokens": 500, "output_tokens": 100, "slo": "throughput"}
    loaded = load_scenario(
        {"name": "x", "workloads": {"chat": chat}, "inventory": {"node": rented("h100-sxm", 8, 2.0)}}, catalog
    )
    path = tmp_path / "program.lp"
    path.write_text(program_text(build_instance(loaded, catalog, build_candidates(loaded, catalog)), "lp"))
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    assert highs.readModel(str(path)) == highspy.HighsStatus.kOk
