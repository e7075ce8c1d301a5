"""How prompts share the tokens of a step with those who decode, and what a small budget of tokens holds back.

A step computes at most its budget (vLLM's max_num_batched_tokens, SGLang's chunked_prefill_size, TensorRT-LLM's
max_num_tokens). Each sequence that decodes takes one token; prompts take what room is left, in chunks, first come first
served. Engines that take prompts whole have a budget that no prompt exceeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optimizer.performance.mix import mean_of
from optimizer.performance.work import Work
from optimizer.serving_config import Configurations, FloatArray, IntArray

FULLEST = 0.98
"""Part of the budget beyond which prompts queue without end: they arrive unevenly, and come in whole steps."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """Prompts in the room that steps leave them; n replicas, R classes."""

    of_class: FloatArray  # [n, R] steps' worth of room that a mean prompt fills
    share: FloatArray  # [R] or [n, R]

    @property
    def mean(self) -> FloatArray:
        """[n] steps' worth of room of the mean request."""
        return mean_of(self.of_class, self.share)

    @property
    def steps(self) -> FloatArray:
        """[n] that the mean request's prompt takes when it is alone."""
        return mean_of(steps_taken(self.of_class), self.share)

    def mixed_fraction(self, prefills: FloatArray) -> FloatArray:
        """[n] steps that compute some prompt, where `prefills` [n] of them arrive at random in one.

        Prompts that arrive together share the room that each leaves: small ones of a step are one, and steps filled
        whole are as many as there are.
        """
        filled = self.mean
        fraction: FloatArray = prefills * filled - np.expm1(-prefills) * (self.steps - filled)
        return np.minimum(fraction, 1.0)


def steps_taken(filled: FloatArray) -> FloatArray:
    """Steps that prompts take which fill so many: the last is filled by half on average, for sizes are not round.

    Up to one it is one. Between one and two the line joins both, so that no figure jumps with the room.
    """
    steps: FloatArray = np.maximum(np.minimum(1.5 * filled - 0.5, filled + 0.5), 1.0)
    return steps


def step_tokens(configurations: Configurations, budget: IntArray) -> FloatArray:
    """[n] the most that one step computes, over all attention ranks; `budget` [n] is that of one."""
    tokens: FloatArray = (budget * configurations.dp).astype(np.float64)
    return tokens


def chunks_of(work: Work, step_tokens: FloatArray, decoding: FloatArray) -> Chunks:
    """The prompts of a mix beside `decoding` [n] sequences, in steps of at most `step_tokens` [n]."""
    room = np.maximum(step_tokens - decoding * work.checked_tokens, 1.0)
    return Chunks(work.prompt_tokens / room[:, None], work.share)


def most_decoding(work: Work, step_tokens: FloatArray) -> FloatArray:
    """[n] sequences that can decode while steps have room for the prompts that take the place of those that end.

    D sequences of S steps bring D / S prompts of P tokens a step: D + D / S · P ≤ budget. Of
    a sequence whose tokens are drafted, all that a step checks count.
    """
    tokens = mean_of(work.prompt_tokens, work.share)
    most: FloatArray = FULLEST * step_tokens * work.decode_steps / (work.decode_steps * work.checked_tokens + tokens)
    return np.maximum(most, 1.0)
