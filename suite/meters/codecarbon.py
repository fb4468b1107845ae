"""CPU and RAM energy through CodeCarbon, each component labelled with the method it truly uses.

One tracker serves a run. It is asked for its running totals; its file output, emissions (which assume a country)
and PUE factor are not used. What it says of itself is checked: `start` swallows exceptions, so a tracker that did
not start, or totals that stand still, raise here instead of reading 0.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from suite.errors import MeterError
from suite.meters.base import Counter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from suite.record import Kind

JOULES_PER_KWH = 3.6e6
NEVER_S = 30 * 24 * 3600.0  # the tracker's own periodic read; ours come at the windows' edges

# CodeCarbon's CPU._mode -> (source, kind, method in words)
_CPU_MODES: dict[str, tuple[str, Kind, str]] = {
    "intel_rapl": ("rapl_package", "measured", "RAPL package energy counters"),
    "intel_power_gadget": ("power_gadget", "measured", "Intel Power Gadget"),
    "windows_emi": ("windows_emi", "measured", "Windows Energy Meter Interface"),
    "cpu_load": ("cpu_load_model", "estimated", "TDP {tdp:g} W × (0.1 + 0.9 × load³) of the whole machine"),
    "constant": ("tdp_constant", "estimated", "half of a TDP of {tdp:g} W, constant"),
}


class CodeCarbonMeter:
    """Running totals of CodeCarbon's CPU and RAM components.

    Args:
        cpu_power_w: the CPU's TDP from the hardware profile; None leaves CodeCarbon its own guess.
        ram_power_w: the RAM's power from the hardware profile; None leaves CodeCarbon's model.
    """

    def __init__(self, cpu_power_w: float | None = None, ram_power_w: float | None = None) -> None:
        self._cpu_power_w = cpu_power_w
        self._ram_power_w = ram_power_w
        self._tracker: Any = None
        self._labels: dict[str, tuple[str, Kind, str]] = {}

    def start(self) -> None:
        """Make the tracker and start it.

        Raises:
            MeterError: CodeCarbon did not start.
        """
        with _own_configuration():
            from codecarbon import OfflineEmissionsTracker

            logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
            tracker = OfflineEmissionsTracker(
                measure_power_secs=NEVER_S,
                api_call_interval=-1,
                save_to_file=False,
                save_to_api=False,
                save_to_logger=False,
                allow_multiple_runs=True,  # its lock file would silence a second process
                log_level="critical",
                tracking_mode="machine",
                pue=1.0,  # applied once, when reporting
                force_cpu_power=self._cpu_power_w,
                force_ram_power=self._ram_power_w,
                gpu_ids=[],
            )
            tracker._ensure_hardware_ready()
            # GPUs are read at NVML by a meter of our own; twice would cost time and could be summed twice
            tracker._hardware = [part for part in tracker._hardware if type(part).__name__ in ("CPU", "RAM")]
            tracker.start()
        if getattr(tracker, "_start_time", None) is None:
            raise MeterError("CodeCarbon's tracker did not start")
        self._tracker = tracker
        self._labels = {d: label for part in tracker._hardware for d, label in [self._label(part)]}
        if not self._labels:
            raise MeterError("CodeCarbon found neither CPU nor RAM to read")

    def _label(self, part: Any) -> tuple[str, tuple[str, Kind, str]]:
        if type(part).__name__ == "RAM":
            if self._ram_power_w is not None:
                return "ram", (
                    "ram_model",
                    "estimated",
                    f"constant {self._ram_power_w:g} W (hardware profile)",
                )
            watts = part.total_power().W
            return "ram", ("ram_model", "estimated", f"CodeCarbon's model by installed memory: {watts:g} W")
        source, kind, method = _CPU_MODES.get(
            part._mode,
            (str(part._mode), "estimated", f"CodeCarbon mode '{part._mode}', taken as an estimate"),
        )
        origin = "hardware profile" if self._cpu_power_w is not None else f"CodeCarbon's for '{part._model}'"
        text = method.format(tdp=part._tdp or 0)
        return "cpu", (source, kind, f"{text} (TDP: {origin})" if kind == "estimated" else text)

    def read(self) -> tuple[Counter, ...]:
        """Totals since `start`; half a millisecond.

        Raises:
            MeterError: the tracker is not running any more.
        """
        tracker = self._tracker
        if tracker is None or tracker._start_time is None:
            raise MeterError("CodeCarbon's tracker is not running")
        tracker._measure_power_and_energy()
        totals = {"cpu": tracker._total_cpu_energy, "ram": tracker._total_ram_energy}
        return tuple(
            Counter(domain, totals[domain].kWh * JOULES_PER_KWH, source, kind)
            for domain, (source, kind, _) in self._labels.items()
        )

    def integrals(self) -> dict[str, float]:
        return {}

    def stop(self) -> None:
        tracker, self._tracker = self._tracker, None
        if tracker is None:
            return
        # `tracker.stop()` would look up a country for emissions; its two timers are all there is to end
        tracker._scheduler.stop()
        tracker._scheduler_monitor_power.stop()
        tracker._start_time = None

    def describe(self) -> list[dict[str, str]]:
        return [
            {"domain": domain, "source": source, "kind": kind, "method": method}
            for domain, (source, kind, method) in self._labels.items()
        ]


@contextmanager
def _own_configuration() -> Iterator[None]:
    """Hide CODECARBON_* variables: a PUE or a forced power set there would change joules unseen."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("CODECARBON_")}
    try:
        yield
    finally:
        os.environ.update(hidden)
