"""How prompts share the tokens of a step with those who decode, and what a small budget of tokens holds back.

A step computes at most its budget (vLLM's max_num_batched_tokens, SGLang's chunked_prefill_size, TensorRT-LLM's
max_num_tokens). Each sequence that decodes takes one token; prompts take what room is left, in chunks, first come first
served. Engines that take prompts whole have a budget that no prompt exceeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from optimizer.performance.mix import mean_of
from optimizer.serving_config import Configurations, FloatArray, IntArray

FULLEST = 0.98
"""Part of the budget beyond which prompts queue without end: they arrive unevenly, and come in whole steps."""


class Prompts(Protocol):
    """The requests of n replicas, R classes, as far as their steps' tokens go."""

    @property
    def prompt_tokens(self) -> FloatArray:
        """[n, R] that a prefill computes."""

    @property
    def share(self) -> FloatArray:
        """[R] or [n, R]"""

    @property
    def decode_steps(self) -> FloatArray:
        """[…] of the mean request, after its first token."""

    @property
    def checked_tokens(self) -> FloatArray | float:
        """[…] of each decoding sequence that a step computes."""


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


def chunks_of(prompts: Prompts, step_tokens: FloatArray, decoding: FloatArray) -> Chunks:
    """The prompts of a mix beside `decoding` [n] sequences, in steps of at most `step_tokens` [n]."""
    room = np.maximum(step_tokens - decoding * prompts.checked_tokens, 1.0)
    return Chunks(prompts.prompt_tokens / room[:, None], prompts.share)


def most_decoding(prompts: Prompts, step_tokens: FloatArray) -> FloatArray:
    """[n] sequences that can decode while steps have room for the prompts that take the place of those that end.

    D sequences of S steps bring D / S prompts of P tokens a step: D + D / S · P ≤ budget. Of
    a sequence whose tokens are drafted, all that a step checks count.
    """
    tokens, steps = mean_of(prompts.prompt_tokens, prompts.share), prompts.decode_steps
    most: FloatArray = FULLEST * step_tokens * steps / (steps * prompts.checked_tokens + tokens)
    return np.maximum(most, 1.0)
