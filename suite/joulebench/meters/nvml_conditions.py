"""Conditions of a GPU: temperature, clocks, utilisation, memory, power limit, throttling, other processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil

from joulebench.host.process import belongs
from joulebench.meters.sampling import HeldIntegral

# NVML's bits of "clocks event reasons" (nvml.h; earlier drivers: throttle reasons) without idle, which is none.
THROTTLE_BITS = {
    0x002: "application_clocks",  # clocks locked below the maximum by a user
    0x004: "power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "thermal",
    0x040: "hw_thermal",
    0x080: "power_brake",
    0x100: "display_clock",
    0x200: "board_limit",
    0x400: "reliability",
}


class GpuConditions:
    """Conditions of one GPU as integrals over time. One that cannot be read is absent, for good once it failed.

    Names: `temperature_c`, `sm_clock_mhz`, `memory_clock_mhz`, `utilisation` and `memory_utilisation` (0…1, by
    NVML the share of its last sample period with a kernel running or memory moving), `memory_used_bytes`,
    `power_limit_w` (the lowest of all that are in force), `throttled_<reason>` (0 or 1), `other_processes` (not of
    the run's).
    """

    def __init__(self, nvml: Any, handle: Any, prefix: str, now_s: float) -> None:
        self._nvml = nvml
        self._handle = handle
        self._prefix = prefix
        self._probes: tuple[Callable[[], dict[str, float]], ...] = (
            self._temperature,
            self._clocks,
            self._utilisation,
            self._memory,
            self._power_limit,
            self._throttling,
            self._others,
        )
        self._throttle_bits = self._supported_throttling()
        self._held: dict[str, HeldIntegral] = {}
        self.sample(now_s)

    def sample(self, now_s: float) -> None:
        """Sample every condition."""
        working, held = [], {}
        for probe in self._probes:
            try:
                values = probe()
            except self._nvml.NVMLError:
                continue  # its integrals go with it: they would run on with a stale value
            working.append(probe)
            for name, value in values.items():
                held[name] = self._held.get(name) or HeldIntegral(now_s, value)
                held[name].set(now_s, value)
        self._probes, self._held = tuple(working), held

    def integrals(self, now_s: float) -> dict[str, float]:
        return {f"{self._prefix}_{name}": held.at(now_s) for name, held in self._held.items()}

    def _temperature(self) -> dict[str, float]:
        nvml = self._nvml
        return {"temperature_c": nvml.nvmlDeviceGetTemperature(self._handle, nvml.NVML_TEMPERATURE_GPU)}

    def _clocks(self) -> dict[str, float]:
        nvml = self._nvml
        return {
            "sm_clock_mhz": nvml.nvmlDeviceGetClockInfo(self._handle, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": nvml.nvmlDeviceGetClockInfo(self._handle, nvml.NVML_CLOCK_MEM),
        }

    def _utilisation(self) -> dict[str, float]:
        rates = self._nvml.nvmlDeviceGetUtilizationRates(self._handle)
        return {"utilisation": rates.gpu / 100, "memory_utilisation": rates.memory / 100}

    def _memory(self) -> dict[str, float]:
        return {"memory_used_bytes": self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used}

    def _power_limit(self) -> dict[str, float]:
        limit_mw = self._nvml.nvmlDeviceGetEnforcedPowerLimit(self._handle)
        return {"power_limit_w": limit_mw / 1000} if limit_mw > 0 else {}  # 0: a virtual GPU that does not know

    def _throttling(self) -> dict[str, float]:
        reasons = _throttle_reasons(self._nvml, self._handle)
        return {f"throttled_{name}": float(bool(reasons & bit)) for bit, name in self._throttle_bits.items()}

    def _supported_throttling(self) -> dict[int, str]:
        try:
            supported = self._nvml.nvmlDeviceGetSupportedClocksEventReasons(self._handle)
        except self._nvml.NVMLError:
            return THROTTLE_BITS
        return {bit: name for bit, name in THROTTLE_BITS.items() if bit & supported}

    def _others(self) -> dict[str, float]:
        pids = [process.pid for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)]
        others = [pid for pid in pids if not belongs(pid)]
        # in a container NVML lists the host's numbers: ours is one of them, but which one cannot be told
        hidden = len(others) == len(pids) and any(not psutil.pid_exists(pid) for pid in pids)
        return {"other_processes": float(len(others) - hidden)}


def _throttle_reasons(nvml: Any, handle: Any) -> int:
    try:
        return int(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except nvml.NVMLError:  # drivers before 535 know them by their former name
        return int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
