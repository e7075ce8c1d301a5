"""Time and chance: equal periods over the horizon, what later money is worth at its start, how likely each future is.

A *state* is a period of a future: state f · T + t is period t of future f. Without demand scenarios there is but one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from catalog.units import MONTHS_PER_YEAR
from optimizer.scenario import Scenario

ROUNDING = 1e-9
"""Of a quotient of durations that are stated as decimals: three terms of 12mo cover 36mo exactly."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """The span that cost is counted over, in `n_periods` equal parts; periods and states are counted from 0."""

    months: float
    n_periods: int
    discount_rate_per_year: float
    future_names: tuple[str, ...]  # empty without demand scenarios
    probabilities: tuple[float, ...]  # of each future; one that is certain without demand scenarios

    @classmethod
    def of(cls, scenario: Scenario) -> Horizon:
        futures = scenario.demand_scenarios
        return cls(
            months=scenario.horizon_months,
            n_periods=scenario.periods,
            discount_rate_per_year=scenario.discount_rate_per_year or 0.0,
            future_names=tuple(futures),
            probabilities=tuple(future.probability_fraction for future in futures.values()) or (1.0,),
        )

    @property
    def n_futures(self) -> int:
        return len(self.probabilities)

    @property
    def n_states(self) -> int:
        return self.n_futures * self.n_periods

    @property
    def has_orders(self) -> bool:
        """Whether purchases and commitments are decisions of their own, made before it is known what is needed."""
        return self.n_periods > 1 or bool(self.future_names)

    def period_of(self, state: int) -> int:
        return state % self.n_periods

    def future_of(self, state: int) -> int:
        return state // self.n_periods

    @property
    def period_months(self) -> float:
        return self.months / self.n_periods

    def present(self, month: float) -> float:
        """What a dollar of that month is worth at the start."""
        return float((1 + self.discount_rate_per_year) ** (-month / MONTHS_PER_YEAR))

    def present_in(self, period: int) -> float:
        """What a dollar paid over a period is worth: as if all were paid in its middle."""
        return self.present((period + 0.5) * self.period_months)

    def weight(self, state: int) -> float:
        """What a dollar an hour in a state adds to the expected dollars an hour over the horizon."""
        return self.probabilities[self.future_of(state)] * self.present_in(self.period_of(state)) / self.n_periods

    def whole_periods(self, months: float) -> int:
        """Periods that lie within so many months."""
        return math.floor(months / self.period_months + ROUNDING)

    def started_periods(self, months: float) -> int:
        """Periods that have begun or are over after so many months: the first one to begin no earlier."""
        return math.ceil(months / self.period_months - ROUNDING)

    def suffix(self, state: int) -> str:
        """What names of rows and columns of a state end in: its future and period, from 1, where there are several."""
        future = f",{self.future_names[self.future_of(state)]}" if self.n_futures > 1 else ""
        return future if self.n_periods == 1 else f"{future},{self.period_of(state) + 1}"


def whole_terms(months: float, term_months: float) -> int:
    """Terms of a reservation that cover so many months of use."""
    return math.ceil(months / term_months - ROUNDING)
