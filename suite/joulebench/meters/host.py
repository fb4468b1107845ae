"""Conditions of the host: load, this process's share of it, time taken by a hypervisor, memory. No joules."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psutil

from joulebench.host.clock import Clock, RealClock
from joulebench.meters.base import Counter
from joulebench.meters.instructions import InstructionCounter, open_counter


class HostMeter:
    """Conditions of the host as integrals over time.

    `cpu_utilisation` (0…1 of all CPUs), `own_load_cpus` (CPUs kept busy by this process and all that it started),
    `neighbour_load_cpus` (by the run's other trials and what drives them, where several go on beside each other),
    `other_load_cpus` (busy − own − neighbours), `steal_cpus` (CPUs that a hypervisor took; absent where the kernel
    does not count them), `own_instructions_per_s` (executed in user space by this process and what it starts;
    absent where the kernel does not count them), `memory_used_bytes` (total − available). The loads come from the
    kernel's cumulative CPU times, which are integrals already, to its tick of about 10 ms; memory is the mean of
    what was used at the window's edges. Stolen time is not load.

    Args:
        clock: the clock that windows are cut by.
        run_pid: the process that all trials of the run are started by, where several go on beside each other.
    """

    def __init__(self, clock: Clock | None = None, run_pid: int | None = None) -> None:
        self._clock: Clock = clock or RealClock()
        self._run_pid = run_pid
        self._tree, self._run = self._trees()
        self._memory: tuple[float, float] | None = None
        self._memory_byte_s = 0.0
        self._grown: dict[str, float] = {}
        self._cpus = psutil.cpu_count() or 1
        self._instructions: InstructionCounter | None = None

    def start(self) -> None:
        self.stop()
        self._instructions = open_counter()
        self._memory = None
        self._memory_byte_s = 0.0
        self._grown = {}
        self._tree, self._run = self._trees()

    def _trees(self) -> tuple[ProcessTree, ProcessTree | None]:
        return ProcessTree(), None if self._run_pid is None else ProcessTree(self._run_pid)

    def read(self) -> tuple[Counter, ...]:
        return ()

    def integrals(self) -> dict[str, float]:
        # Own time is read directly before busy time, at every edge in this order: what this process does in between
        # cancels in the difference of two edges. Neither falls: what the kernel's ticks round is not load that goes
        # away again.
        own_s = self._grow("own", self._tree.cpu_s())
        beside_s = None if self._run is None else self._grow("neighbour", self._run.cpu_s() - own_s)
        neighbours = {} if beside_s is None else {"neighbour_load_cpus": beside_s}
        times = psutil.cpu_times()
        # the kernel counts a guest's time in its host's user time already
        busy_s = float(sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq")))
        stolen = {"steal_cpus": self._grow("steal", times.steal)} if hasattr(times, "steal") else {}
        instructions = None if self._instructions is None else self._instructions.read()
        return {
            "cpu_utilisation": busy_s / self._cpus,
            "own_load_cpus": own_s,
            "other_load_cpus": self._grow("other", busy_s - own_s - (beside_s or 0.0)),
            **neighbours,
            **stolen,
            **({} if instructions is None else {"own_instructions_per_s": instructions}),
            "memory_used_bytes": self._used_byte_s(self._clock.now_s()),
        }

    def stop(self) -> None:
        if self._instructions is not None:
            self._instructions.close()
            self._instructions = None

    def describe(self) -> list[dict[str, str]]:
        return []

    def _grow(self, name: str, value: float) -> float:
        self._grown[name] = max(value, self._grown.get(name, value))
        return self._grown[name]

    def _used_byte_s(self, now_s: float) -> float:
        memory = psutil.virtual_memory()
        used = float(memory.total - memory.available)
        if self._memory is not None:
            last_s, last = self._memory
            self._memory_byte_s += (now_s - last_s) * (last + used) / 2
        self._memory = (now_s, used)
        return self._memory_byte_s


@dataclass(frozen=True, slots=True)
class _Process:
    """One process as the kernel shows it: CPU seconds of its own, and of ended children it has waited for."""

    parent: int
    started: float  # tells a process from a later one of the same number
    own_s: float
    reaped_s: float

    @property
    def cpu_s(self) -> float:
        return self.own_s + self.reaped_s


class ProcessTree:
    """CPU time of a process, of all its threads and of every process it has started, directly or not.

    Each call of `cpu_s` looks for new processes, so that one counts from its birth on. One that has ended counts
    through the parent that waited for it, or else with its last seen time. One that has lost its parent still
    belongs, once it was seen.

    Args:
        pid: the process; this one by default, whose own time is known without the kernel's ticks.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid, self._is_own = pid or os.getpid(), pid in (None, os.getpid())
        self._family: dict[int, _Process] = {}  # all but the process itself
        self._others: set[tuple[int, int]] = set()  # numbers and inodes of processes that are known not to belong
        self._root = _Process(0, 0, 0.0, 0.0)
        self._root = self._read_root()
        self._lost_s = 0.0  # of ended processes that nobody of the family has waited for

    def cpu_s(self) -> float:
        """CPU seconds so far; never fewer than before, but for the kernel's rounding to ticks."""
        before, self._family = self._family, self._find()
        gone_s = sum(p.cpu_s for pid, p in before.items() if not _same(p, self._family.get(pid)))
        children_s = sum(p.cpu_s for p in self._family.values())
        root = self._read_root()  # after its children: one that has ended by now is in one of the two
        if gone_s:
            kept = ((p, before.get(pid)) for pid, p in self._family.items())
            reaped_by_kept_s = sum(p.reaped_s - was.reaped_s for p, was in kept if was and _same(was, p))
            self._lost_s += max(0.0, gone_s - reaped_by_kept_s - (root.reaped_s - self._root.reaped_s))
        self._root = root
        return children_s + self._lost_s + root.cpu_s

    def _read_root(self) -> _Process:
        """The process itself; as it was seen last where it has ended."""
        if self._is_own:
            return _Process(0, 0, time.process_time(), _reaped_s())
        return _read(self._pid) or self._root

    def _find(self) -> dict[int, _Process]:
        """Read the processes that belong; of those that do not, only ones that are new."""
        listed = _listed()
        self._others &= listed
        # mostly children before their parents: the time of one that ends meanwhile is then read with its parent's
        unknown = sorted((pid for pid, _ in listed - self._others if pid != self._pid), reverse=True)
        fresh = {pid: p for pid in unknown if (p := _read(pid))}
        family = {pid: p for pid, p in fresh.items() if _same(p, self._family.get(pid))}
        while born := {
            pid: p
            for pid, p in fresh.items()
            if pid not in family and (p.parent == self._pid or p.parent in family)
        }:
            family |= born
        self._others |= {key for key in listed if key[0] in fresh and key[0] not in family}
        return family


def _same(a: _Process, b: _Process | None) -> bool:
    return b is not None and a.started == b.started


def _reaped_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _listed_in_proc() -> set[tuple[int, int]]:
    # the inode of /proc/<pid> is another one when the number is given out again
    with os.scandir("/proc") as entries:
        return {(int(e.name), e.inode()) for e in entries if e.name.isdigit()}


def _read_in_proc(pid: int) -> _Process | None:
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
        try:
            text = os.read(file, 4096)
        finally:
            os.close(file)
    except OSError:
        return None  # it has ended
    fields = text[text.rindex(b")") + 2 :].split()  # proc(5) from field 3 on, behind a name that may be anything
    own_s, reaped_s = ((int(fields[i]) + int(fields[i + 1])) / _TICKS_PER_S for i in (11, 13))
    return _Process(int(fields[1]), int(fields[19]), own_s, reaped_s)


def _listed_by_psutil() -> set[tuple[int, int]]:
    return {(pid, 0) for pid in psutil.pids()}


def _read_by_psutil(pid: int) -> _Process | None:
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        reaped_s = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return _Process(process.ppid(), process.create_time(), times.user + times.system, reaped_s)
    except psutil.Error:
        return None


_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# psutil takes 5 to 10 times as long
_listed = _listed_in_proc if psutil.LINUX else _listed_by_psutil
_read = _read_in_proc if psutil.LINUX else _read_by_psutil
