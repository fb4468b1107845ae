"""Whole requests against transformers' own `generate` at the same settings, paired in one run."""

from __future__ import annotations

import time
from statistics import median

import pytest
import torch

from joulebench.host.clock import RealClock
from joulebench.workloads import generation_flops
from joulebench.workloads.base import Context
from joulebench.workloads.flops import load_counter
from joulebench.workloads.transformer import Transformer

PAIRS = 9
PAIR_S = 0.15  # each side of a pair runs for about this long, at least once
CASES = [
    (name, batch, cache)
    for name in ("tiny", "gpt2")
    for batch in (1, 8, 32)
    for cache in ("dynamic", "static")
]  # fmt: skip


def _built(name: str, batch: int, cache: str) -> Transformer:
    workload = Transformer(Context("cpu", 0, RealClock()))
    workload.build({"architecture": name, "batch_size": batch, "cache": cache})
    return workload


def _generate(workload: Transformer):
    """The request as `generate` answers it: greedy, no token ends it."""
    model, settings = workload.model, workload.settings
    model.generation_config.eos_token_id = None
    tokens = workload.make_batches(model.config)[0].tokens
    attended = torch.ones_like(tokens)
    options = {"cache_implementation": "static"} if settings.cache == "static" else {}

    def request():
        new = settings.new_tokens
        model.generate(
            tokens,
            attention_mask=attended,
            do_sample=False,
            min_new_tokens=new,
            max_new_tokens=new,
            pad_token_id=0,
            **options,
        )

    return request


def _seconds(work, repeats: int) -> float:
    start_s = time.perf_counter()
    for _ in range(repeats):
        work()
    return time.perf_counter() - start_s


@pytest.mark.parametrize(("name", "batch", "cache"), CASES)
def test_requests_against_generate(benchmark, name, batch, cache):
    """≥ 0.97 of the tokens per second of `generate`, as the median of pairs."""
    workload = _built(name, batch, cache)
    ours, theirs = workload.phases()["request"].step, _generate(workload)
    ours(), theirs()
    repeats = max(1, round(PAIR_S / _seconds(ours, 1)))
    ratios = []

    def pair():
        order = (ours, theirs) if len(ratios) % 2 else (theirs, ours)
        seconds = {work: _seconds(work, repeats) for work in order}
        ratios.append(seconds[theirs] / seconds[ours])

    benchmark.pedantic(pair, rounds=PAIRS, iterations=1)
    benchmark.extra_info |= {"speed_over_generate_median": median(ratios), "min": min(ratios), "max": max(ratios)}
    print(
        f"\n{name}, batch {batch}, {cache} cache: {median(ratios):.3f} of generate's throughput "
        f"({min(ratios):.3f} … {max(ratios):.3f}), {PAIRS} pairs of {repeats}"
    )
    workload.close()
    assert median(ratios) >= 0.97


@pytest.mark.parametrize(("name", "batch", "cache"), CASES)
def test_share_of_putting_the_cache_back(benchmark, name, batch, cache):
    """< 1 % of a decode step."""
    workload = _built(name, batch, cache)
    shares = []
    benchmark.pedantic(lambda: shares.append(workload.outcomes()["decode_restore_share"]), rounds=3, iterations=1)
    print(f"\n{name}, batch {batch}, {cache} cache: {100 * median(shares):.4f} % of decoding puts the cache back")
    benchmark.extra_info["decode_restore_share"] = median(shares)
    workload.close()
    assert median(shares) < 0.01


@pytest.mark.parametrize("name", ["tiny", "gpt2"])
def test_counting(benchmark, name):
    """The static costs of a request, counted anew; a trial at a size seen before takes them from memory."""
    load_counter()
    workload = _built(name, 1, "dynamic")
    workload.costs()  # imports

    def count():
        generation_flops._counted.clear()
        workload.costs()

    benchmark.pedantic(count, rounds=5, iterations=1)
    print(f"\ncounting {name}: {benchmark.stats.stats.median:.3f} s")
    workload.close()
