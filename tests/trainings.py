"""Trainings with known numbers: start-up, a first epoch with its own excess, and later ones alike or with noise."""

from __future__ import annotations

import random

from joulebench.results.forecast import Segment, Training

UNITS, EPOCH_J, EPOCH_S, STARTUP_J, STARTUP_S = 100, 50.0, 2.0, 30.0, 1.5


def training(epochs=10, excess=0.0, noise=0.0, seed=0, scale=1.0, sensor=1.0) -> Training:
    """`excess`: of the first epoch over the others; `noise`: relative, of each epoch; `sensor`: a factor on what
    the first epoch's joules read, beside the truth."""
    draw = random.Random(seed)
    segments = []
    for number in range(epochs):
        factor = scale * (1 + (excess if number == 0 else 0.0)) * (1 + draw.gauss(0.0, noise))
        energy_j = EPOCH_J * factor * (sensor if number == 0 else 1.0)
        segments.append(Segment(UNITS, energy_j, EPOCH_S * factor))
    return Training(STARTUP_J, STARTUP_S, tuple(segments))
