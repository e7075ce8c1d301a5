"""The mixed-integer program: instance → variables → constraint families → program."""

from optimizer.formulation.build import build_program, row_names
from optimizer.formulation.constraints import FAMILIES, Family
from optimizer.formulation.cuts import giving_up
from optimizer.formulation.horizon import Horizon
from optimizer.formulation.instance import Instance, build_instance
from optimizer.formulation.orders import Orders
from optimizer.formulation.program import Program
from optimizer.formulation.terms import HOST_SHARE_OTHER, HOST_SHARE_SXM, ServerTerm, server_power_kw
from optimizer.formulation.variables import Variables, column_names, lay_out

__all__ = [
    "FAMILIES",
    "HOST_SHARE_OTHER",
    "HOST_SHARE_SXM",
    "Family",
    "Horizon",
    "Instance",
    "Orders",
    "Program",
    "ServerTerm",
    "Variables",
    "build_instance",
    "build_program",
    "column_names",
    "giving_up",
    "lay_out",
    "row_names",
    "server_power_kw",
]
