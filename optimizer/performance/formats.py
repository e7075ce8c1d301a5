"""Which formats of weights are computed alike and read no slower than others, whatever is sent."""

from __future__ import annotations

import numpy as np

from catalog.schema import Calibration
from optimizer.memory import with_draft
from optimizer.performance.constants import row_constants
from optimizer.performance.rates import compute_rates
from optimizer.performance.tables import DraftTables, ModelTables, draft_tables, tables_of
from optimizer.performance.traits import TraitRows, format_kinds, traits_of
from optimizer.performance.work import LINKS, PCIE
from optimizer.serving_config import BoolArray, Configurations, FloatArray

ROUNDING = 1e-12


def weights_no_slower(cards: Configurations, calibration: Calibration) -> BoolArray:
    """[cards, W, W'] whether replicas in format W' are at least as fast as in W at every degree, batch and request.

    So they are with the same constants, the same arithmetic and no more bytes in each of the shares that a rank has.
    Tables of measured kernels tell of each format by itself.
    """
    n_cards, n = len(cards.gpus), len(cards.weight_formats)
    if calibration.performance != "calibrated":
        return np.broadcast_to(np.eye(n, dtype=bool), (n_cards, n, n))
    alike = _same_constants(cards, calibration)
    for tables in _tables(cards):
        read, compute_ms = tables.weight_bytes, _compute_ms(cards, tables)
        alike &= (read <= read[:, None] * (1.0 + ROUNDING)).all(axis=-1)
        alike &= np.isclose(compute_ms[:, None], compute_ms[:, :, None], rtol=ROUNDING, atol=0.0).all(axis=-1)
    return alike


def caches_no_slower(cards: Configurations) -> BoolArray:
    """[K, K'] whether a cache of type K' is read at least as fast as one of K."""
    value_bytes = np.array([one.bytes_per_value for one in cards.kv_formats])
    no_slower: BoolArray = value_bytes <= value_bytes[:, None]
    return no_slower


def _tables(cards: Configurations) -> list[ModelTables | DraftTables]:
    """Of the model, and of the head that drafts where there is one; a model that drafts is in 16 bit always."""
    model, formats, drafts = cards.model, cards.weight_formats, cards.speculation
    if drafts is None or drafts.method in ("ngram", "draft_model"):
        return [tables_of(model, formats)]
    return [tables_of(model, formats), draft_tables(model, with_draft(model, drafts.method), formats)]


def _compute_ms(cards: Configurations, tables: ModelTables | DraftTables) -> FloatArray:
    """[cards, W, shares] a token's matrix products, in proportion."""
    quantized, plain = compute_rates(cards)
    of_format: FloatArray = tables.quantized_flops / quantized[..., None] + tables.plain_flops / plain[:, None, None]
    return of_format


def _same_constants(cards: Configurations, calibration: Calibration) -> BoolArray:
    """[cards, W, W'] on every link that may join the ranks of a stage, in pipelines and without."""
    n_links = PCIE + 1 if all(cards.links_of_cards) else len(LINKS)  # on an offer, a stage never leaves its server
    kinds, kind = format_kinds(cards)
    present = np.zeros((len(cards.gpus), len(kinds)), bool)
    present[np.arange(len(kind))[:, None], kind] = True
    card, of_kind = np.nonzero(present)
    which = (card.repeat(n_links), of_kind.repeat(n_links), np.tile(np.arange(n_links), len(card)))
    traits = traits_of(cards, calibration, kinds, which)
    rows = TraitRows(traits, np.tile(np.arange(len(traits)), 2), np.repeat([False, True], len(traits)))
    columns = np.broadcast_arrays(*row_constants(rows, calibration).columns(), rows.row)[:-1]
    constants = np.full((*present.shape, len(columns) * 2 * n_links), np.nan)
    by_card = np.stack(columns).reshape(-1, len(card), n_links).swapaxes(0, 1)
    constants[card, of_kind] = by_card.reshape(len(card), -1)
    same = (constants[:, None] == constants[:, :, None]).all(axis=-1)
    alike: BoolArray = same[np.arange(len(kind))[:, None, None], kind[:, :, None], kind[:, None, :]]
    return alike
