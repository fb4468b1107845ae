"""What tracing counts agrees with arithmetic done by hand, and with torch's own counter."""

from __future__ import annotations

import time

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from joulebench.workloads import generation_flops
from joulebench.workloads.architectures import architecture_names, make_config, read_architecture
from joulebench.workloads.flops import tally
from joulebench.workloads.generation_flops import count_generation
from joulebench.workloads.generation_settings import Settings
from joulebench.workloads.kv_cache import make_cache
from tests.attention_flops import Decoder, decoder_of
from tests.language_models import WINDOW, build, miniature_config, sizes_of

REQUEST = Settings(prompt_tokens=20, new_tokens=10)
LENGTHS = ((4, 1), (4, 2), (WINDOW - 3, 20), (WINDOW, 4), (WINDOW + 9, 6))


def miniature(name):
    config = miniature_config(name)
    if getattr(config, "sliding_window", None):
        config.sliding_window = WINDOW
    return config, decoder_of(config, read_architecture(name).mlp_matrices)


@pytest.mark.parametrize("name", architecture_names())
def test_full_size_against_the_closed_form(name):
    config, architecture = make_config(name), read_architecture(name)
    counted = count_generation(config, REQUEST)
    decoder = decoder_of(config, architecture.mlp_matrices)
    assert counted.prefill.macs == pytest.approx(decoder.prefill_macs(20), rel=1e-3)
    assert counted.prefill.macs + counted.decode.macs == pytest.approx(decoder.request_macs(20, 10), rel=1e-3)
    assert counted.prefill.flops == pytest.approx(2 * counted.prefill.macs, rel=1e-2)  # GPT-2's norms add 0.03 %
    assert counted.prefill.unsupported_ops == counted.decode.unsupported_ops == {}


@pytest.mark.parametrize("name", ["gpt2", "gemma-3-4b", "llama-3.1-8b"])
@pytest.mark.parametrize(("prompt_tokens", "new_tokens"), LENGTHS)
def test_every_context_against_the_closed_form(name, prompt_tokens, new_tokens):
    """Contexts below, over and beyond the sliding window."""
    config, decoder = miniature(name)
    counted = count_generation(config, Settings(prompt_tokens=prompt_tokens, new_tokens=new_tokens))
    assert counted.prefill.macs == pytest.approx(decoder.prefill_macs(prompt_tokens), rel=1e-3)
    total = counted.prefill.macs + counted.decode.macs
    assert total == pytest.approx(decoder.request_macs(prompt_tokens, new_tokens), rel=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "gemma-3-4b", "llama-3.1-8b"])
@pytest.mark.parametrize(("prompt_tokens", "new_tokens"), LENGTHS[1:])
def test_a_static_cache_against_the_closed_form(name, prompt_tokens, new_tokens):
    """Prompts may be given the whole cache, masked; in which layers is up to transformers and its version."""
    config, decoder = miniature(name)
    settings = Settings(prompt_tokens=prompt_tokens, new_tokens=new_tokens, cache="static")
    counted = count_generation(config, settings)
    least = decoder.prefill_macs(prompt_tokens)
    width = 2 * decoder.heads * decoder.head_dim * len(decoder.windows)
    most = least + width * prompt_tokens * (settings.positions - prompt_tokens)
    assert 0.999 * least <= counted.prefill.macs <= 1.001 * most
    decode = decoder.request_macs(prompt_tokens, new_tokens, static=True) - least
    assert counted.decode.macs == pytest.approx(decode, rel=1e-3)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", architecture_names())
def test_torchs_counter_agrees(name, attention):
    """2 FLOPs a MAC, on a real run of the real loop: prefill, and each token fed back."""
    workload = build(name, prompt_tokens=WINDOW - 2, new_tokens=7, attention=attention)
    counted = count_generation(workload.model.config, workload.settings)
    with FlopCounterMode(display=False) as prefill:
        workload.generation.prefill()
    assert prefill.get_total_flops() == pytest.approx(2 * counted.prefill.macs, rel=1e-3)
    with FlopCounterMode(display=False) as request:
        workload.generation.request()
    assert request.get_total_flops() == pytest.approx(2 * (counted.prefill.macs + counted.decode.macs), rel=1e-3)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("name", ["gpt2", "gemma-3-4b", "llama-3.1-8b", "qwen3-0.6b"])
def test_one_layer_of_each_kind_stands_for_all(name, cache):
    config, _ = miniature(name)
    if config.num_hidden_layers < 7:
        config = make_config(name, sizes_of(name).model_copy(update={"layers": 7}))
    settings = Settings(prompt_tokens=WINDOW - 1, new_tokens=6, cache=cache)
    assert generation_flops._count(config, settings, "sdpa") == generation_flops._traced(config, settings, "sdpa")


def test_attention_is_two_products_of_every_query_with_every_key():
    class Attention(torch.nn.Module):
        def forward(self, q, k, v):
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    q, k, v = torch.zeros(2, 6, 5, 8), torch.zeros(2, 3, 7, 8), torch.zeros(2, 3, 7, 4)
    counted = tally(Attention(), (q, k, v))
    assert counted.macs == 2 * 6 * 5 * 7 * (8 + 4)
    assert counted.flops == 2 * counted.macs


def test_the_closed_form_by_hand():
    """One layer, width 8, 2 heads of 3 channels on one key-value head, 10 channels, 11 tokens, window 4."""
    decoder = Decoder(8, 2, 1, 3, 10, 3, 11, (4,))
    weights = 8 * 6 + 2 * 8 * 3 + 6 * 8 + 3 * 8 * 10
    assert decoder.prefill_macs(5) == 5 * weights + 8 * 11 + 2 * 6 * 25
    assert decoder.decode_macs(3) == weights + 8 * 11 + 2 * 6 * 3
    assert decoder.decode_macs(9) == weights + 8 * 11 + 2 * 6 * 4


def test_a_batch_costs_as_many_times_as_much():
    config, _ = miniature("tiny")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    totals = []
    for batch in (1, 5):
        cache = make_cache(config, "dynamic", 20)
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(batch, 9, dtype=torch.long, device="meta"), past_key_values=cache, logits_to_keep=1)
        totals.append(counter.get_total_flops())
    assert totals[1] == pytest.approx(5 * totals[0], rel=1e-3)


def test_costs_are_per_unit_of_each_phase():
    config, decoder = miniature("tiny")
    settings = Settings(prompt_tokens=8, new_tokens=4)
    costs = count_generation(config, settings).costs(123, settings)
    prefill, request = decoder.prefill_macs(8), decoder.request_macs(8, 4)
    assert costs.parameters == 123
    assert costs.macs == pytest.approx(request / 4, rel=1e-3)
    assert costs.flops == pytest.approx(2 * request / 4, rel=1e-3)
    assert costs.phase_flops["prefill"] == pytest.approx(2 * prefill / 8, rel=1e-3)
    assert costs.phase_flops["decode"] == pytest.approx(2 * (request - prefill) / 3, rel=1e-3)
    assert costs.phase_flops["request"] == pytest.approx(2 * request / 4, rel=1e-3)
    one = settings.model_copy(update={"new_tokens": 1})
    assert "decode" not in count_generation(config, one).costs(123, one).phase_flops


def test_is_counted_once_a_configuration(monkeypatch):
    config = make_config("tiny")
    start_s = time.perf_counter()
    first = count_generation(config, REQUEST)
    print(f"\ncounting tiny takes {time.perf_counter() - start_s:.2f} s")
    monkeypatch.setattr(generation_flops, "_count", None)
    assert count_generation(make_config("tiny"), REQUEST.model_copy(update={"batch_size": 64})) is first
    assert config.to_json_string() == make_config("tiny").to_json_string()  # counting leaves it as it was
