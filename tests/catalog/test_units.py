"""Conversions and the text of amounts."""

from __future__ import annotations

from catalog import units


def test_a_month_is_a_twelfth_of_a_year_in_hours() -> None:
    # 365 days × 24 h ÷ 12 months = 730 h
    assert 365 * units.HOURS_PER_DAY / units.MONTHS_PER_YEAR == units.HOURS_PER_MONTH


def test_a_gibibyte_is_larger_than_a_gigabyte() -> None:
    # H100: 81559 MiB on nvidia-smi = 79.65 GiB = 85.5 GB
    assert 81559 * units.MEBI / units.GIB == 81559 / 1024
    assert round(81559 * units.MEBI / units.GB, 1) == 85.5


def test_amounts_of_money_drop_their_cents_from_a_thousand_on() -> None:
    assert units.format_usd(4.679) == "$4.68"
    assert units.format_usd(265_000) == "$265,000"
