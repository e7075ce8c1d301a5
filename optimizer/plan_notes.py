"""What a plan says beside what to run: how it stands stress, or why there is no plan."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Frozen and closed; every key of a plan is documented under its field."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StressedWorkload(Part):
    """One workload under stress, in the period, and as demand may turn out, in which the least of it is served."""

    name: str
    served_fraction: float
    """Part of the demand then that the plan's replicas carry within every latency target, alike for every class."""
    period: int
    """Counted from 1."""
    future: str | None = None
    """As which demand turns out then; null where it is certain."""
    bound_by: tuple[str, ...] = ()
    """What its replicas are bound by, where it is not served whole: targets that are missed beyond that, `memory` …"""


class Remedy(Part):
    """Another plan that holds under stress and as planned."""

    usd_per_hour_more: float
    """Than the plan."""
    is_proven: bool
    """Whether nothing is cheaper, to 0.1 %; otherwise the time was over first, and it may cost less."""
    servers: tuple[str, ...]
    """`2 × h100-node (rent)`; over several periods the most at a time. Empty where the plan itself holds."""


class Stress(Part):
    """What the plan does when things turn out worse than planned; replicas may then be busy all the time."""

    name: str
    demand_factor: float
    """Requests for each that was planned."""
    speed_factor: float
    """Speed of every replica relative to what was planned; queues and latencies follow."""
    served_fraction: float
    """Part of all demand, of the first period where there are several, as expected where it may turn out in several
    ways."""
    workloads: tuple[StressedWorkload, ...]
    repaired: Remedy | None
    """With what is bought now as it is; null = that cannot be, or was not found in time."""
    robust: Remedy | None
    """Decided anew: the price of robustness is what this costs more."""


class Conflict(Part):
    """A family of constraints that takes part in the contradiction, in the scenario's words."""

    family: str
    index: str | None
    message: str
    location: str | None = None
    """file:line:column of the scenario, where known."""


class Infeasibility(Part):
    """Why there is no plan, and what would help."""

    conflict: tuple[Conflict, ...]
    """Smallest: when any of them is left out, the others can hold together; of a large scenario at least in parts of
    replicas and servers, unless `not_looked_for` says that time was over first."""
    further_conflicts: tuple[tuple[Conflict, ...], ...] = ()
    """Others that have nothing to do with it, each smallest in itself."""
    changes: tuple[str, ...] = ()
    not_looked_for: tuple[str, ...] = ()
    """What the time for the explanation did not reach."""
    rejections: dict[str, dict[str, int]] = {}
    """Workload -> reason -> number of candidates rejected for it."""
