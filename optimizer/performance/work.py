"""The work of a decode step and of a prefill on one rank, as milliseconds at the card's rated speed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from catalog.schema import Calibration
from catalog.units import GB, MS_PER_S, TERA
from optimizer.memory import with_draft
from optimizer.performance.mix import TokenMix
from optimizer.performance.rates import compute_rates
from optimizer.performance.tables import ACTIVATION_BYTES, ModelTables, draft_tables, tables_of
from optimizer.scenario import Speculation
from optimizer.serving_config import Configurations, FloatArray, IntArray

FAST, PCIE, NETWORK = range(3)
LINKS = ("fast", "pcie", "network")
"""What joins ranks, as in `Traits.link`."""
TRANSFERS_IN_TURN = 2.0
"""Over the network for each hand-over between stages that take turns: one server runs the model, sends each stage its
input and reads the output back (https://github.com/ggml-org/llama.cpp/blob/master/tools/rpc/README.md)."""
TP, KV_HEADS, REPLICATED, EXPERTS = range(4)
"""Columns of the tables, as in `SPLITS`."""


@dataclass(frozen=True, slots=True)
class Work:
    """What decoding and prefilling ask of a rank; arrays broadcast against [n], those marked against [n, R].

    Times are at rated speed: constants turn them into real ones.
    """

    dense_read_ms: FloatArray
    """Weights outside the experts."""
    expert_read_ms: FloatArray
    """All experts of the rank."""
    kv_read_ms: FloatArray
    """Per sequence of an attention rank: KV cache at the mean context, recurrent states."""
    dense_compute_ms: FloatArray
    """Per sequence of an attention rank: of all its tokens that a step computes, one unless others are drafted."""
    expert_compute_ms: FloatArray
    """Likewise of the replica."""
    attention_compute_ms: FloatArray
    """Per sequence of an attention rank, at the mean context."""
    prefill_dense_ms: FloatArray  # [n, R] matrix products of one prompt, outside the experts
    prefill_expert_ms: FloatArray  # [n, R]
    prefill_attention_ms: FloatArray  # [n, R]
    prefill_link_ms: FloatArray  # [n, R]
    prompt_tokens: FloatArray  # [n, R] that a prefill computes
    untouched_fraction: float
    """Part of the experts that one sequence leaves untouched in a step; 0 for a dense model."""
    all_reduce_hops: FloatArray
    """All-reduces of a step; among 2 ranks each counts as one, and half as much more for every doubling."""
    all_reduce_link_ms: FloatArray
    """Per token of an attention rank."""
    all_to_alls: FloatArray
    """Exchanges of tokens with experts in a step."""
    all_to_all_link_ms: FloatArray
    """Per token of the replica."""
    hand_overs: FloatArray
    """Between pipeline stages in a step."""
    hand_over_link_ms: FloatArray
    """Per token of the replica."""
    expert_parallel: FloatArray
    """1 where whole experts lie on different ranks."""
    layers: FloatArray | float
    prefill_layers: FloatArray | float
    """Of a prefill: a model that drafts computes the prompt once."""
    moe_layers: FloatArray | float
    latent_layers: FloatArray | float
    recurrent_layers: FloatArray | float
    pp: FloatArray
    """Pipeline stages that work at once, each on a micro-batch of its own; 1 where they take turns."""
    dp: FloatArray
    share: FloatArray  # [R]
    decode_steps: FloatArray
    """Of the mean request, after its first token."""
    context_tokens: FloatArray
    """Of a decoding sequence, on average."""
    checked_tokens: float
    """Of each decoding sequence that a step computes: one, and those that were drafted."""
    tokens_per_step: float
    """That a step gives each sequence; more than one where drafted tokens are accepted."""
    admission_fraction: FloatArray
    """Part of a running sequence's KV cache that it must have to be admitted; for the rest it can be preempted."""


def work_of(configurations: Configurations, mix: TokenMix, calibration: Calibration) -> Work:
    """The work of n configurations of one model at a mix of request classes."""
    return Bench.of(configurations, calibration).work(mix)


@dataclass(frozen=True, slots=True)
class Bench:
    """All of the work that does not depend on the requests, found once; arrays [n]."""

    tables: ModelTables
    output_held_fraction: float
    tp: FloatArray
    pp: FloatArray
    """Stages that work at once."""
    hand_overs: FloatArray
    """Between stages in a step."""
    dp: FloatArray
    expert_parallel: FloatArray
    head_share: FloatArray
    """Part of the KV heads that lies on one rank."""
    bandwidth_gb_per_s: FloatArray
    plain_tflops: FloatArray
    kv_bytes_per_value: FloatArray
    dense_read_ms: FloatArray
    expert_read_ms: FloatArray
    dense_compute_ms: FloatArray
    expert_compute_ms: FloatArray
    message_ms: FloatArray
    """One token's activations over the link of a stage's ranks."""
    hand_over_ms: FloatArray
    """… and over the link between stages."""
    speculation: Speculation | None
    draft: Draft
    drafter: Bench | None
    """Of a small model that drafts."""

    @classmethod
    def of(cls, configurations: Configurations, calibration: Calibration, tables: ModelTables | None = None) -> Bench:
        """Without `tables`, of whole models."""
        tables = tables or tables_of(configurations.model, configurations.weight_formats)
        rank = _Rank(configurations, tables)
        ranks_link, stages_link = links_of(configurations, calibration)
        message_gb, in_turn = tables.hidden_size * ACTIVATION_BYTES / GB, configurations.engine.stages_take_turns
        return cls(
            tables=tables,
            output_held_fraction=output_held_fraction(configurations, calibration),
            tp=rank.tp,
            pp=np.ones_like(rank.pp) if in_turn else rank.pp,
            hand_overs=(rank.pp - 1.0) * np.where(in_turn & (stages_link == NETWORK), TRANSFERS_IN_TURN, 1.0),
            dp=rank.dp,
            expert_parallel=(configurations.ep > 1).astype(np.float64),
            head_share=rank.head_share,
            bandwidth_gb_per_s=rank.bandwidth_gb_per_s,
            plain_tflops=rank.plain_tflops,
            kv_bytes_per_value=rank.kv_bytes_per_value,
            dense_read_ms=rank.read_ms(rank.dense_bytes),
            expert_read_ms=rank.read_ms(rank.expert_bytes),
            dense_compute_ms=rank.dense_compute_ms,
            expert_compute_ms=rank.expert_compute_ms,
            message_ms=message_gb / rank.link_gb_per_s(ranks_link, calibration) * MS_PER_S,
            hand_over_ms=message_gb / rank.link_gb_per_s(stages_link, calibration) * MS_PER_S,
            speculation=configurations.speculation,
            draft=Draft.of(configurations, rank),
            drafter=None if configurations.drafter is None else cls.of(_drafting(configurations), calibration),
        )

    def take(self, rows: IntArray) -> Bench:
        """The chosen rows, in that order."""
        assert not self.tables.of_rows, "these tables have rows of their own"
        columns: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen: dict[str, Any] = {name: c[rows] for name, c in columns.items() if isinstance(c, np.ndarray)}
        drafter = None if self.drafter is None else self.drafter.take(rows)
        return replace(self, draft=self.draft.take(rows), drafter=drafter, **chosen)

    def work(self, mix: TokenMix) -> Work:
        """The work at a mix of request classes."""
        work = self._own_work(mix)
        if self.drafter is None or self.speculation is None:
            return work
        return _with_drafter(work, self.drafter.work(mix), self.speculation.tokens)

    def _own_work(self, mix: TokenMix) -> Work:
        """Without that of a small model that drafts."""
        tables, tp, pp, dp = self.tables, self.tp, self.pp, self.dp
        kv_read_ms, attention_ms = self._attention_per_sequence(mix)
        reduces = 2.0 * tables.layers * (tp > 1)
        reduce_ms = reduces * 2.0 * (tp - 1.0) / tp * self.message_ms
        exchanges = 2.0 * tables.moe_layers * (dp > 1)
        tokens, held = mix.computed_tokens, self.output_held_fraction
        drafted, per_step = (s.tokens, s.tokens_per_step) if (s := self.speculation) else (0, 1.0)
        checked = 1.0 + drafted  # tokens of a sequence that a step computes
        deeper = 1.0 + drafted * self.draft.layers / tables.layers
        return Work(
            dense_read_ms=self.dense_read_ms + drafted * self.draft.dense_read_ms,
            expert_read_ms=self.expert_read_ms + drafted * self.draft.expert_read_ms,
            kv_read_ms=kv_read_ms * deeper,
            dense_compute_ms=self.dense_compute_ms * checked + drafted * self.draft.dense_compute_ms,
            expert_compute_ms=self.expert_compute_ms * checked + drafted * self.draft.expert_compute_ms,
            attention_compute_ms=attention_ms * (checked + drafted * self.draft.layers / tables.layers),
            prefill_dense_ms=self.dense_compute_ms[:, None] * tokens,
            prefill_expert_ms=(self.expert_compute_ms * dp)[:, None] * tokens,
            prefill_attention_ms=self._prefill_attention_ms(mix),
            prefill_link_ms=reduce_ms[:, None] * tokens,
            prompt_tokens=np.broadcast_to(tokens, (len(tp), tokens.shape[-1])),
            untouched_fraction=(1.0 - tables.experts_per_token / tables.experts) ** checked,
            all_reduce_hops=(reduces * deeper * (1.0 + np.log2(tp)) / 2.0).astype(np.float64),
            all_reduce_link_ms=reduce_ms * checked,
            all_to_alls=(exchanges * deeper).astype(np.float64),
            all_to_all_link_ms=exchanges * (dp - 1.0) / dp * self.message_ms * checked,
            hand_overs=self.hand_overs,
            hand_over_link_ms=self.hand_overs * self.hand_over_ms * checked,
            expert_parallel=self.expert_parallel,
            layers=tables.layers * deeper,
            prefill_layers=tables.layers * deeper,
            moe_layers=tables.moe_layers * deeper,
            latent_layers=tables.latent_layers * deeper,
            recurrent_layers=tables.recurrent_layers,
            pp=pp,
            dp=dp,
            share=mix.share,
            decode_steps=mix.decode_steps / per_step,
            tokens_per_step=per_step,
            context_tokens=mix.attended_tokens(np.inf),
            checked_tokens=checked,
            admission_fraction=mix.resident_tokens(0.0) / mix.resident_tokens(held) if held < 1.0 else np.ones(()),
        )

    def _attention_per_sequence(self, mix: TokenMix) -> tuple[FloatArray, FloatArray]:
        """[n] reading the cache and [n] attention arithmetic, of one sequence in one step."""
        values_by_head = values_shared = indexer_bytes = state_bytes = flops = np.zeros(())
        context = mix.attended_tokens(np.inf)
        for group in self.tables.attention:
            attended = mix.attended_tokens(group.attended_limit)
            values_by_head = values_by_head + group.layers * group.kv_head_values_per_token * attended
            values_shared = values_shared + group.layers * group.shared_values_per_token * attended
            indexer_bytes = indexer_bytes + group.layers * group.indexer_bytes_per_token * context
            state_bytes = state_bytes + group.layers * group.state_bytes
            flops = flops + group.layers * (
                group.flops_per_context_token * attended + group.indexer_flops_per_context_token * context
            )
        cached = (values_by_head * self.head_share + values_shared) * self.kv_bytes_per_value
        read_ms = (cached + indexer_bytes + state_bytes / self.tp) / GB / self.bandwidth_gb_per_s * MS_PER_S
        return read_ms, flops / self.tp / self.plain_tflops / TERA * MS_PER_S

    def _prefill_attention_ms(self, mix: TokenMix) -> FloatArray:
        """[n, R]"""
        flops = np.zeros_like(mix.share)
        for group in self.tables.attention:
            attended = mix.prefill_attended_tokens(group.attended_limit)
            layers = group.layers[:, None] if isinstance(group.layers, np.ndarray) else group.layers
            flops = flops + layers * group.flops_per_context_token * attended
            if group.indexer_flops_per_context_token:
                everything = mix.prefill_attended_tokens(np.inf)
                flops = flops + layers * group.indexer_flops_per_context_token * everything
        per_flop_ms: FloatArray = MS_PER_S / TERA / (self.plain_tflops * self.tp)
        return per_flop_ms[:, None] * flops


def _drafting(configurations: Configurations) -> Configurations:
    """The small model on the same ranks, in 16 bit."""
    assert configurations.drafter is not None
    wide = tuple(one.model_copy(update={"quantizes": (), "other_bits": ()}) for one in configurations.weight_formats)
    return replace(configurations, model=configurations.drafter, weight_formats=wide, speculation=None, drafter=None)


def _with_drafter(work: Work, draft: Work, tokens: int) -> Work:
    """A step with so many steps of the small model before it; a prefill with one of its own."""
    by_step = (
        "dense_read_ms", "kv_read_ms", "dense_compute_ms", "attention_compute_ms", "all_reduce_hops",
        "all_reduce_link_ms", "layers",
    )  # fmt: skip
    by_prefill = ("prefill_dense_ms", "prefill_attention_ms", "prefill_link_ms", "prefill_layers")
    added: dict[str, Any] = {name: getattr(work, name) + tokens * getattr(draft, name) for name in by_step}
    added |= {name: getattr(work, name) + getattr(draft, name) for name in by_prefill}
    return replace(work, **added)


def output_held_fraction(configurations: Configurations, calibration: Calibration) -> float:
    """Part of a request's output that counts against the KV cache on average while it runs."""
    fractions = calibration.output_held_fraction
    return fractions.get(configurations.engine.id, fractions[""])


def links_of(configurations: Configurations, calibration: Calibration) -> tuple[IntArray, IntArray]:
    """[n] indices into LINKS: among the ranks of a stage, which never leave a server, and between stages.

    Without an offer the size of a server is taken from card and calibration.
    """
    fast = np.maximum(configurations.fast_link_gpus, 1)
    server = np.maximum(fast, calibration.server_gpus)
    links = configurations.links_of_cards
    widest = np.array([PCIE if one and not one.between_servers else NETWORK for one in links])[configurations.gpu]
    least = np.array([NETWORK if one and one.between_servers else FAST for one in links])[configurations.gpu]
    of_stage = np.array([PCIE if one else NETWORK for one in links])[configurations.gpu]
    replica = configurations.gpus_per_replica
    within_stage, within_replica = (
        np.where(ranks <= fast, FAST, np.where(ranks <= server, PCIE, NETWORK))
        for ranks in (replica // configurations.pp, replica)
    )
    return np.minimum(within_stage, of_stage), np.clip(within_replica, least, widest)


@dataclass(frozen=True, slots=True)
class Draft:
    """Drafting one token by a head; arrays [n] or 0 where there is none."""

    layers: int
    dense_read_ms: FloatArray
    expert_read_ms: FloatArray
    dense_compute_ms: FloatArray
    """Per sequence of an attention rank."""
    expert_compute_ms: FloatArray
    """Per sequence of the replica."""

    @classmethod
    def of(cls, configurations: Configurations, rank: _Rank) -> Draft:
        """A pass through one layer of the head and the output matrix; n-grams cost nothing, a model is by itself."""
        drafts, model = configurations.speculation, configurations.model
        if drafts is None or drafts.method in ("ngram", "draft_model"):
            return cls(0, *(np.zeros(len(configurations)) for _ in range(4)))
        tables = draft_tables(model, with_draft(model, drafts.method), configurations.weight_formats)
        return cls(
            layers=1,
            dense_read_ms=rank.read_ms(rank.dense(tables.weight_bytes)),
            expert_read_ms=rank.read_ms(rank.expert(tables.weight_bytes)),
            dense_compute_ms=rank.compute_ms(rank.dense(tables.quantized_flops), rank.dense(tables.plain_flops)),
            expert_compute_ms=rank.compute_ms(rank.expert(tables.quantized_flops), rank.expert(tables.plain_flops)),
        )

    def take(self, rows: IntArray) -> Draft:
        """The chosen rows, in that order."""
        columns = (self.dense_read_ms, self.expert_read_ms, self.dense_compute_ms, self.expert_compute_ms)
        return Draft(self.layers, *(column[rows] for column in columns))


class _Rank:
    """Bytes, operations and speeds of one rank; arrays [n]."""

    def __init__(self, configurations: Configurations, tables: ModelTables) -> None:
        self.tables = tables
        self.tp, self.pp, self.dp = (
            degree.astype(np.float64) for degree in (configurations.tp, configurations.pp, configurations.dp)
        )
        self.of_format, self.of_gpu = configurations.weight_format, configurations.gpu
        self.of_table = np.arange(len(configurations)) if tables.of_rows else self.of_format
        self.gpus, self.links = configurations.gpus, configurations.links_of_cards
        self.head_share = np.maximum(1.0 / self.tp, 1.0 / tables.kv_heads)
        self.bandwidth_gb_per_s = self._of_cards([gpu.memory_bandwidth_gb_per_s for gpu in self.gpus])
        quantized, plain = compute_rates(configurations)
        self.quantized_tflops, self.plain_tflops = quantized[self.of_gpu, self.of_format], plain[self.of_gpu]
        self.kv_bytes_per_value = np.array([f.bytes_per_value for f in configurations.kv_formats])[
            configurations.kv_format
        ]

    def _of_cards(self, values: list[float]) -> FloatArray:
        return np.array(values, np.float64)[self.of_gpu]

    def dense(self, table: FloatArray) -> FloatArray:
        columns = table[self.of_table]
        dense: FloatArray = columns[:, TP] / self.tp + columns[:, KV_HEADS] * self.head_share + columns[:, REPLICATED]
        return dense

    def expert(self, table: FloatArray) -> FloatArray:
        expert: FloatArray = table[self.of_table, EXPERTS] / (self.tp * self.dp)
        return expert

    @property
    def dense_bytes(self) -> FloatArray:
        return self.dense(self.tables.weight_bytes)

    @property
    def expert_bytes(self) -> FloatArray:
        return self.expert(self.tables.weight_bytes)

    @property
    def dense_compute_ms(self) -> FloatArray:
        """Per token."""
        return self.compute_ms(self.dense(self.tables.quantized_flops), self.dense(self.tables.plain_flops))

    @property
    def expert_compute_ms(self) -> FloatArray:
        """Per token of the replica."""
        return self.compute_ms(self.expert(self.tables.quantized_flops), self.expert(self.tables.plain_flops))

    def compute_ms(self, quantized_flops: FloatArray, plain_flops: FloatArray) -> FloatArray:
        ms: FloatArray = (quantized_flops / self.quantized_tflops + plain_flops / self.plain_tflops) / TERA * MS_PER_S
        return ms

    def read_ms(self, amount_bytes: FloatArray) -> FloatArray:
        ms: FloatArray = amount_bytes / GB / self.bandwidth_gb_per_s * MS_PER_S
        return ms

    def link_gb_per_s(self, links: IntArray, calibration: Calibration) -> FloatArray:
        pcie = self._of_cards([gpu.pcie_gb_per_s for gpu in self.gpus])
        fast = self._of_cards([gpu.link_gb_per_s or gpu.pcie_gb_per_s for gpu in self.gpus])
        network = self._of_cards([(one and one.network_gb_per_s) or calibration.network_gb_per_s for one in self.links])
        return np.choose(links, [fast, pcie, network])
