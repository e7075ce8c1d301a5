"""Units: the only place where one is converted into another."""

from __future__ import annotations

GIB = 2**30
"""Bytes of a GiB."""
GB = 10**9
"""Bytes of a decimal GB."""
TERA = 1e12
"""Operations per second in a TFLOPS."""
MS_PER_S = 1e3
HOURS_PER_MONTH = 730.0
"""8760 h / 12: how cloud providers bill a month."""
MONTHS_PER_YEAR = 12.0
HOURS_PER_DAY = 24.0
SECONDS_PER_MINUTE = 60.0
SECONDS_PER_HOUR = 3600.0
W_PER_KW = 1e3
BITS_PER_BYTE = 8
KILO = 10**3
MEGA = 10**6
BILLION = 10**9
KIBI = 2**10
MEBI = 2**20


def format_usd(amount: float) -> str:
    """`$1,234.56`, cents left out from a thousand on; `−$5,000` below zero."""
    shown = f"${abs(amount):,.0f}" if abs(amount) >= 1000 else f"${abs(amount):,.2f}"
    return f"−{shown}" if amount < 0 else shown
