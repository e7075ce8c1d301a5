"""Time: equal periods over the horizon, and what later money is worth at its start."""

from __future__ import annotations

import math
from dataclasses import dataclass

from catalog.units import MONTHS_PER_YEAR
from optimizer.scenario import Scenario

ROUNDING = 1e-9
"""Of a quotient of durations that are stated as decimals: three terms of 12mo cover 36mo exactly."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """The span that cost is counted over, in `n_periods` equal parts; periods are counted from 0."""

    months: float
    n_periods: int
    discount_rate_per_year: float

    @classmethod
    def of(cls, scenario: Scenario) -> Horizon:
        return cls(scenario.horizon_months, scenario.periods, scenario.discount_rate_per_year or 0.0)

    @property
    def period_months(self) -> float:
        return self.months / self.n_periods

    def present(self, month: float) -> float:
        """What a dollar of that month is worth at the start."""
        return float((1 + self.discount_rate_per_year) ** (-month / MONTHS_PER_YEAR))

    def present_in(self, period: int) -> float:
        """What a dollar paid over a period is worth: as if all were paid in its middle."""
        return self.present((period + 0.5) * self.period_months)

    def weight(self, period: int) -> float:
        """What a dollar an hour over a period adds to the dollars an hour over the horizon."""
        return self.present_in(period) / self.n_periods

    def whole_periods(self, months: float) -> int:
        """Periods that lie within so many months."""
        return math.floor(months / self.period_months + ROUNDING)

    def started_periods(self, months: float) -> int:
        """Periods that have begun or are over after so many months: the first one to begin no earlier."""
        return math.ceil(months / self.period_months - ROUNDING)

    def suffix(self, period: int) -> str:
        """What the names of rows and columns of a period end in, counted from 1; nothing when there is but one."""
        return "" if self.n_periods == 1 else f",{period + 1}"


def whole_terms(months: float, term_months: float) -> int:
    """Terms of a reservation that cover so many months of use."""
    return math.ceil(months / term_months - ROUNDING)
