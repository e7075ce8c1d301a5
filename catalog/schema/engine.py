"""Serving engines: their defaults and memory rules by version."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from catalog.schema.base import Entry, Fraction, NonNegative, PositiveFloat, PositiveInt, Source
from catalog.schema.cache_rules import CacheRules
from catalog.schema.uncertainty import Certainty, Uncertainties
from catalog.schema.versions import version_key


class BatchDefaults(Entry):
    """What the engine picks when no flag says otherwise; the first row that fits the card holds."""

    min_visible_memory_gib: NonNegative = 0.0
    gpus: tuple[str, ...] = ()
    """Starts of ids of the only cards that the row is for; empty = all."""
    not_gpus: tuple[str, ...] = ()
    """Starts of ids of cards that the row passes over."""
    max_num_seqs: PositiveInt
    max_num_batched_tokens: PositiveInt


class ExpertPadding(Entry):
    """Expert matrices are padded to multiples of these sizes when a format is repacked for its kernel."""

    hidden_multiple: PositiveInt
    intermediate_multiple: PositiveInt
    """Of one rank's share."""
    pads_scales: bool = True
    """Scales are padded like the values; false = they keep their shape."""


class RepackedExperts(Entry):
    """What a weight of an expert takes on NVIDIA cards without the format's own type, whose kernel repacks it."""

    architectures: tuple[str, ...]
    """Whose experts go this way."""
    below_compute_capability: PositiveFloat
    bits: PositiveFloat
    """Of one weight, with every copy of the scales that stays."""


class LawRules(Entry):
    """What tensor parallelism must divide, beyond heads and experts."""

    vocabulary_multiple: PositiveInt
    """The vocabulary is padded to a multiple of this before it is divided."""
    alignment: Mapping[str, PositiveInt] = Field(default_factory=dict)
    """Weight format -> what each rank's share of a quantized matrix's width must be a multiple of."""


class EngineRules(Entry):
    """What every engine's rules have."""

    uncertainty: Uncertainties
    cache: CacheRules
    law: LawRules
    expert_padding: Mapping[str, ExpertPadding] = Field(default_factory=dict)
    """By weight format."""
    repacked_experts: Mapping[str, RepackedExperts] = Field(default_factory=dict)
    """By the experts' weight format."""
    counts_segments: Literal["no", "allocated", "reserved"] = "no"
    """Weights are what PyTorch's allocator hands out, large tensors in whole segments: as it counts what is allocated
    (ends that it does not split off), or as the card misses it (every end)."""
    rope_value_bytes: Literal[0, 2, 4] = 2
    """Of one sine or cosine in the table of every position that a rank keeps, on NVIDIA cards; 0 = no table."""
    mrope_table_copies: PositiveInt = 1
    """The table is so many times as long for positions of images and videos (`Model.mrope`)."""
    loads_vision_tower: bool = True
    """With the language model; false = only where its file is given, too."""
    tables_on_host: bool = False
    """Tables that hashed n-grams look up stay in host memory unless the engine is told otherwise."""
    adapters_on_experts: bool = False
    """Experts have slots for low-rank adapters, where the engine is told to keep some."""
    adapters_on_spread_experts: Literal["yes", "no", "within tp or dp"] = "yes"
    """Whether it keeps them where whole experts are spread over ranks: of tp or of dp ranks, not of both."""
    keeps_latent_projections: bool = False
    """Latent attention keeps the up-projections a second time, shaped for decoding."""
    context_gib: NonNegative
    """CUDA context and libraries of one GPU, taken before the engine measures anything."""
    context_fast_link_gib: NonNegative
    """The same with communication over the cards' own link set up."""
    unified_host_gib: NonNegative = 0.0
    """What host and operating system hold of a memory that they share with the GPU."""


class NonTorch(Entry):
    """Memory outside the allocator that grows while the engine starts, by tensor-parallel degree."""

    from_tp: PositiveInt
    fast_link_gib: NonNegative
    pcie_gib: NonNegative


class VllmActivation(Entry):
    """The peak of the profiling run: max(sampler, layer) + constant + workspace of the experts.

    sampler = sampler_copies · max_num_seqs · vocabulary · 4 B + hidden_copies · tokens · hidden · 2 B
    layer   = tokens · 2 B · (layer_hidden_copies · hidden + 3 · intermediate / tp)
    """

    sampler_copies: PositiveFloat
    hidden_copies: PositiveFloat
    layer_hidden_copies: PositiveFloat
    pipeline_hidden_copies: NonNegative
    """Added to the layer's copies when stages hand hidden states over."""
    constant_gib: NonNegative
    moe_workspace_persistent: bool
    """Experts keep their workspace beside the sampler:
    tokens · top-k · (max(width, hidden) + max(2 · width, hidden)) · 2 B."""
    moe_workspace_not_formats: tuple[str, ...] = ()
    moe_chunk_tokens: PositiveInt | None
    """Experts work on at most so many tokens at once; null = on all of a step. With data parallelism a step has the
    tokens of every rank, whose hidden states are gathered first."""
    stream_copies: NonNegative = 0.0
    """Copies of all residual streams (hyper-connections) beside the layer's: before and after a part."""
    indexer_requests: int = Field(default=0, ge=0)
    """The indexer of sparse latent attention gathers the keys of so many requests of max_model_len, in a workspace that
    it shares with the experts and that is kept."""
    indexer_logits_gib: NonNegative = 0.0
    """Scores of an indexer, as many as one of its steps may take."""
    vision_gib: NonNegative
    """Of a model with a vision tower: its own peak over dummy images, beside the encoder cache of
    tokens · hidden · 2 B that holds them."""
    vision_by_architecture_gib: Mapping[str, NonNegative] = Field(default_factory=dict)
    """The same where the architecture's towers differ: those that take images as large as they come."""
    vision_plus_minus_fraction: NonNegative = 0.0
    """Of the tower's peak, beside what the text's peak may be off by."""


class VllmGraphs(Entry):
    """CUDA graphs, GiB = constant + (per_layer · layers + moe · (has experts)) · graphs captured ÷ graphs at the most.

    Captured are batches of 1, 2, 4, every 8 up to 256 and every 16 beyond: in pieces up to twice max_num_seqs, whole
    up to max_num_seqs, neither beyond `largest_sequences`.
    """

    constant_gib: NonNegative
    per_layer_gib: NonNegative
    moe_gib: NonNegative
    largest_sequences: PositiveInt
    inside_budget: bool
    """Estimated before the KV cache is sized and subtracted, and printed with the peak of activations; otherwise taken
    afterwards from what the fraction left."""


class VllmRules(EngineRules):
    """vLLM: visible memory × utilization = weights + activation + non-torch (+ graphs) + KV cache."""

    kind: Literal["vllm"] = "vllm"
    gpu_memory_utilization: Fraction
    highest_utilization: Fraction
    """The most that a plan asks for, however much is free: what start-ups have been seen to survive."""
    reserve_gib: NonNegative
    """That a plan which asks for more than the default leaves free, beside what start-up takes outside the budget."""
    batch: tuple[BatchDefaults, ...]
    unchunked_up_to_tokens: int = Field(ge=0)
    """Up to this context, prompts are not split and max_num_batched_tokens is the context (V0); 0 = always split."""
    least_step_by_architecture: Mapping[str, PositiveInt] = Field(default_factory=dict)
    """Tokens that a step which is not stated has at least: of one image or video that is attended to both ways."""
    step_within_requests: bool = False
    """A step whose tokens are not stated has no more than max_num_seqs requests of max_model_len."""
    sampler_profiled_when_chunked: bool
    activation: VllmActivation
    non_torch: tuple[NonTorch, ...]
    """Ascending by tp."""
    non_torch_pipeline_gib: NonNegative
    """With tp 1 and several stages."""
    non_torch_rocm_gib: NonNegative = 0.0
    """More of it on AMD cards."""
    load_rocm_gib: NonNegative = 0.0
    """What an AMD card misses beside the weights once they are loaded, of a model whose positions turn: code and
    workspaces of the kernels that compute the rope table. There the engine takes the card's loss for the weights."""
    graphs: VllmGraphs
    checks_free_memory: bool
    """Refuses to start when less than the budget is free."""
    start_up_slack_gib: NonNegative
    """Shortage after sizing that start-up survives."""
    start_up_extra_gib: Mapping[str, NonNegative] = Field(default_factory=dict)
    """Weight format -> taken after sizing, at 1024 sequences."""
    state_blocks_cover_max_num_seqs: bool
    """Refuses to start when the pool has fewer blocks than max_num_seqs, as each sequence needs one for its states."""


class SglangReserve(Entry):
    """Memory that the default mem_fraction_static leaves outside weights and KV cache, by card.

    reserve = constant + per_gpu · GPUs, MiB
    """

    below_gib: PositiveFloat
    constant_mib: NonNegative
    per_gpu_mib: NonNegative


class SglangBatch(Entry):
    """Defaults by card."""

    below_gib: PositiveFloat
    chunked_prefill_tokens: PositiveInt
    graph_sequences: PositiveInt
    """Largest batch that is captured, with fewer than 4 ranks a stage."""
    graph_sequences_tp4: PositiveInt
    """The same from 4 on."""


class SglangFormula(Entry):
    """reserve = constant + per_token · chunk + per_graph_sequence · largest graph + per_gpu · GPUs
    + prefill graphs, MiB."""

    constant_mib: NonNegative
    per_prefill_token_mib: NonNegative
    per_graph_sequence_mib: NonNegative
    per_gpu_mib: NonNegative
    dp_per_graph_sequence_mib: NonNegative
    """Times dp, with attention data parallelism."""
    dp_large_graph_sequence_mib: NonNegative = 0.0
    """The same, more of it, where more than `dp_large_from_sequences` are captured."""
    dp_large_from_sequences: PositiveInt = 1
    per_prefill_graph_mib: NonNegative = 0.0
    """Of every number of tokens that prompts are captured at: every 4 up to 32, 16 up to 256, 32 up to 512, 128 up to
    4096 and 256 up to the chunk."""
    latent_prefill_graphs_mib: NonNegative = 0.0
    """All of them, with latent attention."""
    least_mib: NonNegative
    least_from_gib: NonNegative
    """Cards from this size on reserve at least `least_mib`."""


class SglangVision(Entry):
    """The fraction's part that is left to a model with a vision tower, smaller the larger the tower.

    part = at_reference · (1 − slope · (parameters ÷ reference − 1)), between the two ends
    """

    reference_parameters: PositiveInt
    at_reference: Fraction
    slope: NonNegative
    least_part: PositiveFloat
    most_part: PositiveFloat
    """Of `at_reference`."""


class SglangRules(EngineRules):
    """SGLang: KV cache = free after weights − (1 − mem_fraction_static) × free before."""

    kind: Literal["sglang"] = "sglang"
    fraction_by_tp: tuple[tuple[PositiveInt, Fraction], ...] = ()
    """(from this tp, fraction), descending; used when given."""
    reserve_by_card: tuple[SglangReserve, ...] = ()
    """Ascending; used when given and there is no table by tp."""
    reserve_formula: SglangFormula
    """Used when there is no table; also the estimate of activation and graphs."""
    reserve_dp_mib: NonNegative = 0.0
    """With attention data parallelism, beside `reserve_by_card`."""
    reserve_drafting_mib: NonNegative = 0.0
    """With a head that drafts tokens, beside either."""
    reserve_drafting_model_mib: NonNegative = 0.0
    """With a model of its own that does."""
    vision: SglangVision | None = None
    """null = a vision tower changes nothing."""
    batch: tuple[SglangBatch, ...]
    max_num_seqs: PositiveInt
    load_overhead_gib: NonNegative
    """Counted into the weights by `mem usage`, workspaces of libraries that load with them."""


class TrtllmRules(EngineRules):
    """TensorRT-LLM: KV cache = fraction × what is free after the engine and its buffers."""

    kind: Literal["trtllm"] = "trtllm"
    free_gpu_memory_fraction: Fraction
    max_num_seqs: PositiveInt
    max_num_batched_tokens: PositiveInt
    sampler_copies: NonNegative
    """Of max_num_seqs · vocabulary · 4 B."""
    layer_hidden_copies: NonNegative
    """Of tokens · hidden · 2 B, beside 3 · intermediate / tp."""
    constant_gib: NonNegative
    separate_lm_head: bool
    """Tied embeddings are stored twice in a built engine."""


class LlamacppRules(EngineRules):
    """llama.cpp: every buffer has its exact size; the KV cache is as large as asked for, and fits or does not."""

    kind: Literal["llamacpp"] = "llamacpp"
    max_num_seqs: PositiveInt
    ubatch_tokens: PositiveInt
    embedding_on_host: bool
    """The token embedding stays in host memory unless it is also the output matrix."""
    compute_hidden_copies: NonNegative
    """Of ubatch · hidden · 4 B in the compute buffer, with 2 · intermediate; or logits and their input."""
    free_margin_gib: NonNegative
    """Left free on every card."""


Rules = Annotated[VllmRules | SglangRules | TrtllmRules | LlamacppRules, Field(discriminator="kind")]


class EngineVersion(Entry):
    """What holds from one version on, until the next row."""

    since: str = Field(pattern=r"^\d+(\.\d+)*$")
    """First version, such as `0.17`; compared number by number."""
    memory: Rules


class Engine(Entry):
    """One serving engine."""

    kind: Literal["engine"] = "engine"
    id: str
    name: str
    stages_take_turns: bool = False
    """Pipeline stages pass one batch on while the others wait, instead of each working on a micro-batch of its own."""
    loads_published: bool = True
    """It reads checkpoints as models are published; false = only conversions of them."""
    formats_made_while_loading: tuple[str, ...] = ()
    """Ids of weight formats that it makes of 16 bit itself."""
    experimental_formats: tuple[str, ...] = ()
    """Those that its makers call so."""
    versions: tuple[EngineVersion, ...] = Field(min_length=1)
    """Ascending. A file states a rule again only where it changes; here every row is whole."""
    sources: tuple[Source, ...] = Field(min_length=1)
    notes: str = ""

    @model_validator(mode="before")
    @classmethod
    def _rows_inherit(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("versions"), list | tuple):
            return data
        rows: list[Any] = []
        for row in data["versions"]:
            whole = isinstance(row, dict) and rows and isinstance(rows[-1], dict)
            rows.append(_overlaid(rows[-1], row) if whole else row)
        return {**data, "versions": rows}

    @model_validator(mode="after")
    def _rows_ascend(self) -> Engine:
        order = [version_key(row.since) for row in self.versions]
        if order != sorted(set(order)):
            raise ValueError("versions: rows must ascend by `since`, each once")
        return self

    def at(self, version: str | None) -> EngineVersion:
        """The row that holds for a version: None = the newest; older than the first row = the first, as an estimate.

        ValueError where it is no version at all.
        """
        if version is None:
            return self.versions[-1]
        wanted = version_key(version)
        held = [row for row in self.versions if version_key(row.since) <= wanted]
        return held[-1] if held else self._before_the_first

    def predates(self, version: str | None) -> bool:
        """Whether a version is older than the first row."""
        return version is not None and version_key(version) < version_key(self.versions[0].since)

    @cached_property
    def _before_the_first(self) -> EngineVersion:
        """The first row, none of whose parts is more than estimated for what is older."""
        first = self.versions[0]
        estimated = {"certainty": Certainty.ESTIMATED}
        parts = {name: one.model_copy(update=estimated) for name, one in first.memory.uncertainty}
        memory = first.memory.model_copy(update={"uncertainty": Uncertainties(**parts)})
        return first.model_copy(update={"memory": memory})


def _overlaid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """A row with every mapping merged key by key; lists and values of the later row replace the earlier's."""
    merged = dict(below)
    for key, value in above.items():
        before = merged.get(key)
        merged[key] = _overlaid(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
