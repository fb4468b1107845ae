"""How measured counters move on this machine, by reading them for seconds: period, step, and cost of a read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from joulebench.errors import MeterError
from joulebench.host.clock import Clock
from joulebench.meters.base import Meter
from joulebench.meters.rapl import POWERCAP, RaplMeter, find_rapl

PROBE_S = 3.0
PAUSE_S = 0.0005  # between reads, so that a fast counter's updates are told apart and the CPU is not kept busy


@dataclass(frozen=True)
class Probed:
    """One counter as it was seen to move; `between_s` and `steps_j` have one entry fewer than it moved."""

    domain: str
    source: str
    seconds: float
    read_s: float  # mean time of a read of its meter
    between_s: tuple[float, ...]  # time from one change to the next
    steps_j: tuple[float, ...]  # joules of each change

    @property
    def period_s(self) -> float | None:
        """Median time between changes; None for a counter that moved less than twice."""
        return median(self.between_s) if self.between_s else None

    @property
    def longest_s(self) -> float | None:
        return max(self.between_s, default=None)

    @property
    def resolution_j(self) -> float | None:
        """The smallest change."""
        return min(self.steps_j, default=None)


def probe(meter: Meter, clock: Clock, seconds: float = PROBE_S) -> list[Probed]:
    """Read the measured counters of a meter for `seconds`, and tell what they did; an absent counter is left out.

    Raises:
        MeterError: the meter does not start, or fails.
    """
    meter.start()
    try:
        start_s = clock.now_s()
        reading_s, moves = 0.0, dict[tuple[str, str], list[tuple[float, float]]]()
        reads = 0
        while (before_s := clock.now_s()) - start_s < seconds:
            for counter in meter.read():
                if counter.kind == "measured" and counter.role == "primary":
                    seen = moves.setdefault((counter.domain, counter.source), [])
                    if not seen or counter.energy_j != seen[-1][1]:
                        seen.append((clock.now_s(), counter.energy_j))
            reading_s += clock.now_s() - before_s
            reads += 1
            clock.sleep(PAUSE_S)
    finally:
        meter.stop()
    return [
        Probed(
            *key,
            seconds,
            reading_s / reads,
            tuple(b[0] - a[0] for a, b in pairwise(seen[1:])),  # the first is no change, but where it stood
            tuple(b[1] - a[1] for a, b in pairwise(seen[1:])),
        )
        for key, seen in moves.items()
    ]


def counters(clock: Clock, powercap: Path = POWERCAP) -> Iterator[Meter]:
    """The shipped meters that read a counter as it is: RAPL. NVML's counters are learned as they are started."""
    rapl = find_rapl(powercap)
    if rapl.zones:
        yield RaplMeter(rapl, clock=clock)


def probe_all(clock: Clock, seconds: float = PROBE_S) -> Iterator[list[Probed] | str]:
    """Probe each meter of `counters` in turn; one that fails is its message."""
    for meter in counters(clock):
        try:
            yield probe(meter, clock, seconds)
        except MeterError as error:
            yield str(error)
