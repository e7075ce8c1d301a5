"""One program to one OR-Tools solver and back; nothing above this module knows a solver.

The program goes in as a MathOpt proto and straight to MathOpt's core: at half a million columns that is arrays all the
way, and a solver's own error arrives as it is (the Python layer above the core hides it behind an AttributeError).
"""

from __future__ import annotations

import ctypes
import datetime
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ortools.math_opt import callback_pb2, model_parameters_pb2, model_pb2, parameters_pb2, result_pb2
from ortools.math_opt.core.python import solver as core
from ortools.util.python.solve_interrupter import SolveInterrupter

from optimizer.errors import SolverError
from optimizer.formulation import Program
from optimizer.serving_config import FloatArray
from optimizer.solve.answer import Outcome
from optimizer.solve.log import objective_and_bound

SolverName = Literal["scip", "highs", "glop"]

SOLVER_TYPES = {
    "scip": parameters_pb2.SOLVER_TYPE_GSCIP,
    "highs": parameters_pb2.SOLVER_TYPE_HIGHS,
    "glop": parameters_pb2.SOLVER_TYPE_GLOP,  # linear programs only
}
SCIP_FEASIBILITY_TOLERANCE = 1e-9
"""SCIP's default of 1e-6 lets a class be served to 99.9999 %; plans are checked to 1e-6 relative, so ask for more."""
HIGHS_FEASIBILITY_TOLERANCE = 1e-9
POLL_S = 0.05
"""How often the waiting thread looks for Ctrl-C and reports progress."""
GRACE_S = 5.0
"""How long a solver may overrun its time, and how long an interrupted one may take to hand over its best, before it is
left behind (HiGHS does not listen)."""


@dataclass(frozen=True, slots=True)
class Solution:
    """What a solver found and proved."""

    outcome: Outcome
    values: FloatArray | None  # [N]
    objective: float
    bound: float  # no solution costs less
    interrupted: bool = False
    row_duals: FloatArray | None = None  # [M] of a linear program: by how much the objective grows with the row's side


def solve_program(
    program: Program,
    *,
    solver: SolverName = "scip",
    gap: float = 0.0,
    time_limit_s: float = math.inf,
    seed: int = 0,
    node_limit: int | None = None,
    hint: FloatArray | None = None,
    tick: Callable[[float, float], None] = lambda _objective, _bound: None,
) -> Solution:
    """Minimise a program to a relative `gap`, starting from the values `hint` [N] as far as they are not NaN.

    `node_limit` ends the search by its own measure, so that the answer does not depend on the machine's speed. `tick`
    is called with objective and bound so far some times a second while the solver runs. Ctrl-C stops the solver and
    returns its best so far with `interrupted` set.

    Raises:
        SolverError: the solver failed, with its own message, or did not stop when its time was over.
    """
    interrupter = SolveInterrupter()
    log = _Log()
    answer: list[result_pb2.SolveResultProto | Exception] = []

    def work() -> None:
        log.hush()
        try:
            answer.append(
                core.solve(
                    model_proto(program),
                    SOLVER_TYPES[solver],
                    parameters_pb2.SolverInitializerProto(),
                    _parameters(solver, gap, time_limit_s, seed, node_limit),
                    _start(hint),
                    log.read,
                    callback_pb2.CallbackRegistrationProto(),
                    None,
                    interrupter.pybind_interrupter,
                )
            )
        except Exception as error:  # handed to the waiting thread, which raises it
            answer.append(error)
        finally:
            log.end_hush()

    worker = threading.Thread(target=work, daemon=True)
    with _standard_output_unheard() if solver == "highs" else nullcontext():
        worker.start()
        ended = wait_for(worker, time_limit_s + GRACE_S, lambda: tick(log.objective, log.bound))
        if ended != "done":
            interrupter.interrupt()
            worker.join(GRACE_S)
    interrupted = ended == "interrupted"
    if not answer and ended == "overdue":
        raise SolverError(f"{solver} did not stop at its time limit of {time_limit_s:.3g} s")
    if not answer:
        return Solution("no_plan", None, math.inf, 0.0, interrupted)
    if isinstance(answer[0], Exception):
        raise SolverError(f"{solver} failed: {answer[0]}") from answer[0]
    return _read(answer[0], solver, interrupted)


@contextmanager
def _standard_output_unheard() -> Iterator[None]:
    """What HiGHS prints itself goes nowhere: answers, which may be JSON, are written there.

    HiGHS 1.12 prints a line where it solves again for the values of a solution that it found (`tmpSolver.run()` in
    HighsMipSolverData.cpp), whatever it is told of logs. C keeps it until its buffer is flushed.
    """
    try:
        saved = os.dup(1)
    except OSError:  # it is closed
        yield
        return
    sys.stdout.flush()
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(saved, 1)
        os.close(saved)


def wait_for(
    worker: threading.Thread, limit_s: float, tick: Callable[[], None]
) -> Literal["done", "interrupted", "overdue"]:
    """Wait for a thread, ticking; Ctrl-C and the limit end the wait, not the thread."""
    deadline = time.perf_counter() + limit_s
    try:
        while worker.is_alive():
            worker.join(POLL_S)
            tick()
            if time.perf_counter() > deadline:
                return "overdue"
    except KeyboardInterrupt:
        return "interrupted"
    return "done"


class _Log:
    """What the solver's log has said so far. Until its first line standard error goes nowhere.

    SCIP as built into OR-Tools 9.15 prints an error of its own when it is made interruptible, and then works as asked
    (gscip_event_handler.cc: "SCIPcatchEvent does not support variable or row change events"). That happens before its
    first log line, so we listen again from there on.
    """

    def __init__(self) -> None:
        self.objective, self.bound = math.inf, 0.0
        self._saved: int | None = None

    def hush(self) -> None:
        self._saved = os.dup(2)
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)

    def end_hush(self) -> None:
        if self._saved is not None:
            os.dup2(self._saved, 2)
            os.close(self._saved)
            self._saved = None

    def read(self, lines: Sequence[str]) -> None:
        self.end_hush()
        for line in lines:
            if (said := objective_and_bound(line)) is not None:
                self.objective, self.bound = said[0], max(0.0, said[1])  # prices are not negative


def model_proto(program: Program) -> Any:
    """The program as a MathOpt `ModelProto`, without names, which no solver needs."""
    proto = model_pb2.ModelProto(name="gpuplan")
    n_columns, n_rows = len(program.upper), len(program.row_lower)
    proto.variables.ids.extend(range(n_columns))
    proto.variables.lower_bounds.extend([0.0] * n_columns)
    proto.variables.upper_bounds.extend(program.upper.tolist())
    proto.variables.integers.extend(program.is_integer.tolist())
    priced = np.flatnonzero(program.objective)
    proto.objective.linear_coefficients.ids.extend(priced.tolist())
    proto.objective.linear_coefficients.values.extend(program.objective[priced].tolist())
    proto.linear_constraints.ids.extend(range(n_rows))
    proto.linear_constraints.lower_bounds.extend(program.row_lower.tolist())
    proto.linear_constraints.upper_bounds.extend(program.row_upper.tolist())
    proto.linear_constraint_matrix.row_ids.extend(program.row.tolist())
    proto.linear_constraint_matrix.column_ids.extend(program.column.tolist())
    proto.linear_constraint_matrix.coefficients.extend(program.coefficient.tolist())
    return proto


def _start(hint: FloatArray | None) -> Any:
    parameters = model_parameters_pb2.ModelSolveParametersProto()
    if hint is not None:
        known = np.flatnonzero(~np.isnan(hint))
        values = parameters.solution_hints.add().variable_values
        values.ids.extend(known.tolist())
        values.values.extend(hint[known].tolist())
    return parameters


def _parameters(solver: SolverName, gap: float, time_limit_s: float, seed: int, node_limit: int | None) -> Any:
    parameters = parameters_pb2.SolveParametersProto()
    if node_limit is not None:
        parameters.node_limit = node_limit
    if solver != "glop":
        parameters.relative_gap_tolerance, parameters.absolute_gap_tolerance = gap, 0.0
        parameters.random_seed = seed
    if math.isfinite(time_limit_s):
        parameters.time_limit.FromTimedelta(datetime.timedelta(seconds=max(0.0, time_limit_s)))
    if solver == "scip":
        parameters.threads = 1  # two race, which takes twice the work and ends with either's plan
        # With cuts, which these programs' covering rows do not need, proofs take several times as long (`make bench`).
        parameters.cuts = parameters_pb2.EMPHASIS_OFF
        parameters.heuristics = parameters_pb2.EMPHASIS_LOW  # good plans come from rounding; more takes longer to prove
        parameters.gscip.real_params["numerics/feastol"] = SCIP_FEASIBILITY_TOLERANCE
    if solver == "highs":
        parameters.highs.double_options["mip_feasibility_tolerance"] = HIGHS_FEASIBILITY_TOLERANCE
        parameters.highs.double_options["primal_feasibility_tolerance"] = HIGHS_FEASIBILITY_TOLERANCE
    return parameters


def _read(result: Any, solver: SolverName, interrupted: bool) -> Solution:
    """Why it stopped and what is proven are separate facts; only a proof makes `optimal` or `infeasible`."""
    reason, bounds = result.termination.reason, result.termination.objective_bounds
    if reason in (result_pb2.TERMINATION_REASON_INFEASIBLE, result_pb2.TERMINATION_REASON_INFEASIBLE_OR_UNBOUNDED):
        # Every variable is bounded, so "infeasible or unbounded" is infeasible.
        return Solution("infeasible", None, math.inf, math.inf, interrupted)
    stopped = (
        result_pb2.TERMINATION_REASON_OPTIMAL,
        result_pb2.TERMINATION_REASON_FEASIBLE,
        result_pb2.TERMINATION_REASON_NO_SOLUTION_FOUND,
    )
    if reason not in stopped:
        name = result_pb2.TerminationReasonProto.Name(reason)
        raise SolverError(f"{solver} stopped with {name}: {result.termination.detail}")
    found = [s.primal_solution for s in result.solutions if s.HasField("primal_solution")]
    bound = max(0.0, bounds.dual_bound)  # prices are not negative
    if not found:
        return Solution("no_plan", None, math.inf, bound, interrupted)
    best = found[0]
    values = np.array(best.variable_values.values, float)
    assert list(best.variable_values.ids) == list(range(len(values))), "solvers return every variable, in order"
    outcome: Outcome = "optimal" if reason == result_pb2.TERMINATION_REASON_OPTIMAL else "feasible"
    duals = [s.dual_solution for s in result.solutions if s.HasField("dual_solution")]
    row_duals = np.array(duals[0].dual_values.values, float) if duals else None
    return Solution(outcome, values, best.objective_value, min(bound, best.objective_value), interrupted, row_duals)
