"""What the constants of each configuration depend on: its traits, of which many configurations share a few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.schema import Calibration, Gpu, WeightFormat
from catalog.schema.calibration import Traits
from optimizer.performance.tables import tables_of
from optimizer.performance.work import LINKS, links_of
from optimizer.serving_config import BoolArray, Configurations, IntArray, of_cards

WIDE_BITS, NARROW_BITS = 12.0, 6.0
"""Above, weights count as 16 bit; below, as 4 bit."""


@dataclass(frozen=True, slots=True)
class TraitRows:
    """The distinct traits among n configurations, and which each has."""

    traits: tuple[Traits, ...]
    row: IntArray  # [n] index into traits
    pipelined: BoolArray  # [n] on more than one stage


def trait_rows(configurations: Configurations, calibration: Calibration) -> TraitRows:
    """What the constants of each configuration depend on."""
    within_stage, _ = links_of(configurations, calibration)
    number: dict[int, int] = {}
    card = np.array([number.setdefault(id(gpu), at) for at, gpu in enumerate(configurations.gpus)])
    kinds, kind = format_kinds(configurations)
    of_format = kind[configurations.gpu, configurations.weight_format]
    code = (card[configurations.gpu] * len(kinds) + of_format) * len(LINKS) + within_stage
    counts = np.bincount(code)
    present, row_of_code = np.flatnonzero(counts), np.zeros(len(counts), np.int64)
    row_of_code[present] = np.arange(len(present))
    which = np.unravel_index(present, (len(card), len(kinds), len(LINKS)))
    return TraitRows(traits_of(configurations, calibration, kinds, which), row_of_code[code], configurations.pp > 1)


def format_kinds(configurations: Configurations) -> tuple[list[tuple[str, str]], IntArray]:
    """The kinds of weights by width and type of matrix products, and [cards, formats] that of each format on a card."""
    engine, number = configurations.engine.id, dict[tuple[str, str], int]()
    kind = of_cards(
        configurations.gpus,
        lambda gpu: [
            number.setdefault((weights_class(one), compute_class(one, engine, gpu)), len(number))
            for one in configurations.weight_formats
        ],
    )
    return list(number), np.array(kind, np.int64)


def traits_of(
    configurations: Configurations,
    calibration: Calibration,
    kinds: Sequence[tuple[str, str]],
    which: tuple[IntArray, ...],
) -> tuple[Traits, ...]:
    """The traits of some cards, kinds of formats and links, by their indices [m]."""
    engine = configurations.engine.id
    era = calibration.era_of(engine, configurations.engine_version)
    attention = tables_of(configurations.model, configurations.weight_formats).attention_kind
    generation = of_cards(configurations.gpus, generation_of)
    return tuple(
        Traits(
            engine=engine,
            era=era,
            gpu=configurations.gpus[card].id,
            generation=generation[card],
            weights=kinds[kind][0],
            compute=kinds[kind][1],
            attention=attention,
            link=LINKS[link],
            model=configurations.model.id,
        )
        for card, kind, link in zip(*(index.tolist() for index in which), strict=True)
    )


def generation_of(gpu: Gpu) -> str:
    """Architecture and kind of memory, which together set how a card behaves: `hopper`, `blackwell-gddr`."""
    architecture = gpu.architecture.split()[0].lower()
    if gpu.unified_memory:
        return f"{architecture}-unified"
    return architecture if gpu.memory_type.startswith("HBM") else f"{architecture}-gddr"


def weights_class(weight_format: WeightFormat) -> str:
    """Width of the quantized weights, to the nearest that kernels differ by."""
    if not weight_format.quantizes or weight_format.bits_per_weight > WIDE_BITS:
        return "16bit"
    return "8bit" if weight_format.bits_per_weight > NARROW_BITS else "4bit"


def compute_class(weight_format: WeightFormat, engine: str, gpu: Gpu) -> str:
    """Type of the matrix products; bf16 and fp16 run alike."""
    dtype = weight_format.compute_dtype(engine, gpu)
    return dtype if dtype in ("fp8", "int8", "fp4") else "16bit"
