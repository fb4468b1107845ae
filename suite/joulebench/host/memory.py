"""Memory of a trial's device: limit, peak use, and out-of-memory errors.

On a GPU that is torch's allocator. On a CPU it is the process: Linux would rather kill a process than refuse it
memory, so a trial runs under a limit on its data (RLIMIT_DATA), and an allocation beyond it fails like any other.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from joulebench.errors import described
from joulebench.host.device import has_work

RESERVE_BYTES = 512 << 20  # left to the system and to this process's bookkeeping on a CPU
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
#: torch on CUDA ("Tried to allocate 2.00 GiB") and on the CPU ("you tried to allocate 4294967296 bytes").
_ASKED = re.compile(r"tried to allocate ([\d.]+) ?([KMGT]?)i?B(?:ytes)?", re.IGNORECASE)
#: Messages of torch, C++, and cuBLAS and cuDNN (the last).
_OUT_OF_MEMORY = (
    "out of memory", "can't allocate memory", "not enough memory", "bad_alloc", "bad allocation",
    "status_alloc_failed",
)  # fmt: skip


@contextlib.contextmanager
def limited(device: str, limit_bytes: int | None = None) -> Iterator[int | None]:
    """Limit a trial to the available memory, or to `limit_bytes` if that is less; yields the limit in bytes.

    On a CPU it is the resident memory plus what is available. Memory allocated before and not touched yet is not
    included, so a peak may exceed it by that much. Without /proc/self/status nothing is limited, and it yields
    `limit_bytes`.
    """
    if has_work(device):
        with _cuda_limited(device, limit_bytes) as limit:
            yield limit
        return
    now, available = _process_bytes("VmData"), available_bytes()
    resident = _process_bytes("VmRSS")
    if now is None or resident is None or available is None:
        yield limit_bytes
        return
    room = max(0, available - RESERVE_BYTES)
    if limit_bytes is not None:
        room = min(room, max(0, limit_bytes - resident))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    ours = now + room if hard == resource.RLIM_INFINITY else min(now + room, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (ours, hard))
    try:
        yield resident + room
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextlib.contextmanager
def _cuda_limited(device: str, limit_bytes: int | None) -> Iterator[int]:
    import torch

    _, total = torch.cuda.mem_get_info(device)
    if limit_bytes is None or limit_bytes >= total:
        yield total
        return
    torch.cuda.set_per_process_memory_fraction(limit_bytes / total, device)
    try:
        yield limit_bytes
    finally:
        with contextlib.suppress(RuntimeError):  # the trial may have left a device that refuses every call
            torch.cuda.set_per_process_memory_fraction(1.0, device)


def available_bytes() -> int | None:
    """Bytes available to this process by the system and by its control group."""
    import psutil

    available = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no such control group, or "max"
        group = Path("/sys/fs/cgroup")
        limit, current = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        available = min(available, limit - current)
    return available


def _process_bytes(field: str) -> int | None:
    """Field of /proc/self/status in bytes; None where there is no such file."""
    try:
        match = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) << 10 if match else None


def reset_peak(device: str) -> None:
    """Start counting peak memory anew."""
    if has_work(device):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # where it cannot be reset, `peak_bytes` says so by None
        _CLEAR.write_text("5")  # proc(5): resets the peak resident set size to the current one


def peak_bytes(device: str) -> int | None:
    """Most bytes held since the last reset: torch's allocator on a GPU, the resident set of the process on a CPU.

    None where the system does not tell.
    """
    if has_work(device):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return _process_bytes("VmHWM") if _CLEAR.exists() else None


def asked_bytes(error: BaseException) -> int:
    """Size of a failed allocation by its error's message; 0 where it does not state one."""
    match = _ASKED.search(described(error))
    return round(float(match[1]) * _UNITS[match[2].upper()]) if match else 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the accelerator or the host."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = described(error).lower()
    return isinstance(error, RuntimeError) and any(message in text for message in _OUT_OF_MEMORY)


def release(device: str) -> None:
    """Free cached memory of the last model."""
    gc.collect()
    if has_work(device):
        import torch

        torch.cuda.empty_cache()
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc keeps what it keeps
        ctypes.CDLL("libc.so.6").malloc_trim(0)
