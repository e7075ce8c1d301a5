"""A user's own benchmarks as a calibration: results read, anchors fitted, a file written and used."""

from optimizer.calibration.calibrate import Calibrated, calibrate
from optimizer.calibration.facts import Facts, measurements, read_side_file
from optimizer.calibration.own_file import catalog_with_calibration
from optimizer.calibration.results import read_results

__all__ = [
    "Calibrated",
    "Facts",
    "calibrate",
    "catalog_with_calibration",
    "measurements",
    "read_results",
    "read_side_file",
]
