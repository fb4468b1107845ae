"""Which meters a run uses: one primary counter a domain, the best source that this machine has."""

from __future__ import annotations

from suite import device as torch_device
from suite.clock import Clock
from suite.hardware import HardwareProfile
from suite.meters.base import Meter, MeterSet
from suite.meters.codecarbon import CodeCarbonMeter
from suite.meters.nvml import NvmlMeter
from suite.meters.replay import ReplayMeter, load_traces


def meters_for(profile: HardwareProfile, device: str, clock: Clock, replay: str | None) -> Meter:
    """The meters of a run on `device`; with `replay`, the trace and nothing else.

    Raises:
        InputError: the trace cannot be read.
    """
    if replay is not None:
        return ReplayMeter(load_traces(replay), clock, replay)
    cpu, ram = profile.cpu_tdp_w, profile.ram_power_w
    meters: list[Meter] = [CodeCarbonMeter(cpu.value if cpu else None, ram.value if ram else None)]
    if gpus := torch_device.nvml_indices(device):
        meters.append(NvmlMeter(gpus))
    return MeterSet(meters)
