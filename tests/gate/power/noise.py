"""Simulated pairs of processes, window by window, with a known true ratio: noise that machines have.

What is alike for both processes at one time (clock frequency, neighbours, heat) is drawn along time; what a process
keeps for its life (layout of its memory) is drawn for each process. Windows take turns as the gate gives them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from joulebench.gate.paired import Pairs

WINDOWS = 12  # of each process
WINDOW_S = 0.06  # with what comes before it
CORRELATION_S = 5.0  # after which the machine's state has forgotten 63 % of itself
#: Of the state's shapes: a slope over a pair; two levels of frequency; a step at some time in a pair.
SLOPE, LEVELS, SWITCHES, STEP = 0.2, 0.25, 0.06, 0.3
OUTLIERS, OUTLIER = 0.05, math.log(1.4)  # of windows: something else ran beside them
DEARER = math.log(1.5)

Shape = Literal["correlated", "drift", "bimodal", "steps", "heavy tails"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Noise of a machine, and of the benchmark.

    Attributes:
        process: standard deviation between processes measured one after the other (logarithm).
        shape: how the machine's state goes along time.
        kept: share of that variance which a process keeps for its life; the rest is the machine's state.
        dear: share of the current processes that take 50 % more.
        dear_windows: share of the current windows that do.
    """

    process: float
    shape: Shape = "correlated"
    kept: float = 0.2
    dear: float = 0.0
    dear_windows: float = 0.0


def draw(random: np.random.Generator, noise: Noise, pairs: int, ratio: float) -> Pairs:
    """Draw one benchmark's pairs; the current processes take `ratio` times as much."""
    state = _state(random, noise, pairs) + _windows(random, noise, pairs)
    in_turn = state.reshape(pairs, WINDOWS, 2)
    first = random.random((pairs, WINDOWS, 1)) < 0.5  # the baseline's window comes first
    own = np.where(first, in_turn, in_turn[..., ::-1])
    own += random.normal(0, noise.process * math.sqrt(noise.kept), (pairs, 1, 2))
    own[..., 1] += math.log(ratio)
    own[..., 1] += DEARER * (random.random((pairs, 1)) < noise.dear)
    own[..., 1] += DEARER * (random.random((pairs, WINDOWS)) < noise.dear_windows)
    means = np.exp(own).mean(axis=1)
    return Pairs(_pseudo_medians(own[..., 1] - own[..., 0]).tolist(), means[:, 0], means[:, 1])


def _pseudo_medians(rows: Floats) -> Floats:
    """As `pseudo_median`, of each row."""
    i, j = np.triu_indices(rows.shape[1])
    medians: Floats = np.median((rows[:, i] + rows[:, j]) / 2, axis=1)
    return medians


def _state(random: np.random.Generator, noise: Noise, pairs: int) -> Floats:
    """The machine's state in each window of each pair, in the order of time."""
    times = 2 * WINDOWS
    if noise.shape == "drift":
        return np.linspace(0, 1, times) * random.normal(0, SLOPE, (pairs, 1))
    if noise.shape == "bimodal":
        switched = np.cumsum(random.random((pairs, times)) < SWITCHES, axis=1)
        return LEVELS * ((switched + random.integers(0, 2, (pairs, 1))) % 2)
    if noise.shape == "steps":
        return STEP * (np.arange(times) >= random.integers(0, times, (pairs, 1)))
    rho = math.exp(-WINDOW_S / CORRELATION_S)
    state = np.empty((pairs, times))
    state[:, 0] = random.normal(0, 1, pairs)
    for time in range(1, times):
        state[:, time] = rho * state[:, time - 1] + math.sqrt(1 - rho**2) * random.normal(0, 1, pairs)
    return noise.process * math.sqrt(1 - noise.kept) * state


def _windows(random: np.random.Generator, noise: Noise, pairs: int) -> Floats:
    """Noise of single windows, as large as that between processes."""
    size = (pairs, 2 * WINDOWS)
    if noise.shape != "heavy tails":
        return random.normal(0, noise.process, size)
    outliers: Floats = OUTLIER * (random.random(size) < OUTLIERS)
    return outliers + noise.process / 2 * np.clip(random.standard_t(2, size), -20, 20)
