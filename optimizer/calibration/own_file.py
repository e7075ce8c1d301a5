"""A calibration file laid over the catalog, so that predictions use it and plans carry it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from catalog.loader import Catalog, load_catalog
from optimizer.errors import Fault, InputError, Location


def catalog_with_calibration(extra: Sequence[Path], calibration: Path) -> Catalog:
    """The shipped catalog under the user's overlays and the calibration that `gpuplan calibrate` wrote into a file."""
    catalog = load_catalog(extra=(*extra, calibration))
    if calibration.is_dir() or catalog.own[-1]["kind"] != "calibration":
        message = "not a calibration; expected the file that `gpuplan calibrate -O FILE` wrote"
        raise InputError([Fault(message, Location(str(calibration)))])
    return catalog
