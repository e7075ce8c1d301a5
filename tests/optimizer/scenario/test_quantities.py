"""Quantities: what is read, what is written, and that nothing is lost between."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.scenario import quantities
from optimizer.scenario.quantities import Quantity, per_server

ALL = {name: value for name, value in vars(quantities).items() if isinstance(value, Quantity)}


@pytest.mark.parametrize(
    ("quantity", "text", "number"),
    [
        ("DURATION_MS", "350ms", 350.0),
        ("DURATION_MS", "2s", 2000.0),
        ("DURATION_MS", " 1.5 s ", 1500.0),
        ("DURATION_S", "5min", 300.0),
        ("DURATION_HOURS", "8h", 8.0),
        ("DURATION_MONTHS", "3yr", 36.0),
        ("DURATION_MONTHS", "730h", 1.0),  # 8760 h a year / 12
        ("RATE", "90/min", 1.5),
        ("RATE", "2k/h", 2000 / 3600),
        ("RATE", "86.4k/d", 1.0),
        ("RATIO", "40%", 0.4),
        ("RATIO", "0.4x", 0.4),
        ("FACTOR", "250%", 2.5),
        ("PER_YEAR", "8%/yr", 0.08),
        ("COUNT", "16k", 16_000.0),
        ("COUNT", "16Ki", 16_384.0),
        ("COUNT", "900M", 9e8),
        ("COUNT", "1.5B", 1.5e9),
        ("COUNT", 1800, 1800.0),
        ("MONEY", "$1.2M", 1.2e6),
        ("MONEY_PER_MONTH", "$40k/mo", 40_000.0),
        ("PRICE_PER_HOUR", "$19.2/server/h", 19.2),
        ("PRICE_PER_HOUR", "$1460/server/mo", 2.0),  # 1460 / 730
        ("PRICE_OF_SERVER", "$265k/server", 265_000.0),
        ("OPEX", "$5400/server/yr", 450.0),
        ("POWER_KW", "1.2MW", 1200.0),
        ("POWER_OF_SERVER_KW", "700W/server", 0.7),
        ("MEMORY_GIB", "24GiB", 24.0),
        ("MEMORY_GIB", "80GB", 80e9 / 2**30),
        ("NUMBER", 1.35, 1.35),
    ],
)
def test_a_quantity_is_read_in_the_unit_of_its_name(quantity: str, text: object, number: float) -> None:
    assert ALL[quantity].parse(text) == number


@pytest.mark.parametrize(
    ("quantity", "value", "words"),
    [
        ("DURATION_MS", 350, "needs its unit, such as 350ms or 2s"),
        ("DURATION_MS", "3m", "its unit is ms, s, min, h, d, mo or yr"),
        ("DURATION_MS", True, "is expected, such as 350ms"),
        ("DURATION_MS", {"p50": 1}, "this is a mapping"),
        ("RATE", "6 per second", "its unit is /s, /min, /h or /d"),
        ("RATE", "1_000/s", "its unit is /s"),
        ("RATE", "٣/s", "is not a rate"),  # digits of other scripts look like something else
        ("COUNT", "16K", "is not a whole number; write it as 8 or 16k"),
        ("COUNT", "0x10", "is not a whole number"),
        ("COUNT", float("nan"), "nan is not a whole number"),
        pytest.param("COUNT", 10**5000, "too long or too large", id="an integer too long to print"),
        ("COUNT", "1e30", "too large to be meant"),
        ("COUNT", "1e-30", "too small to be meant"),
        ("MONEY", "2.40", "needs its currency and unit"),
        ("MONEY", "EUR 3", "not in US dollars"),
        ("MONEY", "£3", "not in US dollars"),
        ("MONEY", "$4,000", "is not an amount"),
    ],
)
def test_what_is_not_the_quantity_is_refused_with_what_to_write(quantity: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        ALL[quantity].parse(value)


@pytest.mark.parametrize("name", ALL)
@given(number=st.floats(min_value=1e-9, max_value=1e12) | st.just(0.0))
def test_canonical_text_reads_back_to_the_same_float(name: str, number: float) -> None:
    quantity = ALL[name]
    assert quantity.parse(quantity.text(number)) == number


@pytest.mark.parametrize("name", ALL)
@given(number=st.floats(min_value=1e-6, max_value=1e9))
def test_the_schema_pattern_accepts_canonical_text(name: str, number: float) -> None:
    assert re.search(ALL[name].pattern(), ALL[name].text(number))


@pytest.mark.parametrize("name", ALL)
def test_the_examples_in_messages_are_accepted(name: str) -> None:
    for example in ALL[name].examples:
        assert math.isfinite(ALL[name].parse(per_server(ALL[name], example, 8)))
        assert re.search(ALL[name].pattern(), example)


@given(text=st.text(max_size=30))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    for quantity in ALL.values():
        try:
            assert math.isfinite(quantity.parse(per_server(quantity, text, 8)))
        except ValueError as error:
            assert str(error)  # noqa: PT017 - both outcomes are fine


def test_a_price_per_gpu_becomes_one_per_server_exactly() -> None:
    # 2.40 × 3 = 7.20; in floats it would be 7.199999999999999
    assert per_server(quantities.PRICE_PER_HOUR, "$2.40/gpu/h", 3) == "$7.2/server/h"
    assert per_server(quantities.PRICE_OF_SERVER, "$30k/gpu", 8) == "$240000/server"
    assert per_server(quantities.POWER_OF_SERVER_KW, "700W/gpu", 8) == "5600W/server"


@pytest.mark.parametrize("value", ["$19.2/server/h", "2.40", None, 3])
def test_what_is_no_price_per_gpu_stays_as_it_is(value: object) -> None:
    assert per_server(quantities.PRICE_PER_HOUR, value, 8) is value
