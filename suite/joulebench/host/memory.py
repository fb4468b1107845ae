"""Memory of the device a trial runs on: how much there is, how much was taken, and running out as an error.

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

RESERVE_BYTES = 512 << 20  # left to the system and to this process's bookkeeping on a CPU
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
#: torch on CUDA ("Tried to allocate 2.00 GiB") and on the CPU ("you tried to allocate 4294967296 bytes").
_ASKED = re.compile(r"tried to allocate ([\d.]+) ?([KMGT]?)i?B(?:ytes)?", re.IGNORECASE)


@contextlib.contextmanager
def limited(device: str, limit_bytes: int | None = None) -> Iterator[int | None]:
    """Hold a trial to the memory there is, or to `limit_bytes` if that is less; yields the bytes it may have.

    On a CPU that is what is resident now and the room there is. Data that was asked for before and not touched yet
    is not in it, so a peak may pass it by that much. None where it is not known: on a system that does not tell.
    """
    if device.startswith("cuda"):
        with _cuda_limited(device, limit_bytes) as limit:
            yield limit
        return
    now, available = _process_bytes("VmData"), _available_bytes()
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
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def _available_bytes() -> int | None:
    """What the system, and a container's own limit, still have for this process."""
    import psutil

    available = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # no such control group, or "max"
        group = Path("/sys/fs/cgroup")
        available = min(
            available,
            int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()),
        )
    return available


def _process_bytes(field: str) -> int | None:
    """A figure of this process from /proc/self/status; None where there is no such file."""
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) << 10 if found else None


def reset_peak(device: str) -> None:
    """Start counting peak memory anew."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # where it cannot be reset, `peak_bytes` says so by None
        _CLEAR.write_text("5")  # proc(5): resets the peak resident set size to the current one


def peak_bytes(device: str) -> int | None:
    """Most bytes held since the last reset: torch's allocator on a GPU, the resident set of the process on a CPU.

    None where the system does not tell.
    """
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    return _process_bytes("VmHWM") if _CLEAR.exists() else None


def asked_bytes(error: BaseException) -> int:
    """What an allocation that failed asked for, as the error tells; 0 where it does not."""
    found = _ASKED.search(described(error))
    return round(float(found[1]) * _UNITS[found[2].upper()]) if found else 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the accelerator or the host."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = described(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text
        or "can't allocate memory" in text
        or "not enough memory" in text
        or "bad_alloc" in text
        or "bad allocation" in text
        or "status_alloc_failed" in text  # cuBLAS, cuDNN
    )


def release(device: str) -> None:
    """Give back what the last model held."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc keeps what it keeps
        ctypes.CDLL("libc.so.6").malloc_trim(0)
