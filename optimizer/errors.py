"""The error tree.

GpuplanError
├── InputError          a scenario, plan, catalog file or argument that cannot be used (exit code 3)
│   └── NotSupportedYet a scenario key that is understood but not solved by this version (exit code 3)
├── UnsoundPlan         a plan that breaks promises, of which nothing is made (exit code 1)
└── SolverError         no backend gave an answer that verifies (exit code 1)

An infeasible scenario or a spent time limit is an answer, not an error: see `Layout.status`.
"""

from __future__ import annotations

from catalog.errors import Fault, GpuplanError, InputError, Location

__all__ = ["Fault", "GpuplanError", "InputError", "Location", "NotSupportedYet", "SolverError", "UnsoundPlan"]


class NotSupportedYet(InputError):  # noqa: N818 - it says what it is
    """The scenario asks for something this version checks but does not solve."""


class UnsoundPlan(GpuplanError):  # noqa: N818 - it says what it is
    """A plan breaks promises; the message lists them."""


class SolverError(GpuplanError):
    """A solver crashed or returned nonsense, and so did the one tried instead."""
