"""Well-known models counted by hand: parameters, KV cache, and how tensor parallelism splits them."""

from __future__ import annotations

from operator import mul
from pathlib import Path

import pytest
import yaml

from catalog.architecture import Architecture, Cache, Layer, Split, architecture_of
from catalog.schema import Model, TensorRole

MODELS = Path(__file__).parents[2] / "catalog" / "data" / "models"
KIB = 2**10


def take_apart(model_id: str) -> Architecture:
    text = (MODELS / f"{model_id.replace('/', '--')}.yaml").read_text(encoding="utf-8")
    return architecture_of(Model.model_validate(yaml.safe_load(text)))


def parameters_split(architecture: Architecture, split: Split) -> int:
    return sum(tensor.parameters for tensor in architecture.tensors() if tensor.split is split)


@pytest.mark.parametrize(
    ("model_id", "kib_per_token", "parameters"),
    [
        # 2 (K and V) · layers · kv_heads · head_dim · 2 bytes
        ("Qwen/Qwen3-0.6B", 112, 596_049_920),  # 2·28·8·128·2 = 114,688 B
        ("Qwen/Qwen3-14B", 160, 14_768_307_200),  # 2·40·8·128·2 = 163,840 B
        ("Qwen/Qwen3-32B", 256, 32_762_123_264),  # 2·64·8·128·2 = 262,144 B
        ("Qwen/Qwen3-235B-A22B", 188, 235_093_634_560),  # 2·94·4·128·2 = 192,512 B
    ],
)
def test_qwen3_needs_what_the_exact_arithmetic_of_the_reference_note_says(
    model_id: str, kib_per_token: int, parameters: int
) -> None:
    architecture = take_apart(model_id)
    values = sum(layer.cache.kv_heads * layer.cache.values_per_token_per_head for layer in architecture.layers)
    assert values * 2 == kib_per_token * KIB
    assert architecture.parameters == parameters


def test_qwen3_0_6b_layer_by_layer() -> None:
    # attention: q 1024·2048, k and v 2·1024·1024, o 2048·1024, two norms of 128      = 6,291,712
    # mlp: 3·1024·3072 = 9,437,184; two norms of 1024                                  = 2,048
    # 28 layers · 15,730,944 + tied embedding 151,936·1024 + final norm 1,024          = 596,049,920
    architecture = take_apart("Qwen/Qwen3-0.6B")
    assert [layer.parameters for layer in architecture.layers] == [6_291_712 + 9_437_184 + 2_048] * 28
    assert sum(tensor.parameters for tensor in architecture.embedding) == 151_936 * 1024
    assert [tensor.role for tensor in architecture.head] == [TensorRole.NORM], "tied: no lm_head"


def test_deepseek_r1_caches_one_latent_on_every_rank() -> None:
    # 512 + 64 values a token and layer: 61 · 576 · 2 B = 70,272 B, whatever tp is
    architecture = take_apart("deepseek-ai/DeepSeek-R1")
    assert {layer.cache for layer in architecture.layers} == {Cache("latent", latent_values_per_token=576)}
    assert len(architecture.layers) * 576 * 2 == 70_272
    # decode works on the latent: 2 · 128 heads · (576 for scores + 512 for values)
    assert architecture.layers[0].flops_per_token_per_context_token == 2 * 128 * (576 + 512)
    # routed experts: 58 layers · 256 · 3·7168·2048
    assert architecture.parameters_of(TensorRole.EXPERT) == 58 * 256 * 3 * 7168 * 2048 == 653_908_770_816
    # of which 8 of 256 work on a token
    assert architecture.active_parameters == 671_026_404_352 - 653_908_770_816 * 248 // 256


def test_deepseek_r1_repeats_down_projections_on_every_rank() -> None:
    # per layer: q_a 7168·1536, kv_a 7168·576, norms 1536 + 512 + 2·7168; router 7168·256 in 58 layers; final norm
    per_layer = 7168 * 1536 + 7168 * 576 + 1536 + 512 + 2 * 7168
    assert parameters_split(take_apart("deepseek-ai/DeepSeek-R1"), Split.REPLICATED) == (
        61 * per_layer + 58 * 7168 * 256 + 7168
    )


def test_gpt_oss_120b_alternates_windows_of_128_tokens() -> None:
    architecture = take_apart("openai/gpt-oss-120b")
    assert [layer.cache.window_tokens for layer in architecture.layers] == [128, None] * 18
    # growing: 18 layers · 8 heads · 2·64 · 2 B = 36,864 B; fixed: the same · 128 tokens = 4.5 MiB
    growing = [layer.cache for layer in architecture.layers if layer.cache.kind == "full"]
    assert sum(cache.kv_heads * cache.values_per_token_per_head * 2 for cache in growing) == 36_864
    # experts with bias vectors: 36 layers · 128 · (3·2880·2880 + 2·2880 + 2880), the vectors never quantized
    assert parameters_split(architecture, Split.EXPERTS) == 36 * 128 * (3 * 2880**2 + 3 * 2880) == 114_701_598_720
    assert architecture.parameters_of(TensorRole.EXPERT) == 36 * 128 * 3 * 2880**2
    assert (architecture.n_experts, architecture.experts_per_token) == (128, 4)


def test_gemma_3_27b_has_ten_full_layers_among_62() -> None:
    architecture = take_apart("google/gemma-3-27b-it")
    kinds = [layer.cache.kind for layer in architecture.layers]
    assert kinds == (["sliding"] * 5 + ["full"]) * 10 + ["sliding"] * 2
    # one layer: 2 · 16 heads · 128 · 2 B = 8 KiB a token; 10 grow (80 KiB), 52 hold 1024 tokens (416 MiB)
    bytes_per_token = [
        layer.cache.kv_heads * layer.cache.values_per_token_per_head * 2 for layer in architecture.layers
    ]
    assert bytes_per_token == [8 * KIB] * 62
    window_tokens = [layer.cache.window_tokens or 0 for layer in architecture.layers]
    assert sum(map(mul, bytes_per_token, window_tokens)) == 416 * KIB * KIB


def test_equal_layers_are_one_object() -> None:
    architecture = take_apart("google/gemma-3-27b-it")
    assert len({id(layer) for layer in architecture.layers}) == 2


def test_qwen3_next_keeps_a_state_instead_of_a_cache_in_three_of_four_layers() -> None:
    architecture = take_apart("Qwen/Qwen3-Next-80B-A3B-Instruct")
    state, full = architecture.layers[0].cache, architecture.layers[3].cache
    # 32 value heads · 128·128 of state; 3 past inputs of the convolution over q, k, v: (2·16 + 32)·128
    assert state == Cache("recurrent", state_values=32 * 128 * 128, conv_values=3 * (2 * 16 + 32) * 128)
    assert full == Cache("full", kv_heads=2, values_per_token_per_head=2 * 256)
    assert architecture.layers[0].flops_per_token_per_context_token == 0


def test_deepseek_v4_compresses_4_or_128_tokens_into_one_entry() -> None:
    architecture = take_apart("deepseek-ai/DeepSeek-V4-Flash")
    window, sparse, heavy = architecture.layers[0], architecture.layers[2], architecture.layers[3]
    assert (window.cache.kind, window.cache.window_tokens) == ("sliding", 128)
    # 512 values for 4 tokens, an indexer key of 132 B for 4 tokens, and 128 tokens of the window uncompressed
    assert sparse.cache == Cache("latent", 0, 0, 512 // 4, 132 // 4, conv_values=128 * 512)
    assert heavy.cache == Cache("latent", 0, 0, 512 // 128, conv_values=128 * 512)
    assert sparse.attended_tokens == 128 + 512


def test_glm_5_2_shares_one_indexer_among_four_layers() -> None:
    architecture = take_apart("zai-org/GLM-5.2")
    own = [layer for layer in architecture.layers if layer.cache.indexer_bytes_per_token]
    assert len(own) == 21, "layers 0, 1, 2, 6, 10 … 74"
    # an indexer: queries 2048·32·128, keys 6144·128, weights 6144·32, a LayerNorm of 128 with bias
    indexer = 2048 * 32 * 128 + 6144 * 128 + 6144 * 32 + 2 * 128
    assert architecture.parameters == take_apart("zai-org/GLM-5").parameters - (78 - 21) * indexer


def test_a_searched_model_has_layers_without_attention() -> None:
    architecture = take_apart("nvidia/Llama-3_3-Nemotron-Super-49B-v1")
    kinds = [layer.cache.kind for layer in architecture.layers]
    assert (len(kinds), kinds.count("full"), kinds.count("none")) == (80, 49, 31)


def test_key_value_projections_are_split_by_head() -> None:
    # Qwen3-14B: 40 layers · 5120 · 2 · 8·128
    assert parameters_split(take_apart("Qwen/Qwen3-14B"), Split.KV_HEADS) == 40 * 5120 * 2 * 8 * 128


def test_attention_arithmetic_is_four_operations_per_head_and_channel() -> None:
    # Qwen3-14B: 40 heads of 128: 2 for q·k, 2 for p·v
    layer: Layer = take_apart("Qwen/Qwen3-14B").layers[0]
    assert layer.flops_per_token_per_context_token == 4 * 40 * 128
    assert layer.attended_tokens is None


def test_flash_next_keeps_a_table_of_n_grams_and_four_streams_of_low_rank() -> None:
    architecture = take_apart("Qwen/Qwen3.8-Flash-Next")
    # 16 heads of the first primes above 20 million rows, together padded to 128: 320,001,536 · 160
    assert architecture.parameters_of(TensorRole.TABLE) == 320_001_536 * 160
    # a connection: a norm of 4 · 2560, 320 down and up again, 4 handed back; one for each part of a layer, none else
    width = 4 * 2560
    norms = [t.parameters for t in architecture.layers[0].tensors if t.role is TensorRole.NORM]
    assert norms == [128, *[width + 2 * width * 320 + 4 * width] * 2]
    assert sum(t.parameters for t in architecture.head if t.role is TensorRole.NORM) == width + 2 * width * 320


def test_glm_5_3_flash_pools_the_keys_of_its_indexers() -> None:
    architecture = take_apart("zai-org/GLM-5.3-Flash")
    sparse, recurrent = architecture.layers[3], architecture.layers[4]
    # no positions: the latent alone is cached; keys of 128 · 2 B, four in one
    assert sparse.cache == Cache("latent", 0, 0, 512, 128 * 2 // 4)
    assert recurrent.cache == Cache("recurrent", state_values=64 * 128 * 128, conv_values=3 * 3 * 64 * 128)
    # gates and places that pool them: 128 · (4096 + 4); no learned weights sum the streams at the end
    assert 128 * (4096 + 4) in [t.parameters for t in sparse.tensors]
    assert [t.parameters for t in architecture.head] == [4096, 154_880 * 4096]
