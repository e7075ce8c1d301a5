"""The calibration's constants for each configuration, as arrays; slower ones where a plan is to be on the safe side."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from catalog.schema import Calibration
from optimizer.performance.bands import POINT_ESTIMATE, margins_of
from optimizer.performance.traits import TraitRows
from optimizer.serving_config import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class RowConstants:
    """The fields of `catalog.schema.calibration.Constants`, each a number or an array [n]."""

    weight_read_efficiency: FloatArray
    expert_read_efficiency: FloatArray
    kv_read_efficiency: FloatArray
    compute_efficiency: FloatArray
    expert_compute_efficiency: FloatArray
    prefill_efficiency: FloatArray
    expert_prefill_efficiency: FloatArray
    attention_efficiency: FloatArray
    step_ms: FloatArray
    layer_ms: FloatArray
    moe_layer_ms: FloatArray
    latent_layer_ms: FloatArray
    recurrent_layer_ms: FloatArray
    sequence_ms: FloatArray
    all_reduce_ms: FloatArray
    link_efficiency: FloatArray
    all_to_all_ms: FloatArray
    pipeline_ms: FloatArray
    expert_imbalance: FloatArray
    data_parallel_imbalance: FloatArray
    prefill_layer_ms: FloatArray
    prefill_moe_layer_ms: FloatArray
    prefill_latent_layer_ms: FloatArray
    prefill_recurrent_layer_ms: FloatArray
    prefill_interference: FloatArray
    request_ms: FloatArray
    ttft_steps: FloatArray
    waited_prefills: FloatArray
    waited_prefills_per_sequence: FloatArray

    def columns(self) -> list[FloatArray]:
        """Each a number or an array [n]."""
        return [getattr(self, f.name) for f in fields(self)]

    def take(self, rows: IntArray) -> RowConstants:
        """The chosen rows, in that order."""
        return RowConstants(*(value[rows] if np.ndim(value) else value for value in self.columns()))


EFFICIENCIES = tuple(field.name for field in fields(RowConstants) if field.name.endswith("_efficiency"))
TIMES = tuple(field.name for field in fields(RowConstants) if field.name.endswith("_ms"))


def row_constants(rows: TraitRows, calibration: Calibration) -> RowConstants:
    """The constants of each configuration, at the confidence that the calibration is asked for."""
    found = [calibration.constants_for(traits) for traits in rows.traits]
    table = np.array(found).reshape(len(found), len(fields(RowConstants)))
    constants = RowConstants(*(table[0] if len(table) == 1 else table[rows.row].T))
    if calibration.confidence_fraction == POINT_ESTIMATE:
        return constants
    return _slower(constants, rows, calibration)


def _slower(constants: RowConstants, rows: TraitRows, calibration: Calibration) -> RowConstants:
    """Constants at which TPOT and TTFT have their margins.

    Every time grows by TPOT's margin, and with it every latency; rates fall by as much. What belongs to TTFT
    alone grows on to its own margin: what a request spends around its prefill, and the matrix products of a
    prefill, of which others then feel the smaller part that they felt before.
    """
    margins = margins_of(rows, calibration)
    slower, later = margins.tpot, margins.ttft / margins.tpot
    changed = {name: getattr(constants, name) / slower for name in EFFICIENCIES}
    changed |= {name: getattr(constants, name) * slower for name in TIMES}
    changed |= {name: changed[name] / later for name in ("prefill_efficiency", "expert_prefill_efficiency")}
    changed["request_ms"] = changed["request_ms"] * later
    changed["ttft_steps"] = constants.ttft_steps * later
    changed["prefill_interference"] = constants.prefill_interference / later
    return replace(constants, **changed)
