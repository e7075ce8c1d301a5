"""What every catalog entry shares: frozen and closed, with labelled sources."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(strict=True, gt=0)]
PositiveFloat = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, ge=0, le=1)]


class Entry(BaseModel):
    """Frozen, and closed: an unknown key is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Label(StrEnum):
    """How a fact is known, best first."""

    MEASURED = "measured"
    PUBLISHED = "published"
    COMPUTED = "computed"
    RECALLED = "recalled"
    ESTIMATED = "estimated"


class Source(Entry):
    """Where a fact comes from."""

    text: str = Field(min_length=1)
    """Document, log, package or person, as precisely as known."""
    url: str | None = None
    retrieved: date | None = None
    label: Label = Label.PUBLISHED
    fields: tuple[str, ...] = ()
    """The fields it backs; empty = all that no other source names."""
