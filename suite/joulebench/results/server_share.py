"""Third model of a CPU's joules: its threads as a share of published servers with CPUs of its family. Pure.

The two models of `power_curve` are shares of one TDP, which is often a guess; this one needs none. It stands for
CPU and RAM together, since a server's power holds both. Its ends are those of most published servers: a systematic
range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from joulebench.records.model import Manifest, Reading, Window
from joulebench.results.validity import is_read
from joulebench.spec.cpu_families import FAMILIES, MEMORY_W_PER_GB, SERVER_GB_PER_THREAD

#: Sources that the share stands in for, by domain; both or none.
STANDS_FOR = {"cpu": "cpu_load_model", "ram": "ram_model"}
SERVER_MODEL = "server_share"
#: Condition of a window: share of the time of all CPUs that they were busy, 0 … 1.
LOAD = "cpu_utilisation"
MAX_THREAD_W = 1000.0  # no server draws as much a thread
_FIELDS = ("server_idle_low_w", "server_idle_high_w", "server_full_low_w", "server_full_high_w")


@dataclass(frozen=True)
class ServerShare:
    """Threads and memory of a machine as a share of servers: power in W, its lower and its upper end."""

    family: str  # its title
    threads: int
    memory_bytes: int
    idle_w: tuple[float, float]  # a thread
    full_w: tuple[float, float]

    @property
    def memory_w(self) -> float:
        """Power of the memory that the machine has beyond that of the servers."""
        return MEMORY_W_PER_GB * max(0.0, self.memory_bytes / 2**30 - SERVER_GB_PER_THREAD * self.threads)

    def power_w(self, load: float) -> tuple[float, float]:
        """Power at a load of 0 … 1: linear between idle and full load, as Cloud Carbon Footprint takes it."""
        load = min(max(load, 0.0), 1.0)
        low, high = (i + load * (f - i) for i, f in zip(self.idle_w, self.full_w, strict=True))
        return self.threads * low + self.memory_w, self.threads * high + self.memory_w

    def energy_j(self, window: Window) -> tuple[float, float] | None:
        """Joules of a window; None where its CPU and RAM are not both modelled, or its load was not recorded."""
        load = window.conditions.get(LOAD)
        if modelled_parts(window) is None or load is None or not math.isfinite(load) or not window.duration_s > 0:
            return None
        low, high = self.power_w(load)
        return low * window.duration_s, high * window.duration_s


def server_share(manifest: Manifest) -> ServerShare | None:
    """The share by what a run recorded of its machine; None where the family of its CPU was not."""
    host = manifest.environment.get("host")
    line = next((m for m in manifest.meters if m.get("source") == STANDS_FOR["cpu"] and "cpu_family" in m), None)
    if line is None or not isinstance(host, Mapping):
        return None
    threads, memory_bytes = (host.get(name) for name in ("logical_cpus", "memory_bytes"))
    try:
        watts = [float(line[name]) for name in _FIELDS]
    except (KeyError, ValueError):
        return None
    counts = [n for n in (threads, memory_bytes) if type(n) is int and 0 < n < 2**60]
    if len(counts) < 2 or not all(0 < w < MAX_THREAD_W for w in watts):
        return None
    known = FAMILIES.get(line["cpu_family"])
    title = known.title if known else line["cpu_family"]
    return ServerShare(title, counts[0], counts[1], (watts[0], watts[1]), (watts[2], watts[3]))


def modelled_parts(window: Window) -> tuple[Reading, Reading] | None:
    """The readings of CPU and RAM that a share stands for: both primary and of models; None where one is not."""
    primary = {r.domain: r for r in window.readings if r.role == "primary" and is_read(r)}
    cpu, ram = primary.get("cpu"), primary.get("ram")
    if cpu is None or ram is None or (cpu.source, ram.source) != (STANDS_FOR["cpu"], STANDS_FOR["ram"]):
        return None
    return cpu, ram


def by_share(window: Window, energy_j: float) -> Window:
    """The window with its modelled CPU and RAM having `energy_j` together, split as the models have it.

    Only their sum means something.
    """
    parts = modelled_parts(window)
    total_j = 0.0 if parts is None else math.fsum(r.energy_j for r in parts)
    if parts is None or not total_j > 0:
        return window
    shares = tuple(
        r.model_copy(update={"energy_j": energy_j * r.energy_j / total_j, "source": SERVER_MODEL}) for r in parts
    )
    others = tuple(r for r in window.readings if not any(r is part for part in parts))
    return window.model_copy(update={"readings": (*others, *shares)})
