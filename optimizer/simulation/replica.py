"""What the simulated scheduler needs of one replica: step times as tables, and the KV cache as counted blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from catalog.schema import Calibration
from optimizer.memory import ReplicaMemory
from optimizer.performance import TokenMix, performance_model
from optimizer.performance.constants import RowConstants, row_constants
from optimizer.performance.pipeline import stage_work
from optimizer.performance.serving import share_of_ranks
from optimizer.performance.traits import trait_rows
from optimizer.performance.work import Work, output_held_fraction, work_of
from optimizer.serving_config import Configurations, FloatArray, IntArray

GRID_RATIO = 1.15
"""Between the sizes that are tabulated; a quadratic is off by less than (ratio − 1)² / 4 = 0.6 % between them."""
BLOCK_TOKENS = 16
"""Of the KV cache, where the layout counts single tokens (vLLM's default block)."""


@dataclass(frozen=True, slots=True)
class SimulatedReplica:
    """One replica as its scheduler sees it; milliseconds."""

    decode_ms: FloatArray
    """[max_batch_size + 1] a step of that many sequences without their KV cache; of none as of one."""
    kv_share: FloatArray
    """[max_batch_size + 1] part of the sequences' summed cache times that a rank spends in that step."""
    sizes: FloatArray
    """[G] tokens at which the two tables below are kept."""
    kv_ms: FloatArray
    """[G] reading the cache of one sequence with that context."""
    prefill_ms: FloatArray
    """[G] computing a prompt of that many tokens, as far as the prefix cache lacks them."""
    launch_ms: float
    """Of a step with prefills, once."""
    alone_fraction: float
    """Part of a prefill's own time that it occupies the replica when nothing decodes."""
    beside_fraction: float
    """When sequences decode beside it."""
    request_ms: float
    """Of a request, once; delays nobody else."""
    delivery_steps: float
    """Steps that pass around a lone prefill until its first token reaches the client."""
    max_batch_size: int
    max_batched_tokens: int
    """Tokens of one step."""
    computed_fraction: float
    """Of a prompt: what the prefix cache lacks."""
    block_tokens: int
    """Like all lengths in the cache by the tokens of a step: one, unless drafted ones are accepted."""
    blocks: float
    """Of the whole KV cache."""
    fixed_blocks: float
    """Of a sequence, whatever its length: states and windows."""
    grows: bool
    """Sequences take blocks as they decode; not so where the output is reserved at admission, or nothing grows."""
    reserves_output: bool
    tokens_per_step: float
    """That a step gives each sequence; more than one where drafted tokens are accepted."""
    checked_tokens: int
    """Of each decoding sequence in a step."""

    def kv_ms_of(self, input_tokens: IntArray, output_tokens: IntArray) -> FloatArray:
        """[m] cache reading of a sequence in the middle of its decoding."""
        return np.interp(input_tokens + output_tokens / 2.0, self.sizes, self.kv_ms)

    def prefill_ms_of(self, tokens: IntArray | FloatArray) -> FloatArray:
        """[m] of prompts; what is recomputed after a preemption counts as one."""
        return np.interp(tokens, self.sizes, self.prefill_ms)

    def steps_of(self, output_tokens: IntArray) -> IntArray:
        """[m] that give so many tokens, the prefill one of them."""
        return 1 + np.ceil((output_tokens - 1) / self.tokens_per_step).astype(np.int64)

    def length_of(self, tokens: IntArray) -> IntArray:
        """[m] by the tokens of a step, as the cache is counted."""
        return np.ceil(tokens / self.tokens_per_step).astype(np.int64)

    def blocks_of(self, tokens: float) -> float:
        """Blocks that a sequence of that length holds."""
        return self.fixed_blocks + -(-tokens // self.block_tokens)

    def with_batch(self, max_batch_size: int) -> SimulatedReplica:
        """The same replica admitting fewer sequences at once."""
        return replace(self, max_batch_size=max_batch_size)


def simulated_replica(
    configuration: Configurations,
    memory: ReplicaMemory,
    mix: TokenMix,
    calibration: Calibration,
    *,
    max_model_len: int,
    span: IntArray | None = None,
) -> SimulatedReplica:
    """The tables of a single configuration; step times are those that plans are made with.

    With `span` [1, 2] it is one pipeline stage of a replica whose stages differ, as `stage_work` has it. The cache of
    models with windows or states grows by a straight line between the mean prompt and the longest request.
    """

    def timed(requests: TokenMix) -> tuple[Work, RowConstants]:
        if span is not None:
            return stage_work(configuration, span, requests, calibration)
        constants = row_constants(trait_rows(configuration, calibration), calibration)
        return work_of(configuration, requests, calibration), constants

    model, sizes = performance_model(configuration, calibration), _grid(max_model_len)
    kv_ms = np.array([float(model.sequence_ms(*timed(_single(mix, size)))[0]) for size in sizes])
    work, constants = timed(_prompts(mix, sizes))
    launch, tokens_ms, _ = model.prefill(work, constants)
    cap = int(memory.max_num_seqs[0] * configuration.dp[0])
    sequences = np.maximum(np.arange(cap + 1.0), 1.0)
    steps = model.decode(work, constants, sequences)
    ranks = float(np.ravel(work.dp * work.pp)[0])
    share = float(np.ravel(share_of_ranks(work, constants))[0])
    block_tokens, blocks, fixed_blocks = _by_steps(
        _blocks(memory, mix, max_model_len), work.tokens_per_step, max_model_len
    )
    reserves = output_held_fraction(configuration, calibration) >= 1.0
    return SimulatedReplica(
        decode_ms=steps.total - steps.kv,
        kv_share=np.maximum(sequences / ranks, 1.0) / sequences,
        sizes=sizes,
        kv_ms=kv_ms,
        prefill_ms=tokens_ms[0],
        launch_ms=float(np.ravel(launch)[0]),
        alone_fraction=1.0 / ranks,
        beside_fraction=share * float(np.ravel(constants.prefill_interference)[0]),
        request_ms=float(np.ravel(constants.request_ms)[0]),
        delivery_steps=float(np.ravel(constants.ttft_steps)[0]),
        max_batch_size=cap,
        max_batched_tokens=int(memory.max_num_batched_tokens[0] * configuration.dp[0]),
        computed_fraction=1.0 - float(mix.prefix_hit_fraction),
        block_tokens=block_tokens,
        blocks=blocks,
        fixed_blocks=fixed_blocks,
        grows=block_tokens <= max_model_len and not reserves,
        reserves_output=reserves,
        tokens_per_step=work.tokens_per_step,
        checked_tokens=1 + (drafts.tokens if (drafts := configuration.speculation) else 0),
    )


def _grid(max_model_len: int) -> FloatArray:
    """Sizes from one token to the longest request, in equal ratios."""
    points = int(np.ceil(np.log(max(max_model_len, 2)) / np.log(GRID_RATIO))) + 1
    return np.geomspace(1.0, max(max_model_len, 2), points)


def _single(mix: TokenMix, context_tokens: float) -> TokenMix:
    return TokenMix(("all",), np.ones(1), np.array([context_tokens]), np.ones(1), mix.prefix_hit_fraction)


def _prompts(mix: TokenMix, sizes: FloatArray) -> TokenMix:
    names = tuple(str(i) for i in range(len(sizes)))
    share = np.full(len(sizes), 1.0 / len(sizes))
    return TokenMix(names, share, sizes, np.ones(len(sizes)), mix.prefix_hit_fraction)


def _blocks(memory: ReplicaMemory, mix: TokenMix, max_model_len: int) -> tuple[int, float, float]:
    """Tokens of a block, blocks of the cache, blocks of a sequence of no length."""
    step = int(memory.layout.token_step[0])
    block_tokens = step if step > 1 else BLOCK_TOKENS
    short = float(-(-int(mix.share @ mix.input_tokens) // block_tokens) * block_tokens)
    long = float(max(max_model_len // block_tokens * block_tokens, int(short) + block_tokens))
    held_short, held_long = (1.0 / max(float(memory.concurrency(tokens)[0]), 1e-9) for tokens in (short, long))
    growth = (held_long - held_short) / (long - short) * block_tokens
    if growth <= 0.0:  # windows and states only: one block a sequence, of any length
        return 2 * max_model_len, 1.0 / held_short, 0.0
    fixed_blocks = max(round(held_short / growth - short / block_tokens, 6), 0.0)
    one_request = fixed_blocks + long / block_tokens  # fits by itself, or the replica would not have started
    return block_tokens, max(float(np.floor(1.0 / growth + 1e-6)), one_request), fixed_blocks


def _by_steps(
    counted: tuple[int, float, float], tokens_per_step: float, max_model_len: int
) -> tuple[int, float, float]:
    """The same cache in blocks of as many steps as fill a block of tokens, to the nearest whole one."""
    block_tokens, blocks, fixed_blocks = counted
    if tokens_per_step == 1.0 or block_tokens > max_model_len:
        return counted
    block_steps = max(round(block_tokens / tokens_per_step), 1)
    scale = block_tokens / (block_steps * tokens_per_step)
    longest = np.ceil(np.ceil(max_model_len / tokens_per_step) / block_steps)
    return block_steps, max(blocks * scale, fixed_blocks * scale + longest), fixed_blocks * scale
