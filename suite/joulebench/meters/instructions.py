"""Instructions that this process and all that it starts execute, as Linux's perf events count them."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from contextlib import suppress
from pathlib import Path

#: Number of the system call perf_event_open(2), which the C library does not wrap.
_SYSCALLS = {"x86_64": 298, "aarch64": 241}
_HARDWARE, _INSTRUCTIONS = 0, 1  # perf_event_attr.type and .config
_ATTRIBUTE_BYTES = 128
#: Bits of perf_event_attr: also in processes and threads that are started later; user space alone, which is what
#: an ordinary user may count.
_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
#: perf_event_attr.read_format: the seconds that the event was to count, and that it had a counter of the CPU.
_TIMES = 0b11


class InstructionCounter:
    """Count of executed instructions of this process, of its threads and of what they start from now on.

    Where more is counted on the machine than its CPU has counters for, the kernel lets events take turns; what was
    counted since the last read is then extended by the share of time that it was on.

    Args:
        event: type and config of perf_event_attr; by default retired instructions.

    Raises:
        OSError: this kernel, machine or user has no such count.
    """

    def __init__(self, event: tuple[int, int] = (_HARDWARE, _INSTRUCTIONS)) -> None:
        number = _SYSCALLS.get(platform.machine()) if platform.system() == "Linux" else None
        if number is None:
            raise OSError(f"no perf events on {platform.system()} {platform.machine()}")
        self._files: list[int] = []
        self._last: dict[int, tuple[int, int, int]] = {}  # what each file said
        self._total = 0.0
        try:
            for thread in _threads():
                with suppress(ProcessLookupError):  # it has ended
                    self._files.append(_open(number, event, thread))
        except OSError:
            self.close()
            raise

    def read(self) -> float | None:
        """The count so far; None where something was to count since the last read and never had a counter."""
        known = True
        for file in self._files:
            now, before = struct.unpack("QQQ", os.read(file, 24)), self._last.get(file, (0, 0, 0))
            self._last[file] = now
            grown = _extended(*(b - a for a, b in zip(before, now, strict=True)))
            known = known and grown is not None
            self._total += grown or 0.0
        return self._total if known else None

    def close(self) -> None:
        for file in self._files:
            os.close(file)
        self._files.clear()


def open_counter() -> InstructionCounter | None:
    """Start counting; None where instructions cannot be counted, as in most virtual machines."""
    try:
        return InstructionCounter()
    except OSError:
        return None


def _threads() -> list[int]:
    return sorted(int(entry.name) for entry in Path("/proc/self/task").iterdir())


def _open(number: int, event: tuple[int, int], thread: int) -> int:
    """File that counts an event of one thread, on whatever CPU it runs."""
    attribute = bytearray(_ATTRIBUTE_BYTES)
    flags = _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
    # type, size, config, sample_period, sample_type, read_format, flags
    struct.pack_into("IIQQQQQ", attribute, 0, event[0], _ATTRIBUTE_BYTES, event[1], 0, 0, _TIMES, flags)
    given = (ctypes.c_char * _ATTRIBUTE_BYTES).from_buffer(attribute)
    libc = ctypes.CDLL(None, use_errno=True)
    close_on_exec = 1 << 3
    file = int(libc.syscall(number, given, thread, -1, -1, close_on_exec))
    if file < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return file


def _extended(count: int, enabled: int, running: int) -> float | None:
    """A count for all of the time that it was to go on; None where it never did."""
    if running > 0:
        return count * enabled / running
    return 0.0 if enabled <= 0 else None
