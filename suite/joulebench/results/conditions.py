"""Conditions of the hardware while work ran: utilisation, clocks, temperature, memory. Pure."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

from joulebench.records.model import Window

Device = Literal["gpu", "cpu"]
_GPU = re.compile(r"gpu:\d+_")


def mean_conditions(windows: Iterable[Window]) -> Mapping[str, float]:
    """Mean of each condition over windows, weighted by their duration, in the unit that its name ends with.

    `gpu:0_sm_clock_mhz` and those of further GPUs are averaged as `gpu_sm_clock_mhz`; utilisation is a share.
    A condition is averaged over the windows that recorded it, and absent where none did.
    """
    sums: dict[str, float] = defaultdict(float)
    seconds: dict[str, float] = defaultdict(float)
    for window in windows:
        for recorded, value in window.conditions.items():
            if math.isfinite(value) and window.duration_s > 0:
                name = _GPU.sub("gpu_", recorded)
                sums[name] += value * window.duration_s
                seconds[name] += window.duration_s
    return {name: sums[name] / seconds[name] for name in sums}


def working_device(windows: Iterable[Window]) -> Device:
    """Device whose utilisation says how busy the hardware was: the GPU where any window recorded one's.

    One answer for a whole run: a GPU that stops telling its utilisation half-way is not replaced by the CPU.
    """
    recorded = any(_GPU.sub("gpu_", n) == "gpu_utilisation" for w in windows for n in w.conditions)
    return "gpu" if recorded else "cpu"
