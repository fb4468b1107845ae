"""Conditions of the host: load, this process's share of it, memory. No joules."""

from __future__ import annotations

import os
from typing import Any

import psutil

from joulebench.host.clock import Clock, RealClock
from joulebench.meters.base import Counter

FAMILY_EVERY_S = 10.0  # listing child processes reads all of /proc: a millisecond and more


class HostMeter:
    """Conditions of the host as integrals over time.

    `cpu_utilisation` (0…1 of all CPUs), `own_load_cpus` (CPUs kept busy by this process and its children),
    `other_load_cpus` (busy − own), `memory_used_bytes` (total − available). The loads come from the kernel's
    cumulative CPU times, which are integrals already, to its tick of about 10 ms; memory is the mean of what was
    used at the window's edges. Time stolen by a hypervisor is not load. A child counts once it is seen (every
    `FAMILY_EVERY_S`) or has ended.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or RealClock()
        self._me = psutil.Process()
        self._family: list[Any] = []
        self._family_s = 0.0
        self._memory: tuple[float, float] | None = None
        self._memory_byte_s = 0.0
        self._grown: dict[str, float] = {}
        self._cpus = psutil.cpu_count() or 1

    def start(self) -> None:
        self._memory = None
        self._memory_byte_s = 0.0
        self._grown = {}
        self._find_family(self._clock.now_s())

    def read(self) -> tuple[Counter, ...]:
        return ()

    def integrals(self) -> dict[str, float]:
        now_s = self._clock.now_s()
        if now_s - self._family_s >= FAMILY_EVERY_S:
            self._find_family(now_s)
        # own before busy, and neither falls: what the kernel's ticks round is not load that goes away again
        own_s = self._grow("own", self._own_s())
        busy_s = _busy_s()
        return {
            "cpu_utilisation": busy_s / self._cpus,
            "own_load_cpus": own_s,
            "other_load_cpus": self._grow("other", busy_s - own_s),
            "memory_used_bytes": self._used_byte_s(now_s),
        }

    def stop(self) -> None:
        self._family = []

    def describe(self) -> list[dict[str, str]]:
        return []

    def _grow(self, name: str, value: float) -> float:
        self._grown[name] = max(value, self._grown.get(name, value))
        return self._grown[name]

    def _find_family(self, now_s: float) -> None:
        self._family_s = now_s
        try:
            self._family = self._me.children(recursive=True)
        except psutil.Error:
            self._family = []

    def _own_s(self) -> float:
        """CPU seconds of this process, of its ended children and of those that live."""
        seconds = sum(os.times()[:4])
        for child in self._family:
            try:
                seconds += sum(child.cpu_times()[:4])
            except psutil.Error:
                continue  # it has ended: its parent has its time now
        return seconds

    def _used_byte_s(self, now_s: float) -> float:
        memory = psutil.virtual_memory()
        used = float(memory.total - memory.available)
        if self._memory is not None:
            last_s, last = self._memory
            self._memory_byte_s += (now_s - last_s) * (last + used) / 2
        self._memory = (now_s, used)
        return self._memory_byte_s


def _busy_s() -> float:
    """CPU seconds of all CPUs spent working; the kernel counts a guest's in its host's user time already."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq")))
