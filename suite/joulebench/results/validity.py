"""Validity of windows, judged by the reader from what was recorded. Pure.

A window counts if its meters read it as they should and nothing else ran beside it. What an older record did not
record is not judged. docs/measuring.md lists the rules with their reasons.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from joulebench.records.model import Fault, FaultKind, Reading, Window
from joulebench.spec.task import Protocol

MIN_COUNTER_UPDATES = 20
#: Where it is known what a counter leaves open at a window's edges: at most this share of it, twice the deviation.
MAX_EDGE_SHARE = 0.01
ROUNDING = 1e-9  # of times that are differences of long sums
#: Less or more than this is no reading of a window: a nanojoule; 280 GWh.
MIN_J, MAX_J = 1e-9, 1e15
#: The kernel counts CPU time in ticks; fewer than this in one window are its rounding.
TICK_S, MIN_TICKS = 0.01, 3
#: Conditions are recorded to six places.
HALF_A_PLACE = 5e-7
#: A window longer than this multiple of what was planned held something else than work.
MAX_STRETCH = 1.5
#: In a window of fewer steps its own mean step hides a stop: it is compared with the others of its phase.
FEW_STEPS, MAX_STEP_STRETCH = 6, 2.0
#: Relative difference of two meters of one domain, beside one update of each.
MAX_METER_DIFFERENCE = 0.1
#: Mean power above this multiple of the domain's limit; regulation lets it overshoot by a few percent.
MAX_POWER_SHARE = 1.2
#: Share of time that the GPU may be at work in an idle window.
MAX_IDLE_UTILISATION = 0.05
#: Clocks lowered for one of these reasons make the same work dearer; a power cap is how a GPU runs at full load.
THROTTLING = ("thermal", "hw_thermal", "hw_slowdown", "power_brake", "reliability")
#: A reason counts as on, or as off, for a whole window within this share of its time.
STEADY_SHARE = 0.05


def is_read(reading: Reading) -> bool:
    """Whether a reading is a number from 0 to `MAX_J`; any other was not read."""
    return 0 <= reading.energy_j <= MAX_J


def invalidity(window: Window, protocol: Protocol) -> Fault | None:
    """Why a measured window does not count, as far as it alone can tell; None if it does.

    `judged` looks at the other windows of its phase too.
    """
    if window.fault is not None:
        return window.fault
    if not math.isfinite(window.duration_s) or window.duration_s <= 0:
        return Fault(kind=FaultKind.NO_DURATION, text="no duration")
    if window.duration_s < protocol.window_s * (1 - ROUNDING):
        text = f"too short: {window.duration_s:.3g} s of {protocol.window_s:g} s"
        return Fault(kind=FaultKind.TOO_SHORT, text=text)
    if window.units <= 0:
        return Fault(kind=FaultKind.NO_WORK, text="no work done")
    return (
        _readings(window)
        or _meters_disagree(window)
        or _unmetered(window)
        or (None if protocol.allow_busy else disturbance(window, protocol))
    )


def idle_fault(window: Window, protocol: Protocol) -> Fault | None:
    """Why an idle window is no baseline; None if it may be one."""
    return training_fault(window, protocol) or (None if protocol.allow_busy else _gpu_in_use(window))


def training_fault(window: Window, protocol: Protocol) -> Fault | None:
    """Why an epoch's joules are not those of the training; None if they are. It is as long as its work takes, so a
    counter may have moved seldom: what one epoch lacks the next one has."""
    if window.fault is not None and window.fault.kind is not FaultKind.FEW_UPDATES:
        return window.fault
    if not math.isfinite(window.duration_s) or window.duration_s <= 0:
        return Fault(kind=FaultKind.NO_DURATION, text="no duration")
    return (
        next((fault for r in window.readings if (fault := _impossible_power(r, window))), None)
        or _meters_disagree(window)
        or _unmetered(window)
        or (None if protocol.allow_busy else disturbance(window, protocol))
    )


def disturbance(window: Window, protocol: Protocol) -> Fault | None:
    """What else ran beside a window: other processes, the hypervisor, others on the GPU; None if nothing did."""
    most = max(protocol.max_other_cpus, MIN_TICKS * TICK_S / window.duration_s) + HALF_A_PLACE
    for name, kind, what in (
        ("other_load_cpus", FaultKind.OTHER_LOAD, "other processes kept {:.2g} CPUs busy"),
        ("steal_cpus", FaultKind.STOLEN_TIME, "the hypervisor took {:.2g} CPUs"),
    ):
        cpus = window.conditions.get(name)
        if cpus is not None and not cpus <= most:
            return Fault(kind=kind, text=f"{what.format(cpus)} (> {most:.2g})")
    for name, value in window.conditions.items():
        if name.endswith("_other_processes") and not value <= 0:
            gpu = name.removesuffix("_other_processes")
            text = f"{gpu} was used by {value:.2g} other processes on average"
            return Fault(kind=FaultKind.OTHER_GPU_PROCESS, text=text)
    return None


def judged(windows: Iterable[Window], phase: str, protocol: Protocol) -> list[tuple[Window, Fault | None]]:
    """The windows of a phase of one trial, each with the reason why it does not count, or None."""
    own = [w for w in windows if w.phase == phase]
    return [
        (
            window,
            invalidity(window, protocol)
            or _too_long(window, own, protocol)
            or _paused(window, own, protocol)
            or _throttling_changed(window, own),
        )
        for window in own
    ]


def valid_windows(windows: Iterable[Window], phase: str, protocol: Protocol) -> list[Window]:
    """The windows of a phase of one trial that count."""
    return [window for window, fault in judged(windows, phase, protocol) if fault is None]


def _readings(window: Window) -> Fault | None:
    for reading in window.readings:
        if reading.role != "primary":
            continue
        if not MIN_J <= reading.energy_j <= MAX_J:
            text = f"{reading.domain} reads {reading.energy_j:g} J"
            return Fault(kind=FaultKind.IMPOSSIBLE_READING, text=text)
        if (fault := _impossible_power(reading, window)) is not None:
            return fault
        if (why := _coarse(reading)) is not None:
            return Fault(kind=FaultKind.FEW_UPDATES, text=why)
    return None


def _edge_share(reading: Reading) -> float | None:
    """Share of a reading that is not known at its edges, twice the deviation; None where that is not recorded."""
    if reading.edge_sd_j is None or reading.energy_j <= 0:
        return None
    return 2 * reading.edge_sd_j / reading.energy_j


def stretch(reading: Reading) -> float:
    """How many times as long a window has to be for its counter to tell its joules."""
    if (share := _edge_share(reading)) is not None:
        return share / MAX_EDGE_SHARE
    if reading.counter_updates is None:
        return 0.0
    return MIN_COUNTER_UPDATES / max(1, reading.counter_updates)


def _coarse(reading: Reading) -> str | None:
    """Why a counter moves too seldom for the window; None if it does not."""
    if (share := _edge_share(reading)) is not None:
        text = f"{reading.domain} counter leaves {100 * share:.2g} % of it open at its edges"
        return f"{text} (> {100 * MAX_EDGE_SHARE:g} %)" if share > MAX_EDGE_SHARE else None
    if reading.counter_updates is None or reading.counter_updates >= MIN_COUNTER_UPDATES:
        return None
    return f"{reading.domain} counter moved {reading.counter_updates} times (< {MIN_COUNTER_UPDATES})"


def _impossible_power(reading: Reading, window: Window) -> Fault | None:
    limit_w = window.conditions.get(f"{reading.domain}_power_limit_w")
    power_w = reading.energy_j / window.duration_s
    if reading.role != "primary" or limit_w is None or power_w <= MAX_POWER_SHARE * limit_w * (1 + ROUNDING):
        return None
    text = f"{reading.domain} reads {power_w:.4g} W, and its limit is {limit_w:.4g} W"
    return Fault(kind=FaultKind.IMPOSSIBLE_POWER, text=text)


def _too_long(window: Window, phase: Sequence[Window], protocol: Protocol) -> Fault | None:
    """A window ends within a step of its time, so one far longer, unlike the others, was stopped or held up."""
    others = [w.duration_s for w in phase if w is not window]
    if window.steps < 2:
        return None
    slowest = max(
        (stretch(r) for r in window.readings if r.role == "primary" and r.counter_updates != 0), default=0.0
    )
    needed_s = window.duration_s * slowest  # for a slow counter
    planned_s = max(protocol.window_s, needed_s) + window.duration_s / window.steps
    usual_s = max(planned_s, min(others, default=planned_s))
    if window.duration_s <= MAX_STRETCH * usual_s:
        return None
    return Fault(kind=FaultKind.TOO_LONG, text=f"too long: {window.duration_s:.3g} s, usual are {usual_s:.3g} s")


def _paused(window: Window, phase: Sequence[Window], protocol: Protocol) -> Fault | None:
    """A window of few long steps is compared with the others of its phase, by the time of a step.

    Not where one window is enough: others then need not be of the same work, as calls of one function are not.
    """
    if protocol.repeats == 1 or not 0 < window.steps < FEW_STEPS:
        return None
    paces_s = [w.duration_s / w.steps for w in phase if w.steps > 0]
    step_s, typical_s = window.duration_s / window.steps, median(paces_s)
    if len(paces_s) < 3 or step_s <= MAX_STEP_STRETCH * typical_s:
        return None
    text = f"too long: {step_s:.3g} s a step, {typical_s:.3g} s in the phase's median window"
    return Fault(kind=FaultKind.TOO_LONG, text=text)


def _meters_disagree(window: Window) -> Fault | None:
    """A check that is measured, as the primary is: the error of a model is reported, not judged."""
    primary = {r.domain: r for r in window.readings if r.role == "primary" and r.kind == "measured"}
    for check in window.readings:
        reading = primary.get(check.domain)
        if check.role != "check" or check.kind != "measured" or reading is None or not is_read(check):
            continue
        allowed = MAX_METER_DIFFERENCE + _one_update(reading) + _one_update(check)
        if abs(check.energy_j - reading.energy_j) > allowed * max(check.energy_j, reading.energy_j):
            text = (
                f"{check.domain}: {reading.source} reads {reading.energy_j:.4g} J, "
                f"{check.source} {check.energy_j:.4g} J"
            )
            return Fault(kind=FaultKind.METERS_DISAGREE, text=text)
    return None


def _one_update(reading: Reading) -> float:
    """Share of a window that one update of the counter stands for, or what is known to be open at its edges."""
    if (share := _edge_share(reading)) is not None:
        return share
    return 1 / reading.counter_updates if reading.counter_updates else 0.0


def _unmetered(window: Window) -> Fault | None:
    """Whoever else is at work, without it the sum is too small."""
    for name, value in window.conditions.items():
        if name.endswith("_unmetered") and not value <= 0:
            text = f"{name.removesuffix('_unmetered')} worked for the run, and no meter reads it"
            return Fault(kind=FaultKind.UNMETERED_GPU, text=text)
    return None


def _gpu_in_use(window: Window) -> Fault | None:
    for name, share in window.conditions.items():
        gpu = name.removesuffix("_utilisation")
        if gpu == name or not gpu.startswith("gpu:") or gpu.endswith("_memory"):
            continue
        if not share <= MAX_IDLE_UTILISATION:
            text = f"{gpu} was at work for {100 * share:.0f} % of an idle window"
            return Fault(kind=FaultKind.GPU_IN_USE, text=text)
    return None


def _throttling_changed(window: Window, phase: Sequence[Window]) -> Fault | None:
    """Throttled throughout, or never, is a state; a change within a phase mixes two."""
    for name, share in window.conditions.items():
        gpu, _, reason = name.partition("_throttled_")
        if reason not in THROTTLING:
            continue
        if STEADY_SHARE < share < 1 - STEADY_SHARE:
            text = f"{gpu} was throttled ({reason}) for {100 * share:.0f} % of the window"
            return Fault(kind=FaultKind.THROTTLING_CHANGED, text=text)
        on = share > 0.5
        others = [w.conditions[name] > 0.5 for w in phase if name in w.conditions]
        if others.count(on) < others.count(not on) or (on and others.count(on) == others.count(not on)):
            state = "throttled" if on else "not throttled"
            text = f"{gpu} was {state} ({reason}), otherwise than in the phase's other windows"
            return Fault(kind=FaultKind.THROTTLING_CHANGED, text=text)
    return None
