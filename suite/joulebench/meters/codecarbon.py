"""What CodeCarbon gives: CPU and RAM energy, each component labelled with the method it truly uses.

One tracker serves a run. It is asked for its running totals; its file output, emissions (which assume a country)
and PUE factor are not used. What it says of itself is checked: its constructor and `start` swallow exceptions, so a
tracker that did not start, took settings from elsewhere, or whose totals stand still, raises here instead of
reading 0. Its table of countries gives grid carbon intensity, only for a country that the user named.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from joulebench.errors import InputError, MeterError, did_you_mean
from joulebench.host.clock import Clock, RealClock
from joulebench.meters.base import Counter, Offer, Wanted, description

if TYPE_CHECKING:
    from collections.abc import Iterator

    from joulebench.records.model import Kind

JOULES_PER_KWH = 3.6e6
NEVER_S = 30 * 24 * 3600.0  # the tracker's own periodic read; ours come at the windows' edges
STILL_S = 0.5  # totals that have not moved for longer are not being counted

# CodeCarbon's CPU._mode -> (source, kind, method in words)
_CPU_MODES: dict[str, tuple[str, Kind, str]] = {
    "intel_rapl": ("rapl_package", "measured", "RAPL package energy counters, read by CodeCarbon"),
    "intel_power_gadget": ("power_gadget", "measured", "Intel Power Gadget"),
    "windows_emi": ("windows_emi", "measured", "Windows Energy Meter Interface"),
    "cpu_load": ("cpu_load_model", "estimated", "TDP {tdp:g} W × (0.1 + 0.9 × load³) of the whole machine"),
    "constant": ("tdp_constant", "estimated", "half of a TDP of {tdp:g} W, constant"),
}
_COUNTRIES = ("data", "private_infra", "global_energy_mix.json")  # its table, inside the package
# CodeCarbon's component class -> (domain, the tracker's running total)
_PARTS = {"CPU": ("cpu", "_total_cpu_energy"), "RAM": ("ram", "_total_ram_energy")}


class CodeCarbonMeter:
    """Running totals of CodeCarbon's CPU and RAM components.

    Args:
        cpu_power_w: the CPU's TDP from the hardware profile; None leaves CodeCarbon its own guess.
        ram_power_w: the RAM's power from the hardware profile; None leaves CodeCarbon's model.
        domains: which of `cpu`, `ram` it reports; the rest is another meter's.
        clock: the clock that windows are cut by.
    """

    def __init__(
        self,
        cpu_power_w: float | None = None,
        ram_power_w: float | None = None,
        domains: Sequence[str] = ("cpu", "ram"),
        clock: Clock | None = None,
    ) -> None:
        self._cpu_power_w = cpu_power_w
        self._ram_power_w = ram_power_w
        self._domains = tuple(domains)
        self._clock: Clock = clock or RealClock()
        self._tracker: Any = None
        self._labels: dict[str, tuple[str, Kind, str]] = {}
        self._moved: dict[str, tuple[float, float]] = {}  # domain -> (joules, when they last grew)

    def start(self) -> None:
        """Make the tracker and start it.

        Raises:
            MeterError: CodeCarbon did not start, or not with these settings.
        """
        with _own_configuration():
            try:
                tracker = self._make()
                tracker.start()
            except Exception as error:  # whatever breaks in there, no joules follow
                raise MeterError(f"CodeCarbon's tracker did not start: {type(error).__name__}: {error}") from None
        self._tracker = tracker
        try:
            if (
                tracker._start_time is None or tracker._measure_occurrence == 0
            ):  # its first measurement ends `start`
                raise MeterError("CodeCarbon's tracker did not start: it swallowed an exception of its own")
            self._labels = {d: label for part in tracker._hardware for d, label in [self._label(part)]}
            if not self._labels:
                raise MeterError(f"CodeCarbon reads none of {', '.join(self._domains)} on this machine")
        except BaseException:
            self.stop()
            raise
        self._moved = {domain: (-1.0, self._clock.now_s()) for domain in self._labels}

    def _make(self) -> Any:
        from codecarbon import OfflineEmissionsTracker

        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        settings = {
            "pue": 1.0,  # applied once, when reporting
            "tracking_mode": "machine",
            "force_cpu_power": self._cpu_power_w,
            "force_ram_power": self._ram_power_w,
            "force_mode_cpu_load": False,
            "rapl_include_dram": False,  # DRAM is the domain `ram`
            "rapl_prefer_psys": False,  # psys holds more than the CPU
            "allow_multiple_runs": True,  # its lock file would silence a second process
        }
        tracker: Any = OfflineEmissionsTracker(
            measure_power_secs=NEVER_S,
            api_call_interval=-1,
            save_to_file=False,
            save_to_api=False,
            save_to_logger=False,
            log_level="critical",
            wue=0.0,
            gpu_ids=[],
            **settings,
        )
        for name, wanted in settings.items():
            if (got := getattr(tracker, f"_{name}", "not set")) != wanted:
                raise MeterError(f"{name} is {got}, not {wanted}")
        tracker._ensure_hardware_ready()
        # GPUs are read at NVML by a meter of our own; twice would cost time and could be summed twice
        tracker._hardware = [
            p for p in tracker._hardware if _PARTS.get(type(p).__name__, ("",))[0] in self._domains
        ]
        return tracker

    def _label(self, part: Any) -> tuple[str, tuple[str, Kind, str]]:
        if type(part).__name__ == "RAM":
            return "ram", ("ram_model", "estimated", self._ram_method(part))
        source, kind, method = _CPU_MODES.get(
            part._mode,
            (str(part._mode), "estimated", f"CodeCarbon mode '{part._mode}', taken as an estimate"),
        )
        origin = "hardware profile" if self._cpu_power_w is not None else f"CodeCarbon's for '{part._model}'"
        text = method.format(tdp=part._tdp or 0)
        return "cpu", (source, kind, f"{text} (TDP: {origin})" if kind == "estimated" else text)

    def _ram_method(self, part: Any) -> str:
        watts = part.total_power().W
        if not watts > 0:
            raise MeterError("CodeCarbon's RAM model gives 0 W: it could not tell how much memory there is")
        if self._ram_power_w is not None:
            return f"constant {watts:g} W (hardware profile)"
        # its model is a constant; asked again it would start a process for each read where SLURM is
        part._force_ram_power = watts
        return f"CodeCarbon's model by installed memory: {watts:g} W"

    def read(self) -> tuple[Counter, ...]:
        """Totals since `start`; half a millisecond.

        Raises:
            MeterError: the tracker is not running any more, or its totals stand still.
        """
        tracker = self._tracker
        if tracker is None or tracker._start_time is None:
            raise MeterError("CodeCarbon's tracker is not running")
        try:
            tracker._measure_power_and_energy()
        except Exception as error:
            raise MeterError(f"CodeCarbon failed: {type(error).__name__}: {error}") from None
        totals = {domain: getattr(tracker, total).kWh * JOULES_PER_KWH for domain, total in _PARTS.values()}
        for domain in self._labels:
            self._must_move(domain, totals[domain])
        return tuple(
            Counter(domain, totals[domain], source, kind) for domain, (source, kind, _) in self._labels.items()
        )

    def _must_move(self, domain: str, energy_j: float) -> None:
        """No component of CodeCarbon's draws nothing: a total that stays where it was is a failure."""
        now_s = self._clock.now_s()
        last_j, moved_s = self._moved[domain]
        if energy_j > last_j and energy_j > 0:
            self._moved[domain] = (energy_j, now_s)
        elif now_s - moved_s > STILL_S:
            raise MeterError(
                f"CodeCarbon's total for {domain} stands still at {energy_j:g} J for {now_s - moved_s:.2f} s"
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
            description(domain, source, kind, method) for domain, (source, kind, method) in self._labels.items()
        ]


@contextmanager
def _own_configuration() -> Iterator[None]:
    """While the tracker is made, hide from it what would change joules, or what is written, unseen.

    That is CODECARBON_* variables and the .codecarbon.config files of the home and working folders. RAPL is hidden
    too: where it can be read in full, `joulebench.meters.rapl` does, and where not, CodeCarbon would read a part.
    """
    from codecarbon import emissions_tracker
    from codecarbon.core import cpu

    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.lower().startswith("codecarbon_")}
    read_files, find_rapl = emissions_tracker.get_hierarchical_config, cpu.is_rapl_available
    emissions_tracker.get_hierarchical_config = dict
    cpu.is_rapl_available = lambda *_: False
    try:
        yield
    finally:
        emissions_tracker.get_hierarchical_config, cpu.is_rapl_available = read_files, find_rapl
        os.environ.update(hidden)


@cache
def _countries() -> dict[str, dict[str, Any]]:
    text = resources.files("codecarbon").joinpath(*_COUNTRIES).read_text(encoding="utf-8")
    countries: dict[str, dict[str, Any]] = json.loads(text)
    return countries


def grid_intensity_g_per_kwh(country_iso3: str) -> tuple[float, str]:
    """Yearly mean carbon intensity of a country's electricity, gCO2e/kWh, and where the figure comes from.

    Raises:
        InputError: no country has this three-letter code (the nearest is named), or its figure is missing.
    """
    countries = _countries()
    code = country_iso3.strip().upper()
    if code not in countries:
        raise InputError(f"country '{country_iso3}': not an ISO 3166 three-letter code{_nearest(country_iso3)}")
    country = countries[code]
    value = float(country.get("carbon_intensity") or 0)
    if not value > 0:
        raise InputError(f"country '{code}': CodeCarbon's table has no carbon intensity for it; give a figure")
    version = metadata.version("codecarbon")
    return value, f"CodeCarbon {version} country table: {country['country_name']}, {country['year']}"


def _nearest(given: str) -> str:
    countries = _countries()
    by_name = {entry["country_name"].lower(): code for code, entry in countries.items()}
    if code := by_name.get(given.strip().lower()):
        return f"; did you mean '{code}'?"
    if hint := did_you_mean(given.strip().lower(), by_name):
        name = hint.split("'")[1]
        return f"; did you mean '{by_name[name]}' ({countries[by_name[name]]['country_name']})?"
    return did_you_mean(given.strip().upper(), countries)


def offer(wanted: Wanted) -> Offer | None:
    """CodeCarbon's models for what no counter reads."""
    domains = tuple(domain for domain in ("cpu", "ram") if domain not in wanted.taken)
    cpu, ram = wanted.profile.cpu_tdp_w, wanted.profile.ram_power_w
    if not domains:
        return None
    meter = CodeCarbonMeter(cpu.value if cpu else None, ram.value if ram else None, domains, wanted.clock)
    return Offer(meter, domains)
