"""GPU energy at NVML's own counter (Volta and newer), in millijoules since the driver was loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from suite.meters.base import Counter

COUNTER_PERIOD_S = 0.1  # the counter moves about every 100 ms


class NvmlMeter:
    """Energy counters of the GPUs a run uses.

    A GPU whose counter cannot be read (vGPU, MIG, older than Volta) has no domain: absent, not 0.

    Args:
        indices: NVML indices of the GPUs.
        nvml: the `pynvml` module, or one that behaves like it.
    """

    def __init__(self, indices: Sequence[int], nvml: Any = None) -> None:
        import pynvml

        self._nvml: Any = pynvml if nvml is None else nvml
        self._indices = tuple(indices)
        self._handles: dict[int, Any] = {}
        self._first_mj: dict[int, int] = {}
        self._names: dict[int, str] = {}

    def start(self) -> None:
        self._nvml.nvmlInit()
        for index in self._indices:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            try:
                self._first_mj[index] = self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            except self._nvml.NVMLError:
                continue
            self._handles[index] = handle
            self._names[index] = str(self._nvml.nvmlDeviceGetName(handle))

    def read(self) -> tuple[Counter, ...]:
        counters = []
        for index, handle in self._handles.items():
            try:
                total_mj = self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            except self._nvml.NVMLError:
                continue  # the window says "dropped out"
            energy_j = (total_mj - self._first_mj[index]) / 1000
            counters.append(Counter(f"gpu:{index}", energy_j, "nvml_counter", "measured"))
        return tuple(counters)

    def integrals(self) -> dict[str, float]:
        return {}

    def stop(self) -> None:
        if self._handles:
            self._nvml.nvmlShutdown()
        self._handles = {}

    def describe(self) -> list[dict[str, str]]:
        return [
            {
                "domain": f"gpu:{index}",
                "source": "nvml_counter",
                "kind": "measured",
                "method": f"NVML total energy counter of {name}",
            }
            for index, name in self._names.items()
        ]
