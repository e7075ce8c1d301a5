"""Which performance model a calibration asks for, what it knows, and what predictions made with it are called."""

from __future__ import annotations

import numpy as np

from catalog.schema import Calibration
from optimizer.performance.kernel_tables import silicon_version
from optimizer.performance.silicon import silicon_knows, silicon_times
from optimizer.performance.step import CALIBRATED, PerformanceModel
from optimizer.serving_config import BoolArray, Configurations


def performance_model(configurations: Configurations, calibration: Calibration) -> PerformanceModel:
    """What times the steps of n configurations; InputError for one that it does not know."""
    return CALIBRATED if calibration.performance == "calibrated" else silicon_times(configurations, calibration)


def times_known(configurations: Configurations, calibration: Calibration) -> BoolArray:
    """[n] those that the performance model knows: all, unless it takes times from tables."""
    if calibration.performance == "calibrated":
        return np.ones(len(configurations), np.bool_)
    return silicon_knows(configurations)


def source_of(calibration: Calibration) -> str:
    """What predictions rest on, as plans name it."""
    if calibration.performance == "calibrated":
        return calibration.id
    return f"{calibration.id} with steps of aiconfigurator-core {silicon_version()}"
