"""Memory: running out of it is told from other failures, and what was asked for is read from the message."""

from __future__ import annotations

import resource

import pytest
import torch

from joulebench.host.memory import asked_bytes, is_out_of_memory, limited, peak_bytes, reset_peak


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_failures(error, expected):
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 139.80 GiB", 5 << 29),
        ("CUDA out of memory. Tried to allocate 20.00 MiB.", 20 << 20),
        (
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4294967296 bytes. Error code 12",
            1 << 32,
        ),
        ("std::bad_alloc", 0),
    ],
)
def test_what_was_asked_for(text, expected):
    assert asked_bytes(RuntimeError(text)) == expected


def test_torchs_own_message_is_understood():
    with limited("cpu", 1 << 30), pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 40, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert asked_bytes(caught.value) == 1 << 40


def test_a_limit_ends_with_its_block_also_by_an_exception():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    block = limited("cpu")
    assert block.__enter__() > 1 << 20
    assert resource.getrlimit(resource.RLIMIT_DATA) != before
    assert not block.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_the_peak_starts_anew():
    reset_peak("cpu")
    base = peak_bytes("cpu")
    held = torch.ones(32 << 20)
    del held
    assert peak_bytes("cpu") - base == pytest.approx(128 << 20, rel=0.1)
    reset_peak("cpu")
    assert peak_bytes("cpu") - base < 32 << 20
