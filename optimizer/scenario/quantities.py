"""Quantities: text with a unit, such as `350ms` or `$2.40/gpu/h`, to a number in one unit and back without loss.

Arithmetic is decimal, so `40%` is exactly what Python reads as 0.4, and what `Quantity.text` writes reads back to the
same float.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Context, Decimal

from catalog.units import (
    GB,
    GIB,
    HOURS_PER_DAY,
    HOURS_PER_MONTH,
    KIBI,
    KILO,
    MEBI,
    MEGA,
    MONTHS_PER_YEAR,
    MS_PER_S,
    SECONDS_PER_HOUR,
    SECONDS_PER_MINUTE,
    W_PER_KW,
)
from optimizer.scenario.words import listed, shown

_NUMBER = re.compile(r"(-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")
_NUMBER_PATTERN = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_LONGEST_NUMBER = 60
"""Characters; a longer one is a mistake or an attack."""
_LARGEST_EXPONENT = 18
"""Nothing that is planned reaches 10^18 of any unit, or needs finer steps than 10^-18."""
_EXACT = Context(prec=60)
MULTIPLIERS: Mapping[str, Decimal] = {
    "Ki": Decimal(KIBI),
    "Mi": Decimal(MEBI),
    "k": Decimal(KILO),
    "M": Decimal(MEGA),
    "B": Decimal(KILO * MEGA),
}
"""`k M B` are powers of 1000, `Ki Mi` of 1024."""
PER_GPU = "/gpu"
_OTHER_CURRENCY = re.compile(r"\b(USD|EUR|GBP|JPY|CNY|RMB|CHF|INR|CAD|AUD)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """A kind of number: the units it may be written in and the one that programs compute in."""

    noun: str
    """With its article, such as `a duration`."""
    examples: tuple[str, ...]
    units: Mapping[str, Decimal]
    """Unit as written -> its size; `""` allows a bare number."""
    one: Decimal
    """Size of the unit that programs compute in."""
    written: str
    """Unit of the canonical text."""
    currency: bool = False
    """Written with a leading `$`."""
    multiplied: bool = False
    """Takes `k M B Ki Mi`."""

    def parse(self, value: object) -> float:
        """The number in the unit that programs compute in; ValueError says what is wrong and how it is written."""
        number, unit = self.split(value)
        assert PER_GPU not in unit, "`per_server` comes first"
        return float(_EXACT.divide(_EXACT.multiply(number, self.units[unit]), self.one))

    def text(self, value: float) -> str:
        """Canonical text: `parse(text(value)) == value` for every finite float."""
        size = _EXACT.divide(_EXACT.multiply(Decimal(repr(float(value))), self.one), self.units[self.written])
        return f"{'$' if self.currency else ''}{plain_number(size)}{self.written}"

    def split(self, value: object) -> tuple[Decimal, str]:
        """Number (multiplier applied) and unit as written."""
        text = self._readable(value)
        if self.currency:
            text = self._without_currency(text)
        match = _NUMBER.match(text)
        if match is None:
            raise ValueError(f"{shown(value)} is not {self.noun}; write it as {listed(self.examples)}")
        rest = text[match.end() :]
        unit, factor = self._unit_of(rest)
        if unit is None:
            raise ValueError(self._wrong_unit(value, rest))
        return _EXACT.multiply(_finite(match[1]), factor), unit

    def pattern(self) -> str:
        """A regular expression (ECMA) of what `parse` accepts."""
        multiplier = f"(?:{'|'.join(MULTIPLIERS)})?\\s*" if self.multiplied else ""
        units = "|".join(re.escape(unit).replace("/", r"\/") for unit in self.units)
        return rf"^{'[$]' if self.currency else ''}-?{_NUMBER_PATTERN}\s*{multiplier}(?:{units})$"

    def _readable(self, value: object) -> str:
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, int | float) and not isinstance(value, bool):
            short = isinstance(value, float) or value.bit_length() < _LONGEST_NUMBER
            return repr(value) if short else "9" * (_LONGEST_NUMBER + 1)
        raise ValueError(f"{self.noun} is expected, such as {listed(self.examples)}; this is {shown(value)}")

    def _without_currency(self, text: str) -> str:
        if text.startswith("$"):
            return text[1:]
        if any(unicodedata.category(character) == "Sc" for character in text) or _OTHER_CURRENCY.search(text[:100]):
            raise ValueError(
                f"{shown(text)} is not in US dollars; all money is in one currency, written {listed(self.examples)}"
            )
        raise ValueError(
            f"{self.noun} needs its currency and unit, such as {listed(self.examples)}; this is {shown(text)}"
        )

    def _unit_of(self, rest: str) -> tuple[str | None, Decimal]:
        if rest in self.units:
            return rest, Decimal(1)
        for multiplier, factor in MULTIPLIERS.items() if self.multiplied else ():
            if rest.startswith(multiplier) and (unit := rest[len(multiplier) :].lstrip()) in self.units:
                return unit, factor
        return None, Decimal(1)

    def _wrong_unit(self, value: object, rest: str) -> str:
        if not rest:
            return f"{self.noun} needs its unit, such as {listed(self.examples)}; {shown(value)} has none"
        if not any(self.units):
            return f"{shown(value)} is not {self.noun}; write it as {listed(self.examples)}"
        units = listed(unit for unit in self.units if unit)
        return f"{shown(value)} is not {self.noun}: its unit is {units}, as in {listed(self.examples)}"


def plain_number(number: Decimal) -> str:
    """Digits without exponent and without trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def per_server(price: Quantity, value: object, gpus_per_server: int) -> object:
    """A price per GPU (`$2.40/gpu/h`) as one per server; anything else as it was."""
    try:
        number, unit = price.split(value)
    except ValueError:
        return value
    if PER_GPU not in unit:
        return value
    amount = plain_number(_EXACT.multiply(number, Decimal(gpus_per_server)))
    return f"{'$' if price.currency else ''}{amount}{unit.replace(PER_GPU, '/server')}"


def _finite(digits: str) -> Decimal:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"the number is too long or too large; at most {_LONGEST_NUMBER} characters are read")
    number = Decimal(digits)
    if number and abs(number.adjusted()) > _LARGEST_EXPONENT:
        size = "large" if number.adjusted() > 0 else "small"
        limits = f"1e-{_LARGEST_EXPONENT} to 1e{_LARGEST_EXPONENT}"
        raise ValueError(f"{digits} is too {size} to be meant; numbers from {limits} are read")
    return number


def _sizes(**sizes: float) -> dict[str, Decimal]:
    return {unit: Decimal(str(size)) for unit, size in sizes.items()}


_SECONDS = _sizes(
    ms=1 / MS_PER_S,
    s=1,
    min=SECONDS_PER_MINUTE,
    h=SECONDS_PER_HOUR,
    d=SECONDS_PER_HOUR * HOURS_PER_DAY,
    mo=SECONDS_PER_HOUR * HOURS_PER_MONTH,
    yr=SECONDS_PER_HOUR * HOURS_PER_MONTH * MONTHS_PER_YEAR,
)
_HOURS = _sizes(h=1, mo=HOURS_PER_MONTH, yr=HOURS_PER_MONTH * MONTHS_PER_YEAR)
_ONE = Decimal(1)


def _under(prefix: str, sizes: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Prices and rates: so much per unit of time."""
    return {f"{prefix}/{unit}": _ONE / size for unit, size in sizes.items()}


DURATION_MS = Quantity("a duration", ("350ms", "2s"), _SECONDS, _SECONDS["ms"], "ms")
DURATION_S = replace(DURATION_MS, examples=("20s", "5min"), one=_SECONDS["s"], written="s")
DURATION_HOURS = replace(DURATION_MS, examples=("8h", "24h"), one=_SECONDS["h"], written="h")
DURATION_MONTHS = replace(DURATION_MS, examples=("12mo", "3yr"), one=_SECONDS["mo"], written="mo")
RATE = Quantity(
    "a rate",
    ("6/s", "90/min", "2k/h"),
    {f"/{unit}": _EXACT.divide(_ONE, _SECONDS[unit]) for unit in ("s", "min", "h", "d")},
    _ONE,
    "/s",
    multiplied=True,
)
RATIO = Quantity("a ratio", ("40%", "2.5x"), {"%": Decimal("0.01"), "x": _ONE}, _ONE, "%")
FACTOR = replace(RATIO, examples=("2.5x", "150%"), written="x")
PER_YEAR = Quantity("a yearly rate", ("8%/yr",), {"%/yr": Decimal("0.01")}, _ONE, "%/yr")
PER_PERIOD = Quantity("a growth", ("10%/period",), {"%/period": Decimal("0.01")}, _ONE, "%/period")
PER_HOUR = Quantity("an hourly probability", ("5%/h",), {"%/h": Decimal("0.01")}, _ONE, "%/h")
NUMBER = Quantity("a number", ("5", "0.4"), {"": _ONE}, _ONE, "")
COUNT = Quantity("a whole number", ("8", "16k"), {"": _ONE}, _ONE, "", multiplied=True)
MONEY = Quantity("an amount", ("$40k", "$1.2M"), {"": _ONE}, _ONE, "", currency=True, multiplied=True)
MONEY_PER_MONTH = replace(MONEY, noun="a monthly amount", units={"": _ONE, "/mo": _ONE})
PRICE_PER_HOUR = Quantity(
    "a price",
    ("$2.40/gpu/h", "$19.2/server/h"),
    _under("/server", _HOURS) | _under("/gpu", _HOURS),
    _ONE,
    "/server/h",
    currency=True,
    multiplied=True,
)
PRICE_OF_SERVER = Quantity(
    "a price",
    ("$265k/server", "$30k/gpu"),
    {"/server": _ONE, "/gpu": _ONE},
    _ONE,
    "/server",
    currency=True,
    multiplied=True,
)
OPEX = Quantity(
    "a monthly cost",
    ("$450/server/mo",),
    {"/server/mo": _ONE, "/server/yr": _EXACT.divide(_ONE, Decimal(str(MONTHS_PER_YEAR)))},
    _ONE,
    "/server/mo",
    currency=True,
    multiplied=True,
)
ENERGY_PRICE = Quantity("an energy price", ("$0.11/kWh",), {"/kWh": _ONE}, _ONE, "/kWh", currency=True)
_KILOWATTS = {"kW": _ONE, "W": _EXACT.divide(_ONE, Decimal(str(W_PER_KW))), "MW": Decimal(KILO)}
POWER_KW = Quantity("a power", ("60kW", "1.2MW"), _KILOWATTS, _ONE, "kW")
POWER_OF_SERVER_KW = Quantity(
    "a power",
    ("10kW/server", "700W/gpu"),
    {f"{unit}/{per}": size for per in ("server", "gpu") for unit, size in _KILOWATTS.items()},
    _ONE,
    "kW/server",
)
MEMORY_GIB = Quantity(
    "a memory size",
    ("24GiB", "80GB"),
    {"GiB": Decimal(GIB), "MiB": Decimal(MEBI), "GB": Decimal(GB), "MB": Decimal(MEGA)},
    Decimal(GIB),
    "GiB",
)
NETWORK = Quantity("a network speed", ("400Gbit/s",), {"Gbit/s": _ONE}, _ONE, "Gbit/s")
