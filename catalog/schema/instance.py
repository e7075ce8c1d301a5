"""Cloud instances and their dated prices."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field

from catalog.schema.base import Entry

Count = Annotated[int, Field(gt=0)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""Unlike elsewhere in the catalog text is read as a number here: the cells of a table are text."""


class Instance(Entry):
    """A rentable server type in a region at a dated price, USD per hour for the whole server."""

    kind: Literal["instance"] = "instance"
    id: str
    """provider/region/instance_type."""
    gpu: str
    provider: str
    region: str
    instance_type: str
    gpus: Count
    vcpus: Count | None = None
    ram_gib: Amount | None = None
    on_demand_usd_per_hour: Amount | None = None
    spot_usd_per_hour: Amount | None = None
    """One moment's minimum: an input, not a fact."""
    reserved_1y_usd_per_hour: Amount | None = None
    reserved_3y_usd_per_hour: Amount | None = None
    link_domain_gpus: Count | None = None
    """GPUs joined by NVLink, across servers in a rack; 1 = none, null = not stated: what the card has."""
    network_gbit_per_s: Amount | None = None
    date: datetime.date
    """When the price held; its first day where `date_precision` is a month or a year."""
    date_precision: Literal["day", "month", "year"]
    source: str = Field(min_length=1)
    note: str = ""

    @property
    def dated(self) -> str:
        """The date as precisely as it is known: `2026-08-03`, `2026-08` or `2026`."""
        return self.date.isoformat()[: {"day": 10, "month": 7, "year": 4}[self.date_precision]]
