"""Simulated sessions on the replay meter: noise, drift and outliers, with a known true ratio.

Power traces pass through the same windows, validity rules and decision as real measurements; time is virtual.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from joulebench.gate.fixture import PHASE
from joulebench.gate.model import QUICK, Measurement, Replicate
from joulebench.host.clock import VirtualClock
from joulebench.measurement.protocol import measure_phase
from joulebench.measurement.timeline import Timeline
from joulebench.meters.replay import PowerTrace, ReplayMeter
from joulebench.workloads.base import Phase

STEP_S = 0.01
POWER_W = 100.0
POINT_S = 0.025  # between points of a trace
TRACE_S = 1.0
#: Two windows of a process: what matters to a stored baseline lies between processes and sessions.
PROTOCOL = QUICK.model_copy(update={"repeats": 2, "max_repeats": 2})
BENCHMARKS = ("cnn_inference", "training_step", "prefill", "decode")
SESSION_PROCESSES = 10
WAVE = 24  # processes a slow wave takes
UTC = "2026-01-01T00:00:00Z"
OUTLIER_SHARE = 0.05  # of processes: something else ran beside them
OUTLIER_MORE = (0.05, 0.40)  # how much more energy they then take


@dataclass(frozen=True)
class SessionNoise:
    """Noise of a process's energy, as fractions.

    Attributes:
        process: standard deviation of joules per unit between processes, noise of windows included.
        drift: range of the drift within a gate: half a ramp, half slow waves.
        correlation: between the noise of successive processes.
        session: standard deviation between sessions on different days.
    """

    process: float
    drift: float = 0.05
    correlation: float = 0.3
    session: float = 0.0
    outliers: bool = True


class Machine:
    """A simulated noisy machine that measures one process after another."""

    def __init__(self, noise: SessionNoise, seed: int) -> None:
        self._noise, self._random = noise, np.random.default_rng(seed)
        self._last = np.zeros(len(BENCHMARKS))

    def session_level(self) -> float:
        """Draw the offset of a session on another day (logarithm)."""
        return float(self._random.normal(0, self._noise.session)) if self._noise.session else 0.0

    def drift(self, processes: int) -> np.ndarray:
        """Draw the drift (logarithm) of each process of a gate: a ramp and waves."""
        when = np.arange(processes) / max(1, processes - 1)
        way, phase, waves = self._random.choice([-1, 1]), self._random.uniform(0, 2 * math.pi), processes / WAVE
        ramp = way * when * self._noise.drift / 2
        level: np.ndarray = ramp + np.sin(2 * math.pi * waves * when + phase) * self._noise.drift / 4
        return level

    def process(
        self, session: str, pair: int | None, rerun: bool, level: float, ratios: dict[str, float]
    ) -> Replicate:
        """Measure every benchmark in one process; `ratios` are the true changes of some."""
        inner = 0.5 * self._noise.process  # of a window; the median of two has 0.71 of it
        outer = math.sqrt(max(0.0, self._noise.process**2 - (0.71 * inner) ** 2))
        fresh = self._random.normal(0, 1, len(BENCHMARKS))
        rho = self._noise.correlation
        self._last = rho * self._last + math.sqrt(1 - rho**2) * fresh
        more = 0.0
        if self._noise.outliers and self._random.random() < OUTLIER_SHARE:
            more = math.log1p(self._random.uniform(*OUTLIER_MORE))
        measurements = tuple(
            self._measure(name, level + more + outer * self._last[i] + math.log(ratios.get(name, 1.0)), inner)
            for i, name in enumerate(BENCHMARKS)
        )
        return Replicate(
            session=session, started_utc=UTC, pair=pair, rerun=rerun, hardware="replay", measurements=measurements
        )

    def _measure(self, name: str, level: float, inner: float) -> Measurement:
        """Measure one benchmark; the level is split equally between power and time, noise within it is of power."""
        points = int(TRACE_S / POINT_S)
        per_window = PROTOCOL.window_s / POINT_S
        wobble = self._random.normal(0, inner * math.sqrt(per_window), points)
        watts = POWER_W * np.exp(level / 2) * np.maximum(0.05, 1 + wobble)
        times = np.arange(points) * POINT_S
        clock = VirtualClock()
        trace = PowerTrace("cpu", tuple(times.tolist()), tuple(watts.tolist()))
        timeline = Timeline(ReplayMeter([trace], clock, "noise"), clock)
        step_s = STEP_S * math.exp(level / 2)
        timeline.start()
        measure_phase(timeline, PHASE, Phase(lambda: clock.sleep(step_s), units=1), PROTOCOL)
        return Measurement(name=name, protocol=PROTOCOL, windows=timeline.take())


def session(
    machine: Machine, name: str, level: float, ratios: dict[str, float], rerun: bool = False,
    processes: int = SESSION_PROCESSES,
) -> list[Replicate]:  # fmt: skip
    """Measure one session of one commit, with as many processes as a session of the baseline by default."""
    drift = machine.drift(processes)
    return [machine.process(name, None, rerun, level + d, ratios) for d in drift]
