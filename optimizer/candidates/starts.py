"""The flags that buy memory or throughput, with which each configuration may be started, the preferred ones first.

Steps of more tokens finish prompts sooner, and delay nobody's mean more for it; steps of fewer take less memory. So the
most that a workload's prompts fill come first, and fewer are worth a look only where memory keeps the batch small. The
fraction of memory is the engine's default, which is what its makers and most measurements stand behind; more of it, up
to what leaves a reserve free, is asked for where the batch lacks memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.memory import REASONS, replica_memory
from optimizer.scenario import Workload
from optimizer.serving_config import BoolArray, Configurations, FloatArray, IntArray, sequences_per_rank

HALVINGS = 2
"""Of the engine's default number of tokens, that are looked at where memory is short."""
MOST_TOKENS = 32768
"""Of a step, that is looked at by itself: beyond it no engine has a default or a published recommendation."""
NO_START = tuple(REASONS.index(key) for key in ("utilization", "start_up"))
"""Reasons for which a smaller fraction helps."""


@dataclass(frozen=True, slots=True)
class Flags:
    """Of n configurations; per attention rank."""

    tokens: IntArray  # [n] max_num_batched_tokens
    fraction: FloatArray  # [n] of memory, the engine's own

    def take(self, rows: IntArray) -> Flags:
        """The chosen rows, in that order."""
        return Flags(self.tokens[rows], self.fraction[rows])

    def beside(self, defaults: Defaults) -> Flags:
        """What must be said: 0 stands for the engine's default."""
        return Flags(
            np.where(self.tokens == defaults.tokens, 0, self.tokens),
            np.where(self.fraction == defaults.fraction, 0.0, self.fraction),
        )

    def are(self, defaults: Defaults) -> bool:
        """Whether the engine would choose all of them by itself."""
        return np.array_equal(self.tokens, defaults.tokens) and np.array_equal(self.fraction, defaults.fraction)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the engine does when nothing is said, and the most memory that it may be told to use; arrays [n]."""

    tokens: IntArray
    fraction: FloatArray
    most_fraction: FloatArray
    """With every batch; below the default where the default would not start."""

    @classmethod
    def of(cls, configurations: Configurations, most_sequences: int, max_model_len: int) -> Defaults:
        sequences = sequences_per_rank(np.full(len(configurations), most_sequences), configurations.dp)
        memory = replica_memory(configurations, max_model_len=max_model_len, max_num_seqs=sequences)
        fraction, safe = memory.utilization_fraction, memory.safe_fraction
        refused = np.isin(memory.reason, NO_START) & (safe > 0)
        most = np.where(refused, np.minimum(safe, fraction), np.maximum(safe, fraction))
        return cls(memory.max_num_batched_tokens, fraction, most)

    def take(self, rows: IntArray) -> Defaults:
        """The chosen rows, in that order."""
        return Defaults(self.tokens[rows], self.fraction[rows], self.most_fraction[rows])


@dataclass(frozen=True, slots=True)
class Starts:
    """L ways to start each of n configurations; a later one takes less memory or leaves more for the KV cache."""

    tokens: IntArray  # [L, n]
    fraction: FloatArray  # [L, n]

    @classmethod
    def of(cls, workload: Workload, defaults: Defaults) -> Starts:
        """Those that a workload may be served with."""
        if workload.max_num_batched_tokens is not None:
            budgets = [np.full_like(defaults.tokens, n) for n in sorted(workload.max_num_batched_tokens, reverse=True)]
        else:
            budgets = _around(defaults.tokens, _longest_prompt(workload))
        asked = workload.gpu_memory_utilization
        if asked is not None:
            fixed = np.full_like(defaults.fraction, asked)
            return cls(np.stack(budgets), np.stack([fixed] * len(budgets)))
        least = [defaults.fraction] + [defaults.most_fraction] * len(budgets)
        return cls(np.stack([budgets[0], *budgets]), np.stack(least))

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: IntArray) -> Starts:
        """Of the chosen configurations, in that order."""
        return Starts(self.tokens[:, rows], self.fraction[:, rows])

    def at(self, level: IntArray | int, rows: IntArray) -> Flags:
        """The flags of some configurations, each at a level."""
        return Flags(self.tokens[level, rows], self.fraction[level, rows])

    def differs(self, level: int) -> BoolArray:
        """[n] whether a level is not the same as the one before."""
        differs: BoolArray = (self.tokens[level] != self.tokens[level - 1]) | (
            self.fraction[level] != self.fraction[level - 1]
        )
        return differs


def _around(default: IntArray, longest: float) -> list[IntArray]:
    """Budgets [n] around the engine's default, descending; more than it only where prompts do not fit into a step."""
    whole = 2 ** int(np.ceil(np.log2(max(longest, 1.0))))
    budgets = [np.maximum(default, min(whole, MOST_TOKENS)), default]
    return budgets + [default // 2**halving for halving in range(1, HALVINGS + 1)]


def _longest_prompt(workload: Workload) -> float:
    """Tokens that have to be computed of the mean prompt, of the class that has the longest."""
    uncached = 1.0 - workload.prefix_hit_fraction
    return max(one.input_tokens for one in workload.request_classes) * uncached
