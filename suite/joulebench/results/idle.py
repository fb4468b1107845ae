"""Idle power of a run: blocks of idle windows, the one nearest to a measurement, and its drift. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from statistics import fmean

from joulebench.records.model import Window
from joulebench.results.validity import is_read
from joulebench.stats.estimate import Estimate, Part, deviation, estimate, freedom_of

#: Sources of variance that a net energy has beside those of a gross one.
IDLE, DRIFT = "idle", "idle_drift"
QUIET_IDLE_RSD = 0.10  # idle windows that vary more than this are no baseline


def idle_power_w(windows: Iterable[Window], domains: Sequence[str]) -> Estimate | None:
    """Power of the settled idle process over `domains`; None where it was not measured or not quiet."""
    powers = _idle_powers(windows, domains)
    if len(powers) < 2:
        return None
    idle = estimate(powers, "idle windows")
    quiet = idle.mean > 0 and deviation(powers) / idle.mean <= QUIET_IDLE_RSD
    return idle if quiet else None


def _idle_powers(windows: Iterable[Window], domains: Sequence[str]) -> list[float]:
    powers = []
    for window in windows:
        if window.phase != "idle" or window.fault or window.duration_s <= 0:
            continue
        energies = {r.domain: r.energy_j for r in window.readings if r.role == "primary" and is_read(r)}
        if all(domain in energies for domain in domains):
            powers.append(sum(energies[d] for d in domains) / window.duration_s)
    return powers


@dataclass(frozen=True)
class Baseline:
    """Idle power near a window, over some domains: a block of idle windows, and how much idle power drifts.

    `drift_w`: the largest difference from this block to the one before or after it, within which the power at any
    time between them is taken to lie; 0 where there is no other block.
    """

    block: int
    power_w: Estimate
    drift_w: float = 0.0

    def parts(self, seconds: float) -> dict[str, Part]:
        """Variance of the idle joules of so many seconds, by source.

        Of drift that of a value anywhere within ± `drift_w` (GUM 4.3.7: half-width² / 3).
        """
        parts = {IDLE: Part(((self.power_w.sem or 0.0) * seconds) ** 2, freedom_of(self.power_w))}
        if self.drift_w > 0:
            parts[DRIFT] = Part((self.drift_w * seconds) ** 2 / 3, math.inf)
        return parts


class IdleWindows(tuple[Window, ...]):
    """Idle windows of a run in order, with their blocks cached: every trial needs the nearest one.

    Those that are no baseline have a fault (`idle_windows` in `joulebench.results.outcome` sees to it).
    """

    @cached_property
    def blocks(self) -> list[list[Window]]:
        """Runs of windows that touch, on one node."""
        blocks: list[list[Window]] = []
        for window in self:
            last = blocks[-1][-1] if blocks else None
            touching = last is not None and last.end_s == window.start_s and last.node == window.node
            blocks[-1].append(window) if touching else blocks.append([window])
        return blocks

    @cached_property
    def _starts(self) -> dict[str | None, list[tuple[float, int]]]:
        """Start (Unix seconds) and index of each block by node, in time; of blocks with the same start the first.

        Blocks without two windows that may be a baseline are left out.
        """
        first: dict[str | None, dict[float, int]] = {}
        for number, block in enumerate(self.blocks):
            if sum(w.fault is None for w in block) >= 2:
                first.setdefault(block[0].node, {}).setdefault(_seconds(block[0].start_utc), number)
        return {node: sorted(begun.items()) for node, begun in first.items()}

    def nearest(self, to: Window) -> int | None:
        """Index of the block of a window's node whose start is nearest to the window's; of ties the first."""
        starts, moment_s = self._starts.get(to.node, []), _seconds(to.start_utc)
        after = bisect_left(starts, (moment_s, -1))
        beside = starts[max(0, after - 1) : after + 1]
        nearest = min(beside, key=lambda start: (abs(start[0] - moment_s), start[1]), default=None)
        return None if nearest is None else nearest[1]

    def baseline(self, to: Window, domains: Sequence[str]) -> Baseline | None:
        """Idle power of the nearest block, for the domains; None where there is none, or it was not quiet."""
        block = self.nearest(to)
        if block is None:
            return None
        key = (block, tuple(domains))
        if key not in self._baselines:
            self._baselines[key] = self._baseline(block, domains)
        return self._baselines[key]

    @cached_property
    def _baselines(self) -> dict[tuple[int, tuple[str, ...]], Baseline | None]:
        return {}

    def _baseline(self, block: int, domains: Sequence[str]) -> Baseline | None:
        power = idle_power_w(self.blocks[block], domains)
        if power is None:
            return None
        in_time = [number for _, number in self._starts[self.blocks[block][0].node]]
        at = in_time.index(block)
        beside = [idle_power_w(self.blocks[n], domains) for n in in_time[max(0, at - 1) : at + 2] if n != block]
        return Baseline(block, power, max((abs(b.mean - power.mean) for b in beside if b), default=0.0))


def as_idle(idle: Sequence[Window]) -> IdleWindows:
    """Idle windows with their blocks."""
    return idle if isinstance(idle, IdleWindows) else IdleWindows(idle)


def nearest_idle(idle: Sequence[Window], to: Window) -> list[Window]:
    """The block of touching idle windows that is nearest in time: a machine's idle power drifts.

    On a cluster, of those of the same node: machines of one kind differ in idle power too.
    """
    known = as_idle(idle)
    block = known.nearest(to)
    return [] if block is None else known.blocks[block]


def _seconds(utc: str) -> float:
    return datetime.fromisoformat(utc).timestamp()


def idle_drift(windows: Iterable[Window], domains: Sequence[str]) -> float | None:
    """Relative change of idle power from the first quarter of a run's idle windows to the last.

    None where there are fewer than two baselines' worth of windows.
    """
    powers = _idle_powers(windows, domains)
    if len(powers) < 8:
        return None
    first, last = fmean(powers[: len(powers) // 4]), fmean(powers[-(len(powers) // 4) :])
    return last / first - 1 if first > 0 else None
