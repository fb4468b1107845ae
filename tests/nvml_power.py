"""A fake NVML whose GPUs have power limits: who may set them, and what was set in which order."""

from __future__ import annotations

import pynvml

from joulebench.host.clock import VirtualClock
from joulebench.meters.replay import PowerTrace
from tests.meter_sources import FakeNvml, Gpu

LOW_MW, HIGH_MW, NOW_MW = 100_000, 400_000, 350_000


class PowerNvml(FakeNvml):
    """`refuse_after` settings of the limit succeed (all, if None); without `supported` GPUs have no limits."""

    def __init__(self, gpus=1, refuse_after=None, supported=True, works=True):
        super().__init__(
            [Gpu(PowerTrace("t", (0.0, 1.0), (10.0, 10.0))) for _ in range(gpus)], VirtualClock(), works
        )
        self.refuse_after, self.supported = refuse_after, supported
        self.limit_mw = [NOW_MW] * gpus
        self.history = []

    def _place(self, gpu):
        return next(i for i, own in enumerate(self.gpus) if own is gpu)  # GPUs that are equal are not one

    def nvmlDeviceGetPowerManagementLimitConstraints(self, gpu):  # noqa: N802
        self._at(gpu, self.supported)
        return [LOW_MW, HIGH_MW]

    def nvmlDeviceGetPowerManagementLimit(self, gpu):  # noqa: N802
        return self.limit_mw[self._place(gpu)]

    def nvmlDeviceSetPowerManagementLimit(self, gpu, milliwatts):  # noqa: N802
        if self.refuse_after is not None and len(self.history) >= self.refuse_after:
            raise self.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)
        self.limit_mw[self._place(gpu)] = milliwatts
        self.history.append(milliwatts)
