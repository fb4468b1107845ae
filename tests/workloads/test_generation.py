"""Generation is exact: the tokens of transformers' own `generate`, the same on every repeat, whatever the cache."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from joulebench.workloads.architectures import architecture_names
from joulebench.workloads.base import InfeasibleError
from joulebench.workloads.generation import Generation
from joulebench.workloads.kv_cache import make_cache
from joulebench.workloads.prompts import padded_batches
from tests.language_models import WINDOW, build

CACHES = ("dynamic", "static")
#: Prompts below the sliding window, growing over it, just filling it, and beyond it; and new tokens.
LENGTHS = ((4, 5), (WINDOW - 3, 8), (WINDOW, 4), (WINDOW + 9, 6))


def generated(workload, batch, prompt_tokens, new_tokens):
    """What `generate` makes of a batch: int64 (batch, new_tokens)."""
    config = workload.model.generation_config
    config.eos_token_id = None  # no token ends a request
    attended = None if batch.attended is None else batch.attended[:, :prompt_tokens].long()
    out = workload.model.generate(
        batch.tokens,
        attention_mask=torch.ones_like(batch.tokens) if attended is None else attended,
        do_sample=False,
        min_new_tokens=new_tokens,
        max_new_tokens=new_tokens,
        pad_token_id=0,
        cache_implementation="static" if workload.settings.cache == "static" else None,
    )
    return out[:, prompt_tokens:]


def check_exact(workload, batches, prompt_tokens, new_tokens):
    """Requests equal `generate`; decoding repeats what followed the first token, however often."""
    expected = [generated(workload, batch, prompt_tokens, new_tokens) for batch in batches]
    distinct = [len(set(row)) for each in expected for row in each.tolist()]
    assert sum(distinct) > 0.5 * new_tokens * len(distinct)  # a model that repeats itself would prove nothing
    generation = Generation(workload.model, batches, workload.settings)
    for each in (*expected, expected[0]):  # in turn, then the first again
        torch.testing.assert_close(generation.request(), each)
    follows = expected[1 % len(expected)]
    generation.start_decode()
    for _ in range(4):
        torch.testing.assert_close(generation.decode(), follows[:, 1:])
    generation.stop_decode()
    torch.testing.assert_close(generation.prefill(), expected[2 % len(expected)][:, :1])
    torch.testing.assert_close(generation.request(), expected[3 % len(expected)])


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("name", architecture_names())
@pytest.mark.parametrize(("prompt_tokens", "new_tokens"), LENGTHS)
def test_the_tokens_of_generate(name, cache, prompt_tokens, new_tokens):
    sizes = {"batch_size": 3, "prompt_tokens": prompt_tokens, "new_tokens": new_tokens}
    workload = build(name, cache=cache, **sizes)
    check_exact(workload, workload.make_batches(workload.model.config)[:4], prompt_tokens, new_tokens)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["gpt2", "gemma-3-4b"])
@pytest.mark.parametrize(("prompt_tokens", "new_tokens"), LENGTHS[1:])
def test_the_tokens_of_generate_when_padded(name, cache, attention, prompt_tokens, new_tokens):
    sizes = {"batch_size": 3, "prompt_tokens": prompt_tokens, "new_tokens": new_tokens}
    workload = build(name, cache=cache, attention=attention, **sizes)
    lengths = (1, prompt_tokens, max(1, prompt_tokens // 2), 2, 3, 40)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(500, (length,), generator=generator).tolist() for length in lengths]
    batches = padded_batches(rows, workload.settings, 500, "cpu")
    assert all(batch.attended is not None for batch in batches)
    check_exact(workload, batches, prompt_tokens, new_tokens)


def content(cache):
    """What a cache holds, layer by layer: its length, and the keys and values up to there."""
    held = []
    for layer in cache.layers:
        length = int(layer.get_seq_length())
        held.append((length, layer.keys[:, :, :length].clone(), layer.values[:, :, :length].clone()))
    return held


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("name", ["gemma-3-4b", "tiny"])
@pytest.mark.parametrize(("prompt_tokens", "new_tokens"), LENGTHS)
def test_the_cache_is_put_back_as_prefill_left_it(name, cache, prompt_tokens, new_tokens):
    generation = build(
        name, cache=cache, batch_size=2, prompt_tokens=prompt_tokens, new_tokens=new_tokens
    ).generation
    generation.start_decode()
    prefilled = content(generation._decoding.cache)
    for _ in range(2):
        generation.decode()
        with torch.inference_mode():
            generation._snapshot.restore()
        torch.testing.assert_close(content(generation._decoding.cache), prefilled, rtol=0, atol=0)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cache", CACHES)
def test_layers_that_all_slide(cache, layers):
    sizes = {"layers": layers, "batch_size": 2, "prompt_tokens": WINDOW + 2, "new_tokens": 5}
    workload = build("gemma-3-4b", cache=cache, **sizes)
    check_exact(workload, workload.make_batches(workload.model.config)[:4], WINDOW + 2, 5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_weights(dtype):
    workload = build("tiny", dtype=dtype, batch_size=2, prompt_tokens=6, new_tokens=4)
    assert {p.dtype for p in workload.model.parameters()} == {getattr(torch, dtype)}
    check_exact(workload, workload.make_batches(workload.model.config)[:4], 6, 4)


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for the device: reading a value out of a tensor."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert "_local_scalar_dense" not in str(func), "the host waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("name", architecture_names())
def test_decoding_never_waits_for_the_device(name, cache, padded):
    workload = build(name, cache=cache, batch_size=2, prompt_tokens=8, new_tokens=8)
    batches = padded_batches([[1, 2, 3], [4] * 8], workload.settings, 500, "cpu")
    if not padded:
        batches = workload.make_batches(workload.model.config)
    generation = Generation(workload.model, batches, workload.settings)
    generation.start_decode()
    with NoWaiting():
        generation.decode()


def test_one_new_token_needs_no_decoding():
    workload = build("tiny", new_tokens=1, batch_size=2)
    assert workload.generation.request().shape == (2, 1)


def test_decoding_must_be_started():
    with pytest.raises(ValueError, match="start_decode first"):
        build("tiny").generation.decode()


def test_a_state_that_cannot_be_put_back_is_refused():
    from transformers import AutoConfig

    config = AutoConfig.for_model("lfm2", num_hidden_layers=2, layer_types=["conv", "full_attention"])
    with pytest.raises(InfeasibleError, match=r"lfm2 .*LinearAttentionLayer"):
        make_cache(config, "dynamic", 10)


@pytest.mark.parametrize("cache", CACHES)
def test_putting_back_is_a_small_share(cache):
    """Of a decode step of the shipped `tiny`: well under 1 %; the benchmark reports it."""
    workload = build("tiny", cache=cache, layers=4, vocabulary=2048, prompt_tokens=32, new_tokens=16)
    assert 0 < workload.generation.restore_share(lambda: None) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "gemma-3-4b"])
def test_compiled(name):
    """Another order of operations, so tokens may differ where logits nearly tie; here they do not."""
    sizes = {"cache": "static", "batch_size": 2, "prompt_tokens": WINDOW - 3, "new_tokens": 8}
    plain = build(name, **sizes)
    expected = [plain.generation.request() for _ in range(3)]
    compiled = build(name, compile=True, **sizes)
    compiled.generation.request()  # the build took one batch of the eight, this takes the second
    torch.testing.assert_close(compiled.generation.request(), expected[2])
    compiled.generation.start_decode()
    first, second = compiled.generation.decode(), compiled.generation.decode()
    torch.testing.assert_close(first, second)
    compiled.close()
