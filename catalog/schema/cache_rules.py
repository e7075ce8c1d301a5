"""How engines lay their KV caches out: blocks, windows, states, latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from catalog.schema.base import Entry, Fraction, PositiveFloat, PositiveInt


class LatentRow(Entry):
    """Bytes of one token's latent vector in one layer of sparse latent attention, in a layout of its own, on NVIDIA
    cards; on others it is cached as it is."""

    bytes_per_token: PositiveInt
    values_per_token: PositiveInt
    """Of the latent vectors that the layout is made for; others are cached as they are."""
    kv_formats: tuple[str, ...]
    """KV formats that become this layout."""


class CompressedPages(Entry):
    """How DeepSeek-V4's compressed entries, windows and unfinished entries are cut into blocks."""

    block_tokens: PositiveInt
    """Of compressed entries and the indexer's keys."""
    window_block_tokens: PositiveInt
    sparse_block_tokens: PositiveInt
    """Of the unfinished entries of sparse layers."""
    heavy_block_tokens: PositiveInt
    """The same of heavily compressed layers."""
    entry_bytes: PositiveInt
    """Of one compressed entry, and of one token in the window."""
    alignment_bytes: PositiveInt
    """Pages are padded to a multiple of it."""
    weighs_groups: bool
    """Requests are counted by the bytes that the layers of each group hold, divided by those of the compressed entries;
    false = by whole blocks, of which each is as large as the largest."""


class CacheRules(Entry):
    """How an engine lays the KV cache out; bytes a value come from the KV format."""

    latent_block_multiple: PositiveInt = 1
    """Blocks of latent attention that are raised to hold a state are multiples of it."""
    block_tokens: PositiveInt
    windows: Literal["grouped", "separate", "ignored"]
    """Of layers with a window, beside full ones: one pool whose groups of layers are padded to one size (vLLM's hybrid
    manager); each kind on its own, without padding; or cached whole like the others."""
    window_architectures: tuple[str, ...] = ()
    """Only these use `windows`, all others ignore them; empty = all."""
    window_pool_fraction: PositiveFloat | None = None
    """Tokens of the window pool per token of the full pool, fixed at start-up (SGLang's swa_full_tokens_ratio)."""
    window_extra_blocks: int = Field(default=0, ge=0)
    """Blocks a sequence may hold beyond the window and the tokens of the steps under way."""
    steps_in_flight: PositiveInt = 1
    """Steps whose tokens a window holds beside its own before it frees any: with more than 1 at least one a pipeline
    stage, because steps are then handed out ahead."""
    nearly_equal_layers: PositiveFloat = 1.25
    """Classes of layers closer in number than this are padded up to the largest, others split by the smallest."""
    compressed: CompressedPages | None = None
    """Of compressed attention; null = every entry takes its own bytes, on its own."""
    state_pool_fraction: Fraction | None = None
    """Part of the pool set aside for recurrent states; null = states and KV share one pool."""
    state_slots: PositiveInt = 1
    """Slots of the pool for states that a running sequence needs: its own, and those of the prefixes it shares."""
    state_bytes_per_value: PositiveInt = 4
    state_bytes_by_architecture: Mapping[str, PositiveInt] = Field(default_factory=dict)
    conv_bytes_per_value: PositiveInt = 2
    sparse_latent_row: LatentRow | None = None
    tokens_by_requests: bool = False
    """With several classes of layers, tokens are counted as requests of max_model_len × max_model_len; otherwise as the
    blocks of one group."""
