"""The scheduler of a continuous-batching engine, step by step, jumping over steps in which nothing changes.

As in vLLM's V1 scheduler: sequences that decode come first, one token each; then prompts, first come first served, in
chunks up to the step's budget of tokens, as long as there is a place in the batch and the KV cache has free blocks for
the prompt. When a decoding sequence needs a block and none is free, the youngest sequence gives all of its blocks back,
and is computed again when it is admitted next. A step takes what the calibrated model says of its size.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from math import ceil, inf

import numpy as np

from optimizer.simulation.outcome import Outcome
from optimizer.simulation.replica import SimulatedReplica
from optimizer.simulation.requests import Requests

NOBODY = -1
OWN_STEPS = 1.0
"""Of the steps around a lone prefill: the one it is computed in."""
RESIDUAL_STEPS = 0.5
"""Of the same, where others decode: what is left on average of the step that runs when a request arrives."""


def open_loop(replica: SimulatedReplica, requests: Requests) -> Outcome:
    """Every request from its arrival to its last token, however long the queue grows."""
    run = SchedulerRun(replica, requests)
    run.pending = list(zip(requests.arrived_ms.tolist(), range(len(requests)), strict=True))
    run.unsent = len(requests)
    return run.outcome()


def closed_loop(replica: SimulatedReplica, requests: Requests, concurrency: int) -> Outcome:
    """`concurrency` requests always in flight: each that ends brings in the next, until all have been served.

    Arrival times are not looked at. The start is what benchmarks do: all of the first at once.
    """
    run = SchedulerRun(replica, requests)
    run.unsent = min(concurrency, len(requests))
    run.pending = [(0.0, request) for request in range(run.unsent)]
    return run.outcome()


class SchedulerRun:
    """State of one simulation. Lists of plain numbers: they are read and written one at a time."""

    def __init__(self, replica: SimulatedReplica, requests: Requests) -> None:
        n = len(requests)
        lengths = replica.length_of(requests.input_tokens + requests.output_tokens)
        longest = replica.blocks_of(int(lengths.max(initial=1)))
        assert longest <= replica.blocks, "a request is longer than the whole KV cache"
        self.replica, self.requests = replica, requests
        self.decode_ms, self.kv_share = replica.decode_ms.tolist(), replica.kv_share.tolist()
        self.kv_ms = replica.kv_ms_of(requests.input_tokens, requests.output_tokens).tolist()
        self.prompt = replica.length_of(
            requests.input_tokens
        ).tolist()  # to be computed at admission; longer after a preemption
        self.prompt_ms = replica.prefill_ms_of(requests.input_tokens).tolist()
        self.computed = np.maximum(np.rint(requests.input_tokens * replica.computed_fraction), 1.0).tolist()
        self.chunk_left = list(self.computed)  # tokens of the prompt that no step has computed yet
        self.reserved = (requests.output_tokens * replica.reserves_output).tolist()
        self.left = replica.steps_of(requests.output_tokens).tolist()  # to come, as of the last admission
        self.started = [0] * n  # number of the step that gave the first token since admission
        self.lost_ms = [0.0] * n  # when it was preempted
        self.lag_ms = [0.0] * n  # part of the own prefill that delays nobody else
        self.arrived_ms, self.first_ms, self.finished_ms = [inf] * n, [inf] * n, [inf] * n
        self.delivery_ms = [0.0] * n  # by which every token reaches the client later
        self.pending: list[tuple[float, int]] = []  # heap: time, request that arrives then
        self.unsent = n  # first request that waits for another one to end before it is sent
        self.waiting: deque[int] = deque()
        self.admitted: dict[int, None] = {}  # in the order of admission
        self.partial = NOBODY  # admitted, its prompt not wholly computed
        self.ends: list[tuple[int, int]] = []  # heap: number of a step, sequence that ends with it
        self.block_phases = (
            [0] * replica.block_tokens if replica.grows else []
        )  # sequences by the step they need one in
        self.free_blocks = replica.blocks
        self.decoding, self.cache_ms = 0, 0.0
        self.until_ms = inf
        self.now_ms, self.step, self.preemptions, self.in_batch_ms = 0.0, 0, 0, 0.0
        self.gaps: list[tuple[float, int]] = []  # time between two tokens, how many times it was seen

    def outcome(self) -> Outcome:
        """What has been seen when the last request has ended."""
        self.advance(inf)
        requests, gaps = self.requests, np.array(self.gaps, float).reshape(-1, 2)
        return Outcome(
            of_class=requests.of_class,
            output_tokens=requests.output_tokens,
            arrived_ms=np.array(self.arrived_ms),
            first_ms=np.array(self.first_ms),
            finished_ms=np.array(self.finished_ms),
            gaps_ms=gaps[:, 0],
            gaps_n=gaps[:, 1],
            elapsed_ms=self.now_ms,
            in_batch_ms=self.in_batch_ms,
            preemptions=self.preemptions,
        )

    @property
    def in_system(self) -> int:
        """Requests that run, wait or are about to arrive."""
        return len(self.admitted) + len(self.waiting) + len(self.pending)

    def send(self, arrived_ms: float, request: int) -> None:
        """Another request, not before those that have been sent."""
        heappush(self.pending, (arrived_ms, request))

    def advance(self, until_ms: float) -> None:
        """Runs every step that begins before a time, as far as there is anything to do."""
        self.until_ms = until_ms
        while True:
            self._receive()
            if self.now_ms >= until_ms:
                break
            if not self._make_room():
                occupied_ms, computed = self._schedule_prefills()
                if computed or self.partial != NOBODY:
                    self._step_with_prefills(occupied_ms, computed)
                    continue
            if self.decoding:
                self._decode()
            elif self.pending:
                self.now_ms = self.pending[0][0]
            else:
                break

    def _receive(self) -> None:
        pending, now_ms = self.pending, self.now_ms
        while pending and pending[0][0] <= now_ms:
            arrived_ms, request = heappop(pending)
            self.arrived_ms[request] = arrived_ms
            self.waiting.append(request)

    def _make_room(self) -> bool:
        """Preempts the youngest until the others can decode one more step; whether any had to go."""
        preempted = False
        while self.block_phases and self._blocks_needed(1) > self.free_blocks:
            self._preempt(next(reversed(self.admitted)))
            preempted = True
        return preempted

    def _schedule_prefills(self) -> tuple[float, list[int]]:
        """Time that the chunks of the coming step occupy the replica, and the prompts that they complete."""
        replica = self.replica
        budget = replica.max_batched_tokens - self.decoding * replica.checked_tokens
        fraction = replica.beside_fraction if self.decoding else replica.alone_fraction
        occupied_ms, completed = 0.0, []
        while budget > 0:
            request = self.partial if self.partial != NOBODY else self._admit()
            if request == NOBODY:
                break
            chunk = min(self.chunk_left[request], budget)
            chunk_ms = self.prompt_ms[request] * chunk / self.computed[request]
            occupied_ms += chunk_ms * fraction
            self.lag_ms[request] += chunk_ms * (1.0 - fraction)
            budget -= chunk
            self.chunk_left[request] -= chunk
            if self.chunk_left[request] <= 0:
                completed.append(request)
                self.partial = NOBODY
            else:
                self.partial = request
        return occupied_ms, completed

    def _admit(self) -> int:
        """The first who waits, when the batch and the cache have a place."""
        if not self.waiting or len(self.admitted) >= self.replica.max_batch_size:
            return NOBODY
        request = self.waiting[0]
        blocks = self._blocks_held(request, 0)
        decoding_needs = self._blocks_needed(1) if self.block_phases else 0
        if blocks + decoding_needs > self.free_blocks:
            return NOBODY
        self.free_blocks -= blocks
        self.admitted[request] = None
        return self.waiting.popleft()

    def _step_with_prefills(self, occupied_ms: float, completed: list[int]) -> None:
        busy = self.decoding > 0
        first = completed[0] if completed else self.partial
        cache_ms = self.cache_ms if busy else self.kv_ms[first]
        decode_ms = self.decode_ms[self.decoding] + cache_ms * self.kv_share[self.decoding]
        self._advance(1, decode_ms + self.replica.launch_ms + occupied_ms)
        steps = max(self.replica.delivery_steps - OWN_STEPS - RESIDUAL_STEPS * busy, 0.0)
        for request in completed:
            if self.first_ms[request] == inf:
                self.delivery_ms[request] = self.replica.request_ms + steps * decode_ms + max(self.lag_ms[request], 0.0)
                self.first_ms[request] = self.now_ms + self.delivery_ms[request]
            else:
                self.gaps.append((self.now_ms - self.lost_ms[request], 1))
            self._start_decoding(request)
        self._finish_those_done()

    def _start_decoding(self, request: int) -> None:
        self.left[request] -= 1
        self.started[request] = self.step
        self.decoding += 1
        self.cache_ms += self.kv_ms[request]
        if self.block_phases:
            self.block_phases[self._phase(request)] += 1
        heappush(self.ends, (self.step + self.left[request], request))

    def _decode(self) -> None:
        """As many equal steps as pass until a sequence ends, one can be admitted, or the cache is full."""
        step_ms = self.decode_ms[self.decoding] + self.cache_ms * self.kv_share[self.decoding]
        steps = self.ends[0][0] - self.step
        arrival_ms = min(self.pending[0][0], self.until_ms) if self.pending else self.until_ms
        if arrival_ms < inf and not self.waiting and len(self.admitted) < self.replica.max_batch_size:
            steps = min(steps, max(ceil((arrival_ms - self.now_ms) / step_ms), 1))
        if self.block_phases and -(-steps // self.replica.block_tokens) * self.decoding > self.free_blocks:
            steps = self._steps_until_full(steps)
        self._advance(steps, step_ms)
        self._finish_those_done()

    def _advance(self, steps: int, step_ms: float) -> None:
        if self.block_phases:
            self.free_blocks -= self._blocks_needed(steps)
        self.now_ms += steps * step_ms
        self.step += steps
        if self.decoding:
            self.gaps.append((step_ms, self.decoding * steps))
        self.in_batch_ms += len(self.admitted) * steps * step_ms

    def _finish_those_done(self) -> None:
        while self.ends and self.ends[0][0] == self.step:
            _, request = heappop(self.ends)
            self._leave(request)
            self.finished_ms[request] = self.now_ms + self.delivery_ms[request]
            if self.unsent < len(self.finished_ms):
                heappush(self.pending, (self.finished_ms[request], self.unsent))
                self.unsent += 1

    def _leave(self, request: int) -> None:
        """A decoding sequence gives back its blocks and its place."""
        self.free_blocks += self._blocks_held(request, self.step - self.started[request])
        if self.block_phases:
            self.block_phases[self._phase(request)] -= 1
        del self.admitted[request]
        self.decoding -= 1
        self.cache_ms = self.cache_ms - self.kv_ms[request] if self.decoding else 0.0
        if not self.admitted:
            self.free_blocks = self.replica.blocks  # sheds what rounding has left

    def _preempt(self, request: int) -> None:
        """Back to the head of the queue; what was generated becomes part of the prompt."""
        self.preemptions += 1
        if request == self.partial:
            self.partial = NOBODY
            self.free_blocks += self._blocks_held(request, 0)
            del self.admitted[request]
        else:
            generated = self.step - self.started[request]
            self._leave(request)
            self.ends.remove((self.started[request] + self.left[request], request))
            self.ends.sort()
            self.left[request] -= generated
            self.prompt[request] += generated + 1
            tokens = self.prompt[request] * self.replica.tokens_per_step
            self.prompt_ms[request] = float(self.replica.prefill_ms_of(np.array(tokens)))
            self.computed[request] = max(round(tokens * self.replica.computed_fraction), 1)
            self.lost_ms[request] = self.now_ms
        self.chunk_left[request] = self.computed[request]
        self.waiting.appendleft(request)

    def _blocks_held(self, request: int, decoded: int) -> float:
        """Blocks of a sequence that has decoded so many tokens since its prefill."""
        grown = decoded if self.replica.grows else self.reserved[request]
        return self.replica.blocks_of(self.prompt[request] + grown)

    def _phase(self, request: int) -> int:
        """Steps with this number, modulo the block's size, bring the token that needs a new block."""
        phase: int = (self.started[request] + 1 - self.prompt[request]) % self.replica.block_tokens
        return phase

    def _blocks_needed(self, steps: int) -> int:
        """New blocks of all decoding sequences in so many steps."""
        phases = self.block_phases
        rounds, rest = divmod(steps, len(phases))
        return rounds * self.decoding + sum(phases[(self.step + i) % len(phases)] for i in range(1, rest + 1))

    def _steps_until_full(self, most: int) -> int:
        """Steps, `most` at most, that the free blocks suffice for; at least one, as room was made."""
        phases, left = self.block_phases, self.free_blocks
        for steps in range(1, most + 1):
            left -= phases[(self.step + steps) % len(phases)]
            if left < 0:
                return steps - 1
        return most
