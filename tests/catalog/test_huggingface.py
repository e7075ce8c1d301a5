"""Hugging Face configurations become the shipped entries, or an error that names the field."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.architecture import architecture_of
from catalog.errors import InputError
from catalog.huggingface import FAMILIES, checkpoint_of, model_from_hf_config
from catalog.model_text import model_text
from catalog.schema import Model, Source, TensorRole

HERE = Path(__file__).parent
MODELS = HERE.parents[1] / "catalog" / "data" / "models"
CONFIGS: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "hf_configs.yaml").read_text(encoding="utf-8"))
SOURCE = Source(text="config.json of the test")
NOT_IN_A_CONFIGURATION = {
    "conversions", "family", "licence", "notes", "published", "sources", "verification", "vision_parameters",
}  # fmt: skip
QUOTED_IN_PART = {"zai-org/GLM-5.3-Flash": {"checkpoint"}}
"""Configurations of which our copy lacks a field, here `quantization_config`."""
LLAMA = CONFIGS["meta-llama/Llama-3.1-8B-Instruct"]


def convert(config: dict[str, Any], **options: Any) -> Model:
    return model_from_hf_config(config, model_id="me/mine", source=SOURCE, **options)


def faults_of(config: Any) -> dict[str | None, str]:
    with pytest.raises(InputError) as caught:
        convert(config)
    return {fault.key: fault.message for fault in caught.value.faults}


def without(config: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in names}


@pytest.mark.parametrize("model_id", CONFIGS)
def test_a_published_configuration_gives_the_shipped_entry(model_id: str) -> None:
    text = (MODELS / f"{model_id.replace('/', '--')}.yaml").read_text(encoding="utf-8")
    shipped = Model.model_validate(yaml.safe_load(text))
    converted = model_from_hf_config(CONFIGS[model_id], model_id=model_id, source=SOURCE)
    excluded = NOT_IN_A_CONFIGURATION | QUOTED_IN_PART.get(model_id, set())
    assert converted.model_dump(exclude=excluded) == shipped.model_dump(exclude=excluded)


LISTS_ITS_LAYERS = [
    name for name, config in CONFIGS.items() if {"hybrid_override_pattern", "block_configs"} & set(config)
]


@pytest.mark.parametrize("model_id", sorted(set(CONFIGS) - set(LISTS_ITS_LAYERS)))
def test_a_configuration_without_a_layer_count_names_the_field(model_id: str) -> None:
    config = deepcopy(CONFIGS[model_id])
    del config.get("text_config", config)["num_hidden_layers"]
    assert f"{'text_config.' if 'text_config' in config else ''}num_hidden_layers" in faults_of(config)


@pytest.mark.parametrize("model_id", LISTS_ITS_LAYERS)
def test_a_list_of_layers_needs_no_count_but_must_agree_with_one(model_id: str) -> None:
    config = CONFIGS[model_id]
    assert convert(without(config, "num_hidden_layers")).n_layers == config["num_hidden_layers"]
    assert "99 layers" in faults_of({**config, "num_hidden_layers": 99})["num_hidden_layers"]


def test_a_users_entry_is_unverified_and_keeps_its_source() -> None:
    model = convert(LLAMA)
    assert (model.verification, model.sources, model.family) == ("unverified", (SOURCE,), "llama")


def test_the_entry_is_written_as_a_catalog_file() -> None:
    text = model_text(convert(LLAMA))
    assert text.startswith("kind: model\nid: me/mine\n")
    assert Model.model_validate(yaml.safe_load(text)) == convert(LLAMA)


def test_all_missing_fields_are_reported_together() -> None:
    faults = faults_of(without(LLAMA, "num_hidden_layers", "hidden_size", "vocab_size"))
    assert set(faults) == {"num_hidden_layers", "hidden_size", "vocab_size"}
    assert faults["num_hidden_layers"] == (
        "num_hidden_layers: missing; a llama configuration must state it (a positive whole number)"
    )


@pytest.mark.parametrize(
    ("model_type", "said"),
    [
        ("lama", "nearest supported: llama"),
        ("qwen3_mow", "nearest supported: qwen3_moe"),
        ("rwkv7", "architecture 'rwkv7' is not supported"),
    ],
)
def test_an_unknown_architecture_names_the_nearest_ones(model_type: str, said: str) -> None:
    assert said in faults_of({**LLAMA, "model_type": model_type})["model_type"]


def test_a_configuration_without_a_model_type_is_refused() -> None:
    assert "missing" in faults_of(without(LLAMA, "model_type"))["model_type"]


@pytest.mark.parametrize("value", [0, -1, 1.5, "4096", True, [4096], 2**70])
def test_a_size_that_is_no_positive_whole_number_is_refused(value: object) -> None:
    assert "is not a positive whole number" in faults_of({**LLAMA, "hidden_size": value})["hidden_size"]


def test_more_layers_than_believable_are_refused_before_they_are_listed() -> None:
    assert "more than the 1000 layers" in faults_of({**LLAMA, "num_hidden_layers": 10**12})["num_hidden_layers"]


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(InputError, match="a mapping of fields"):
        model_from_hf_config([], model_id="me/mine", source=SOURCE)  # type: ignore[arg-type]


def test_groups_that_do_not_come_out_even_are_refused() -> None:
    assert (
        "3 does not divide num_attention_heads 32"
        in faults_of({**LLAMA, "num_key_value_heads": 3})["num_key_value_heads"]
    )
    mixtral = CONFIGS["mistralai/Mixtral-8x7B-Instruct-v0.1"]
    assert "9 of 8 experts" in faults_of({**mixtral, "num_experts_per_tok": 9})["num_experts_per_tok"]


def test_key_value_heads_are_as_many_as_heads_only_where_the_family_says_so() -> None:
    assert convert(without(LLAMA, "num_key_value_heads")).kv_heads == 32
    mistral = CONFIGS["mistralai/Mistral-7B-Instruct-v0.1"]
    assert convert({**mistral, "num_key_value_heads": None}).kv_heads == 32
    assert "missing" in faults_of(without(mistral, "num_key_value_heads"))["num_key_value_heads"]


def test_layer_types_must_be_known_and_one_a_layer() -> None:
    gemma = CONFIGS["google/gemma-2-9b-it"]
    assert "'odd_attention' unknown for gemma2" in faults_of({**gemma, "layer_types": ["odd_attention"]})["layer_types"]
    assert "1 entries for 42 layers" in faults_of({**gemma, "layer_types": ["full_attention"]})["layer_types"]


def test_heads_that_do_not_divide_the_width_need_a_head_dim() -> None:
    config = {**LLAMA, "num_attention_heads": 24, "num_key_value_heads": 8}
    assert "4096 is not divisible by num_attention_heads 24" in faults_of(config)["head_dim"]
    assert convert({**config, "head_dim": 128}).attention.head_dim == 128  # type: ignore[union-attr]


def test_a_flag_that_adds_tensors_we_do_not_describe_is_refused() -> None:
    gemma = deepcopy(CONFIGS["google/gemma-4-26B-A4B-it"])
    gemma["text_config"]["hidden_size_per_layer_input"] = 256
    assert "per-layer input embeddings" in faults_of(gemma)["text_config.hidden_size_per_layer_input"]


def test_bias_vectors_follow_the_configuration() -> None:
    # llama with attention_bias: q 4096, k and v 2·1024, o 4096 more in each of 32 layers
    plain, biased = (architecture_of(convert({**LLAMA, "attention_bias": bias})) for bias in (False, True))
    assert biased.parameters - plain.parameters == 32 * (4096 + 2 * 1024 + 4096)


def test_a_vision_model_says_that_its_tower_is_not_counted() -> None:
    config = CONFIGS["Qwen/Qwen3-VL-8B-Instruct"]
    assert convert(config).notes == "language model only: vision_parameters is not stated"
    counted = convert(config, vision_parameters=576_388_336)
    assert (counted.notes, counted.vision_parameters) == ("", 576_388_336)


def test_tied_embeddings_may_be_stated_outside_the_text_configuration() -> None:
    config = {**CONFIGS["Qwen/Qwen3-VL-8B-Instruct"], "tie_word_embeddings": True}
    assert convert(config).tied_embeddings


def test_granite_4_without_experts_has_the_shared_mlp_alone() -> None:
    config = {**CONFIGS["ibm-granite/granite-4.0-h-small"], "num_local_experts": 0}
    model = convert(config)
    assert (model.moe, model.mlp.intermediate_size) == (None, 1536)  # type: ignore[union-attr]


def test_qwen_windows_begin_at_max_window_layers() -> None:
    config = {**CONFIGS["Qwen/Qwen2.5-7B-Instruct"], "use_sliding_window": True, "max_window_layers": 21}
    model = convert(config)
    assert (model.layers, model.window_tokens) == ("full/dense*21 sliding/dense*7", 131072)


def weights(**scheme: Any) -> dict[str, Any]:
    """compressed-tensors with one group of quantized layers."""
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": scheme}}


@pytest.mark.parametrize(
    ("quantization", "weight_format"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block"),
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "fp8"),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8-static"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq-int4"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq-int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8-w8a16"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bnb-nf4"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bnb-int8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8-static"),
        (weights(weights={"type": "int", "num_bits": 4, "group_size": 32}), "int4-g32"),
        (weights(weights={"type": "int", "num_bits": 4, "group_size": 128, "symmetric": False}), "awq-int4"),
        (weights(weights={"type": "int", "num_bits": 8}, input_activations={"dynamic": True}), "int8"),
        (weights(weights={"type": "float", "num_bits": 8}, input_activations={"dynamic": True}), "fp8"),
        (weights(weights={"type": "float", "num_bits": 8}, input_activations={"dynamic": False}), "fp8-static"),
        (weights(weights={"type": "float", "num_bits": 4, "group_size": 16}, input_activations={}), "nvfp4"),
        (weights(weights={"type": "float", "num_bits": 4, "group_size": 16}), "nvfp4-a16"),
    ],
)
def test_a_quantized_checkpoint_is_one_of_our_formats(quantization: dict[str, Any], weight_format: str) -> None:
    assert checkpoint_of({"quantization_config": quantization}).weight_format == weight_format


@pytest.mark.parametrize(
    ("quantization", "key"),
    [
        ({"quant_method": "quip"}, "quantization_config.quant_method"),
        ({"quant_method": "fp8", "weight_block_size": [64, 64]}, "quantization_config.weight_block_size"),
        ({"quant_method": "awq", "bits": 3, "group_size": 128}, "quantization_config.bits"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64}, "quantization_config.group_size"),
        ({"quant_method": "compressed-tensors"}, "quantization_config.config_groups"),
        (weights(weights={"type": "int", "num_bits": 3}), "quantization_config.config_groups"),
        ({"quant_method": "modelopt", "quant_algo": "W2"}, "quantization_config.quant_algo"),
        ("fp8", "quantization_config"),
    ],
)
def test_a_quantization_without_a_format_names_its_field(quantization: object, key: str) -> None:
    assert key in faults_of({**LLAMA, "quantization_config": quantization})


def test_modules_left_out_of_the_quantization_keep_their_roles_in_16_bit() -> None:
    checkpoint = checkpoint_of(
        {
            "torch_dtype": "bfloat16",
            "quantization_config": {
                "quant_algo": "NVFP4",
                "kv_cache_scheme": {"type": "float", "num_bits": 8},
                "ignore": [
                    "lm_head",
                    "model.layers.0.linear_attn*",
                    "model.layers.1.self_attn*",
                    "model.layers.1.mlp.shared_expert_gate",
                    "model.visual*",
                    "mtp.layers.0*",
                ],
            },
        }
    )
    assert checkpoint.kept_16bit == (TensorRole.ATTENTION, TensorRole.LINEAR_ATTENTION)
    assert (checkpoint.weight_format, checkpoint.kv_format) == ("nvfp4", "fp8")


def test_the_supported_families_are_listed_in_order() -> None:
    assert list(FAMILIES) == sorted(FAMILIES)


JUNK = st.sampled_from([None, 0, 1, -3, 2.5, True, "", "odd", [], [0], ["odd"], [[1]], {}, {"a": None}, 10**30])


@settings(max_examples=300, deadline=None)
@given(model_id=st.sampled_from(sorted(CONFIGS)), data=st.data())
def test_whatever_a_field_holds_the_answer_is_an_entry_or_an_input_error(model_id: str, data: st.DataObject) -> None:
    config = deepcopy(CONFIGS[model_id])
    part = data.draw(st.sampled_from([value for value in config.values() if isinstance(value, dict)] + [config]))
    for name in data.draw(st.lists(st.sampled_from(sorted(part)), min_size=1, max_size=2)):
        part[name] = data.draw(JUNK)
    with suppress(InputError):
        architecture_of(convert(config))


@pytest.mark.parametrize(
    ("scaling", "tables"),
    [
        (None, 2),
        ({"rope_type": "linear", "factor": 8.0}, 9),
        ({"type": "linear", "factor": 4}, 5),
        ({"factor": 8.0}, 2),
    ],
)
def test_linear_scaling_multiplies_the_positions_of_the_global_rope_table(scaling: Any, tables: int) -> None:
    config = CONFIGS["google/gemma-3-4b-it"]
    text = {**config["text_config"], "rope_scaling": scaling}
    assert convert({**config, "text_config": text}).rope_table_tokens == tables * 131072


@pytest.mark.parametrize("factor", [None, "8", 0.5, 1e9, float("nan")])
def test_a_scaling_factor_that_cannot_be_is_named(factor: Any) -> None:
    config = CONFIGS["google/gemma-3-4b-it"]
    text = {**config["text_config"], "rope_scaling": {"rope_type": "linear", "factor": factor}}
    with pytest.raises(InputError, match=r"text_config\.rope_scaling: factor"):
        convert({**config, "text_config": text})


@pytest.mark.parametrize(
    ("stated", "rotary_dim"),
    [
        ({"partial_rotary_factor": 0.5}, 64),
        ({"rotary_dim": 32}, 32),
        ({"rope_parameters": {"rope_theta": 1e6, "partial_rotary_factor": 0.25}}, 32),
        ({"position_embedding_type": "nope"}, 0),
        ({"partial_rotary_factor": 1.0}, None),
        ({}, None),
    ],
)
def test_a_part_of_the_head_may_turn(stated: dict[str, Any], rotary_dim: int | None) -> None:
    assert convert(LLAMA | stated).rotary_dim == rotary_dim


@pytest.mark.parametrize("part", [0, 1.5, "half", True])
def test_a_part_of_the_head_that_cannot_turn_is_named(part: Any) -> None:
    assert "no part between 0 and 1" in faults_of(LLAMA | {"partial_rotary_factor": part})["partial_rotary_factor"]
