"""What every method of solving takes and gives, whatever it does inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from optimizer.serving_config import FloatArray, IntArray

Outcome = Literal["optimal", "feasible", "infeasible", "no_plan"]


class Occupied(NamedTuple):
    """A server that runs something."""

    number: int
    """Of the offer's servers, counted through its racks."""
    rack: str
    """Empty where the offer names none."""
    candidates: tuple[int, ...]
    """Of the replicas on it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to run and what to have."""

    n_replicas: IntArray  # [K]
    load_share: FloatArray  # [L] of each class's demand
    n_servers: IntArray  # [H]
    servers: Mapping[int, tuple[Occupied, ...]] = field(default_factory=dict)
    """Offer -> its servers that run something, where it matters which replicas stand together."""
    n_ordered: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))  # [O]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a solver may stop, and what it draws from."""

    gap: float = 0.0
    time_limit_s: float = math.inf
    seed: int = 0


@dataclass(frozen=True, slots=True)
class State:
    """How far a method is: the best plan so far and what is proven, USD per hour."""

    usd_per_hour: float
    """Infinite before the first plan."""
    bound_usd_per_hour: float

    @property
    def gap(self) -> float:
        """(cost − bound) / cost; 1 before the first plan."""
        cost = self.usd_per_hour
        return 1.0 if math.isinf(cost) else 0.0 if cost <= 0 else max(0.0, 1.0 - self.bound_usd_per_hour / cost)


Progress = Callable[[State], None]
"""Called some times a second while a method runs."""


@dataclass(frozen=True, slots=True)
class Start:
    """Replicas to begin from, perhaps of an earlier plan; they need not carry everything."""

    n_replicas: IntArray  # [K]
    n_servers: IntArray  # [H]


@dataclass(frozen=True, slots=True)
class Answer:
    """Why it stopped and what is proven, with the decision if there is one."""

    outcome: Outcome
    decision: Decision | None
    bound_usd_per_hour: float
    solver: str
    """Who proved it: the solver of the whole program, or `columns`."""
    interrupted: bool = False
    warnings: tuple[str, ...] = ()
