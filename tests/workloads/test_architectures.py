"""Shipped architectures are the published ones, and keep their proportions at other sizes."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from joulebench.errors import InputError
from joulebench.workloads.architectures import Sizes, architecture_names, make_config, read_architecture
from joulebench.workloads.base import InfeasibleError
from tests.language_models import MINIATURE, miniature_config

# config.json as published, without the fields that no forward pass reads.
PUBLISHED = {
    "gpt2": {
        "model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "initializer_range": 0.02,
        "attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1, "bos_token_id": 50256, "eos_token_id": 50256,
    },
    "qwen3-0.6b": {
        "model_type": "qwen3", "attention_bias": False, "attention_dropout": 0.0, "head_dim": 128,
        "hidden_act": "silu", "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072,
        "max_position_embeddings": 40960, "max_window_layers": 28, "num_attention_heads": 16,
        "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-6, "rope_scaling": None,
        "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": True, "use_sliding_window": False,
        "vocab_size": 151936, "bos_token_id": 151643, "eos_token_id": 151645,
    },
    "gemma-3-4b": {
        "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
    },
    "llama-3.1-8b": {
        "model_type": "llama", "attention_bias": False, "attention_dropout": 0.0, "hidden_act": "silu",
        "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
        "max_position_embeddings": 131072, "mlp_bias": False, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "rope_scaling": {
            "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3",
        },
        "tie_word_embeddings": False, "vocab_size": 128256, "bos_token_id": 128000, "eos_token_id": 128001,
    },
}  # fmt: skip
SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 1152, "image_size": 896, "intermediate_size": 4304,
    "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14, "vision_use_head": False,
}  # fmt: skip


def on_meta(config):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def parameters(model) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", architecture_names())
def test_has_the_parameters_it_states(name):
    assert parameters(on_meta(make_config(name))) == read_architecture(name).parameters


@pytest.mark.parametrize(
    ("name", "count"),
    [("gpt2", 124_439_808), ("qwen3-0.6b", 596_049_920), ("llama-3.1-8b", 8_030_261_248)],
)
def test_published_parameters(name, count):
    assert read_architecture(name).parameters == count


def test_gemma_without_its_eyes():
    """4,300,079,472 parameters are published; the language model's are what the rest leaves."""
    config = AutoConfig.for_model("gemma3", text_config=PUBLISHED["gemma-3-4b"], vision_config=SIGLIP)
    whole = on_meta(config)
    assert parameters(whole) == 4_300_079_472
    tower, projector = parameters(whole.model.vision_tower), parameters(whole.model.multi_modal_projector)
    assert (tower, projector) == (416_866_032, 2_950_272)
    assert read_architecture("gemma-3-4b").parameters == 4_300_079_472 - tower - projector


@pytest.mark.parametrize("name", PUBLISHED)
def test_equals_the_published_configuration(name):
    published = AutoConfig.for_model(**PUBLISHED[name]).to_dict()
    ours = make_config(name).to_dict()
    ours.pop("sliding_window_pattern", None)  # in layer_types, which are compared
    assert ours == published


def test_gemmas_layers_and_rotations():
    config = make_config("gemma-3-4b")
    assert [i for i, kind in enumerate(config.layer_types) if kind == "full_attention"] == [5, 11, 17, 23, 29]
    rotary = on_cpu_rotary(config)
    channels = torch.arange(0, 256, 2) / 256
    torch.testing.assert_close(rotary.sliding_attention_inv_freq, 10_000.0**-channels)
    torch.testing.assert_close(rotary.full_attention_inv_freq, 1_000_000.0**-channels / 8)


def test_llamas_rotations():
    """Low frequencies are slowed eightfold, high ones kept, those between blended (Llama 3.1's published code)."""
    frequency = 500_000.0 ** -(torch.arange(0, 128, 2) / 128)
    wavelength = 2 * math.pi / frequency
    blend = ((8192 / wavelength - 1) / (4 - 1)).clamp(0, 1)
    torch.testing.assert_close(
        on_cpu_rotary(make_config("llama-3.1-8b")).inv_freq, frequency * (blend + (1 - blend) / 8)
    )


def on_cpu_rotary(config):
    config.vocab_size, config.intermediate_size, config.num_hidden_layers = 8, 8, 1
    if getattr(config, "layer_types", None):
        config.num_hidden_layers, config.layer_types = 6, config.layer_types[:6]  # one that sees everything
    return AutoModelForCausalLM.from_config(config).model.rotary_emb


def test_no_such_architecture():
    with pytest.raises(InputError, match=r"no architecture 'qwen3'; did you mean 'qwen3-0.6b'\? \(allowed: custom"):
        make_config("qwen3")


def test_resized_in_proportion():
    config = make_config("gemma-3-4b", Sizes(hidden_size=1280, layers=8, heads=4))
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (1280, 8, 4)
    assert config.num_key_value_heads == 2  # two heads share one, as before
    assert config.head_dim == 256  # attention stays 0.8 as wide as the model
    assert config.query_pre_attn_scalar == 256
    assert config.intermediate_size == 5120
    assert config.layer_types.count("full_attention") == 1
    half = make_config("gemma-3-4b", Sizes(hidden_size=1280))
    assert (half.num_attention_heads, half.head_dim, half.query_pre_attn_scalar) == (8, 128, 128)


def test_custom_is_a_llama_of_the_given_size():
    config = make_config("custom", Sizes(hidden_size=256, layers=3, heads=16, vocabulary=1000))
    assert (config.model_type, config.hidden_size, config.intermediate_size) == ("llama", 256, 688)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (16, 16, 16)
    assert (config.num_hidden_layers, config.vocab_size) == (3, 1000)


@pytest.mark.parametrize(
    ("name", "sizes", "reason"),
    [
        ("custom", Sizes(hidden_size=100, heads=3), "heads = 3 does not divide hidden_size = 100"),
        ("custom", Sizes(hidden_size=15, heads=3), "heads of 5 channels; it needs a multiple of 2"),
        ("llama-3.1-8b", Sizes(heads=6), "shares a key-value head among 4 heads, so heads = 6 is impossible"),
        ("qwen3-0.6b", Sizes(hidden_size=1000), "heads = 16 does not divide hidden_size = 1000"),
    ],
)
def test_impossible_sizes(name, sizes, reason):
    with pytest.raises(InfeasibleError, match=reason):
        make_config(name, sizes)


@pytest.mark.parametrize("name", architecture_names())
def test_every_architecture_has_a_miniature(name):
    assert name in MINIATURE
    config = miniature_config(name)
    assert config.vocab_size == 500
    assert config.num_hidden_layers == MINIATURE[name]["layers"]
