"""Reader of Qwen4-Exp: Qwen3-Next with sparse attention, residual streams of low rank and tables of n-grams."""

from __future__ import annotations

from catalog.huggingface.pieces import Facts, attention, experts, gated_deltanet, schedule
from catalog.huggingface.reader import ConfigReader

_KNOWN = {"linear_attention": "gated_deltanet", "full_attention": "sparse", "indexed_attention": "sparse"}
_KEY_BYTES = 2
_MOST_HEADS = 128
"""Of all tables; more than any configuration means."""
_LARGEST_BASE = 10**9


def qwen4_exp(config: ConfigReader) -> Facts:
    """Gated DeltaNet in three of four layers, in the fourth gated attention to keys that an indexer averaged."""
    interval = config.count("full_attention_interval", default=4)
    mixers = config.words("layer_types", _KNOWN) or [
        "gated_deltanet" if (layer + 1) % interval else "sparse" for layer in range(config.n_layers)
    ]
    averaged_tokens, key_width = config.count("indexer_compress_ratio"), config.count("indexer_head_dim")
    moe = experts(config, count=["num_experts"])
    moe["shared_intermediate_size"] = config.count("shared_expert_intermediate_size")
    moe["shared_gate"] = True
    return {
        "attention": {**attention(config, bias="all", qk_norm="head"), "gate": "full"},
        "indexer": {
            "heads": config.count("indexer_n_heads"),
            "head_dim": key_width,
            "topk_tokens": config.count("indexer_budget"),
            "cached_bytes_per_token": max(_KEY_BYTES * key_width // averaged_tokens, 1),
        },
        "recurrent": gated_deltanet(config),
        "moe": moe,
        "hyper_connections": {"streams": config.count("hc_count"), "low_rank": config.count("hc_lowrank")},
        "other_tensors": _tables(config),
        **schedule(config, mixers, "moe"),
    }


def _tables(config: ConfigReader) -> list[Facts]:
    """A table of hashed n-grams for each layer that is told to have one, and what joins it to the layer."""
    layers = config.numbers("ple_layer_ids") or []
    if not layers:
        return []
    hidden = config.count("hidden_size")
    width, streams = config.count("ple_embed_dim", default=hidden), config.count("hc_count") * hidden
    heads = (config.count("ngram_size") - 1) * config.count("heads_per_ngram")
    if heads < 1 or width % heads or heads * len(layers) > _MOST_HEADS:
        config.fault("heads_per_ngram", f"{heads} heads do not share {width} channels (ple_embed_dim)")
        return []
    primes = _primes_from(config.count("ngram_vocab_size_base"), heads * len(layers))
    multiple = config.count("make_ngram_vocab_size_divisible_by")
    rows = sum(-(-sum(primes[first : first + heads]) // multiple) * multiple for first in range(0, len(primes), heads))
    joined = width * (streams + hidden) + (3 + config.count("ple_conv_kernel_size")) * streams
    return [
        {
            "what": "tables of hashed n-grams",
            "parameters_once": rows * (width // heads),
            "role": "table",
            "divided": True,
        },
        {
            "what": "what joins a table to its layer: key and value projections, three norms, a convolution",
            "parameters_once": len(layers) * joined,
        },
    ]


def _primes_from(base: int, count: int) -> list[int]:
    """The first primes that are at least `base`: a head's rows."""
    found: list[int] = []
    candidate = min(base, _LARGEST_BASE)
    while len(found) < count:
        if candidate > 1 and all(candidate % divisor for divisor in range(2, int(candidate**0.5) + 1)):
            found.append(candidate)
        candidate += 1
    return found
