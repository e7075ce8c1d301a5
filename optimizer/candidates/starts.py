"""The flags that buy memory or throughput, with which each configuration may be started, the preferred ones first.

Steps of more tokens finish prompts sooner, and delay nobody's mean more for it; steps of fewer take less memory. So the
most that a workload's prompts fill come first, and fewer are worth a look only where memory keeps the batch small. More
of the memory costs no time: the search has the most that leaves a reserve free, and what it finds is given the engine's
own fraction, which its makers and most measurements stand behind, wherever that suffices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.memory import FlagDefaults
from optimizer.scenario import Workload
from optimizer.serving_config import FloatArray, IntArray

LEAN = 4
"""Part of the engine's default number of tokens that is looked at where memory is short."""
MOST_TOKENS = 32768
"""Of a step, that is looked at by itself: no engine has a larger default, and no measurement one."""


@dataclass(frozen=True, slots=True)
class Flags:
    """Of n configurations; per attention rank."""

    tokens: IntArray  # [n] max_num_batched_tokens
    fraction: FloatArray  # [n] of memory, the engine's own

    def take(self, rows: IntArray) -> Flags:
        """The chosen rows, in that order."""
        return Flags(self.tokens[rows], self.fraction[rows])


@dataclass(frozen=True, slots=True)
class Starts:
    """L ways to start each of n configurations, all with the same fraction; later ones take less memory."""

    tokens: IntArray  # [L, n]
    fraction: FloatArray  # [n]

    @classmethod
    def of(cls, workload: Workload, defaults: FlagDefaults) -> Starts:
        """Those that a workload may be served with."""
        default, asked = defaults.max_num_batched_tokens, workload.gpu_memory_utilization
        if workload.max_num_batched_tokens is not None:
            budgets = [np.full_like(default, n) for n in sorted(workload.max_num_batched_tokens, reverse=True)]
        else:
            budgets = _around(default, _longest_prompt(workload))
        return cls(np.stack(budgets), defaults.most_fraction if asked is None else np.full(len(default), asked))

    @classmethod
    def together(cls, parts: Sequence[Starts]) -> Starts:
        """All configurations, one part after the other; each has as many ways."""
        tokens = np.concatenate([part.tokens for part in parts], axis=1)
        return cls(tokens, np.concatenate([part.fraction for part in parts]))

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: IntArray) -> Starts:
        """Of the chosen configurations, in that order."""
        return Starts(self.tokens[:, rows], self.fraction[rows])

    def at(self, level: IntArray | int, rows: IntArray) -> Flags:
        """The flags of some configurations, each at a level."""
        return Flags(self.tokens[level, rows], self.fraction[rows])


def _around(default: IntArray, longest: float) -> list[IntArray]:
    """Budgets [n] around the engine's default, descending; more than it only where prompts do not fit into a step."""
    whole = 2 ** int(np.ceil(np.log2(max(longest, 1.0))))
    return [np.maximum(default, min(whole, MOST_TOKENS)), default, default // LEAN]


def _longest_prompt(workload: Workload) -> float:
    """Tokens that have to be computed of the mean prompt, of the class that has the longest."""
    uncached = 1.0 - workload.prefix_hit_fraction
    return max(one.input_tokens for one in workload.request_classes) * uncached
