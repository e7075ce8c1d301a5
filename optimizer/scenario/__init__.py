"""The scenario: what must be served and what can be had, read from YAML, JSON or a mapping."""

from optimizer.scenario.faults import render_faults
from optimizer.scenario.inventory import Buy, Failures, Offer, Rent, Reserve, Spot
from optimizer.scenario.json_schema import scenario_schema
from optimizer.scenario.load import load_scenario, parse_scenario
from optimizer.scenario.own_catalog import scenario_catalog, with_own_entries
from optimizer.scenario.scenario import Budget, DemandScenario, Facility, Scenario
from optimizer.scenario.speculation import Speculation
from optimizer.scenario.targets import Target
from optimizer.scenario.traffic import RequestClass, TokenSize
from optimizer.scenario.variants import (
    changed,
    futures_of,
    in_future,
    with_demand,
    with_factors,
    with_offer,
    with_workload,
    without_workloads,
)
from optimizer.scenario.workload import MeasuredReplica, Spare, Workload

__all__ = [
    "Budget",
    "Buy",
    "DemandScenario",
    "Facility",
    "Failures",
    "MeasuredReplica",
    "Offer",
    "Rent",
    "RequestClass",
    "Reserve",
    "Scenario",
    "Spare",
    "Speculation",
    "Spot",
    "Target",
    "TokenSize",
    "Workload",
    "changed",
    "futures_of",
    "in_future",
    "load_scenario",
    "parse_scenario",
    "render_faults",
    "scenario_catalog",
    "scenario_schema",
    "with_demand",
    "with_factors",
    "with_offer",
    "with_own_entries",
    "with_workload",
    "without_workloads",
]
