"""What NVML's energy counter and power sensors really do on a GPU: `python -m tests.gpu.counter_probe OUT.json`.

The meter rests on a few facts of the driver that vendors do not state: how often the counter moves, whether it
agrees with power, how late it follows a change of load, and what asking costs. They are read off one GPU here, in
75 seconds. Results are written after every part, so that a probe that is cut short leaves what it had. No
setting of the device is changed, and nothing is judged: the figures are for whoever sets the meter's thresholds.

What to read first, and why:

`under_load.counter.between_changes_ms`
    The counter's update period, which the meter learns at start for itself, and polls on all of its phases. The
    longest gap says how regular it is: one three times as long as was seen at start is a fault.
`against_*`
    The counter's joules beside integrated power, under loads of several shapes. `instant/counter` near 1 says that
    the two may check each other; `average/counter` and the poll of 10 ms say what sensor and polling are worth.
`step`
    Energy and power through a step of load: how late each follows, so how much of a window is its neighbour's.
`meter_slows_down`, `meter_read_ms`
    What the meter costs: the share of a load's pace lost to its sampling, and how long a reading at an edge takes.
`blocking`
    Whether the sampling thread keeps up while the process is busy in ways that starve threads. A `fault` here is
    one that honest windows would show.
`ten_windows.rsd`
    The spread of ten windows of the same work: what `meter_consistency` asks of this GPU, in its simplest form.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from joulebench.host.clock import Clock, RealClock
from joulebench.host.device import nvml_indices, physical_gpus
from joulebench.host.files import write_whole
from joulebench.measurement.timeline import Timeline
from joulebench.meters.nvml import NvmlMeter
from joulebench.meters.sampling import Sampler, ThreadSampler

Work = Callable[[], object]

POLL_S = 0.05  # as the meter polls
FAST_POLL_S = 0.0005  # to see when a value changes
STEP_POLL_S = 0.004
KEPT = 3  # of a step's samples every third is kept

#: NVML's fields, each with the scopes to ask for: the energy counter, and power averaged and instantaneous of the
#: whole GPU (0), its memory (1) and the module (2). What a driver lacks says so in `ret`.
FIELDS = ((83, 0), (185, 0), (186, 0), (185, 1), (186, 1), (185, 2), (186, 2))


class Report:
    """Results by part, written to a file after each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.parts: dict[str, Any] = {}

    def keep(self, name: str, part: Callable[[], Any]) -> Any:
        """Run a part and save all results so far; one that fails is its error, and the probe goes on."""
        try:
            self.parts[name] = part()
        except Exception as error:  # what one driver lacks must not hide the rest
            self.parts[name] = {"error": f"{type(error).__name__}: {error}"}
        write_whole(self._path, (json.dumps(self.parts, indent=1, default=str) + "\n").encode())
        return self.parts[name]


@dataclass(frozen=True)
class Sensors:
    """What NVML says of one GPU, on a clock."""

    nvml: Any
    handle: Any
    clock: Clock

    def energy_j(self) -> float:
        return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1e3

    def instant_w(self) -> float:
        (field,) = self.nvml.nvmlDeviceGetFieldValues(self.handle, [self.nvml.NVML_FI_DEV_POWER_INSTANT])
        return float(field.value.uiVal) / 1e3

    def average_w(self) -> float:
        """A mean over the last second on Ampere (but GA100) and newer, instantaneous on others."""
        return float(self.nvml.nvmlDeviceGetPowerUsage(self.handle)) / 1e3

    def sample(self) -> tuple[float, float, float, float]:
        """Time, joules counted, instantaneous and averaged watts."""
        return self.clock.now_s(), self.energy_j(), self.instant_w(), self.average_w()


def calls(sensors: Sensors) -> dict[str, Any]:
    """Which functions of NVML answer here, with what, and in how many milliseconds.

    A function that is refused names the reason: a virtual or sliced GPU lacks some.
    """
    nvml, h = sensors.nvml, sensors.handle
    plain = (
        "Name", "UUID", "MigMode", "TotalEnergyConsumption", "PowerUsage", "UtilizationRates", "MemoryInfo",
        "SupportedClocksEventReasons", "CurrentClocksEventReasons", "ComputeRunningProcesses",
        "GraphicsRunningProcesses", "PowerManagementLimitConstraints", "PowerManagementLimit", "EnforcedPowerLimit",
        "PersistenceMode", "ComputeMode", "PerformanceState", "VirtualizationMode",
    )  # fmt: skip
    asked: list[tuple[Any, ...]] = [
        ("nvmlSystemGetDriverVersion",),
        ("nvmlSystemGetNVMLVersion",),
        ("nvmlDeviceGetCount",),
        *((f"nvmlDeviceGet{name}", h) for name in plain),
        ("nvmlDeviceGetTemperature", h, nvml.NVML_TEMPERATURE_GPU),
        ("nvmlDeviceGetClockInfo", h, nvml.NVML_CLOCK_SM),
        ("nvmlDeviceGetApplicationsClock", h, nvml.NVML_CLOCK_SM),
        ("nvmlDeviceGetMaxClockInfo", h, nvml.NVML_CLOCK_SM),
        ("nvmlDeviceGetTotalEccErrors", h, 0, 0),
    ]
    return {name: _called(sensors, name, *arguments) for name, *arguments in asked}


def _called(sensors: Sensors, name: str, *arguments: Any) -> dict[str, Any]:
    start_s = sensors.clock.now_s()
    try:
        answer: dict[str, Any] = {"ok": str(getattr(sensors.nvml, name)(*arguments))[:300]}
    except Exception as error:  # NVML's own, or a function that this pynvml lacks
        answer = {"error": f"{type(error).__name__}: {error}", "value": getattr(error, "value", None)}
    return answer | {"ms": round(1e3 * (sensors.clock.now_s() - start_s), 3)}


def fields(sensors: Sensors) -> dict[str, Any]:
    """Each of `FIELDS` as `field/scope`: return code, type of the value, and how old the driver says that it is."""
    found = {}
    for field, scope in FIELDS:
        (value,) = sensors.nvml.nvmlDeviceGetFieldValues(sensors.handle, [(field, scope)])
        found[f"{field}/{scope}"] = {
            "ret": value.nvmlReturn,
            "type": value.valueType,
            "ui": value.value.uiVal,
            "ull": value.value.ullVal,
            "latencyUsec": value.latencyUsec,
            "timestamp_us": value.timestamp,
        }
    return found


def stats(values: Iterable[float]) -> dict[str, float] | None:
    """Number, extremes and quantiles; None of nothing."""
    xs = sorted(values)
    if not xs:
        return None

    def quantile(share: float) -> float:
        return round(xs[min(len(xs) - 1, int(share * len(xs)))], 4)

    return {
        "n": len(xs),
        "min": round(xs[0], 4),
        "p5": quantile(0.05),
        "median": quantile(0.5),
        "p95": quantile(0.95),
        "max": round(xs[-1], 4),
    }


def period(read: Callable[[], float], clock: Clock, seconds: float) -> dict[str, Any]:
    """How often a value changes, polled nearly as fast as it answers.

    `between_changes_ms` is its update period, `steps` by how much it changes, `call_ms` how long one reading takes.
    The first change only starts the count: when the value before it began is not known.
    """
    gaps, steps, took = [], [], []
    last, start_s = read(), clock.now_s()
    moved_s: float | None = None
    while (before_s := clock.now_s()) - start_s < seconds:
        value = read()
        after_s = clock.now_s()
        took.append(1e3 * (after_s - before_s))
        if value != last:
            if moved_s is not None:
                gaps.append(1e3 * (after_s - moved_s))
                steps.append(value - last)
            moved_s, last = after_s, value
        clock.sleep(FAST_POLL_S)
    return {"between_changes_ms": stats(gaps), "call_ms": stats(took), "steps": stats(steps)}


def periods(sensors: Sensors, seconds: float) -> dict[str, Any]:
    """`period` of the counter and of both readings of power, one after the other."""
    reads = {"counter": sensors.energy_j, "instant": sensors.instant_w, "average": sensors.average_w}
    return {name: period(read, sensors.clock, seconds) for name, read in reads.items()}


def against(
    sensors: Sensors, seconds: float, work: Work, settle: Work = lambda: None, sampler: Sampler | None = None
) -> dict[str, Any]:
    """The counter's joules beside power integrated by the trapezoidal rule, while `work` is repeated.

    Both are taken between two moves of the counter, the first and the last that were seen, so that no part of an
    update counts. The ratios to the counter are near 1 where counter and sensor measure the same; they are known to
    one poll in the length of the stretch. The longest gaps say whether the counter stood still, and whether the
    sampler kept up.

    Args:
        settle: waits until the device has done what `work` asked for.
        sampler: what calls for samples; a thread, at the meter's own pace, if not given.
    """
    sampler = sampler or ThreadSampler("counter-probe", POLL_S)
    series: list[tuple[float, float, float, float]] = []
    start_s = sensors.clock.now_s()
    sampler.start(lambda: series.append(sensors.sample()))
    try:
        while sensors.clock.now_s() - start_s < seconds:
            work()
        settle()
        sampler.check()
    finally:
        sampler.stop()
    return _compared(series)


def _compared(series: Sequence[tuple[float, float, float, float]]) -> dict[str, Any]:
    moves = [now for last, now in pairwise(series) if now[1] != last[1]]
    if len(moves) < 3:
        return {"moves": len(moves)}
    (begin_s, begin_j, *_), (end_s, end_j, *_) = moves[0], moves[-1]
    inside = [sample for sample in series if begin_s <= sample[0] <= end_s]
    counter_j, instant_j, average_j = end_j - begin_j, _integral(inside, 2), _integral(inside, 3)
    return {
        "seconds": round(end_s - begin_s, 3),
        "counter_j": round(counter_j, 3),
        "instant_j": round(instant_j, 3),
        "average_j": round(average_j, 3),
        "instant/counter": round(instant_j / counter_j, 5),
        "average/counter": round(average_j / counter_j, 5),
        "watts": round(counter_j / (end_s - begin_s), 2),
        "longest_gap_of_counter_ms": _longest_gap_ms(moves),
        "longest_gap_of_sampler_ms": _longest_gap_ms(series),
    }


def _integral(series: Sequence[tuple[float, ...]], column: int) -> float:
    return sum((b[0] - a[0]) * (a[column] + b[column]) / 2 for a, b in pairwise(series))


def _longest_gap_ms(series: Sequence[tuple[float, ...]]) -> float:
    return round(1e3 * max(b[0] - a[0] for a, b in pairwise(series)), 1)


def step(sensors: Sensors, work: Work, sampler: Sampler | None = None) -> dict[str, Any]:
    """A second of rest, two of `work`, two of rest: seconds since the start, joules, watts now and averaged.

    How late each follows the load at `on_s` and `off_s` is how much of a window's energy may be another's. A mean
    over 1 s rises over a second; a counter that lags moves on after the load has ended.
    """
    clock = sensors.clock
    sampler = sampler or ThreadSampler("counter-probe", STEP_POLL_S)
    trace: list[tuple[float, ...]] = []
    start_s = clock.now_s()

    def record() -> None:
        now_s, *values = sensors.sample()
        trace.append((round(now_s - start_s, 4), *values))

    sampler.start(record)
    try:
        clock.sleep(1.0)
        on_s = clock.now_s() - start_s
        while clock.now_s() - start_s < 3.0:
            work()
        off_s = clock.now_s() - start_s
        clock.sleep(2.0)
        sampler.check()
    finally:
        sampler.stop()
    return {"on_s": on_s, "off_s": off_s, "t_energyJ_instantW_averageW": trace[::KEPT]}


def rate(work: Work, clock: Clock, seconds: float = 1.5) -> float:
    """How often a second `work` gets done."""
    done, start_s = 0, clock.now_s()
    while clock.now_s() - start_s < seconds:
        work()
        done += 1
    return done / (clock.now_s() - start_s)


class Load:
    """Work for the GPU, of several shapes; each ends with the device settled."""

    def __init__(self) -> None:
        import torch

        self._torch = torch
        self._a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
        self._b = torch.randn_like(self._a)
        self._small = [torch.randn(64, 64, device="cuda") for _ in range(2)]
        self.settle()

    def settle(self) -> None:
        self._torch.cuda.synchronize()

    def heavy(self) -> None:
        """Matrix products that keep the device at its limit: about 10 ms on a current data-centre GPU."""
        for _ in range(8):
            self._torch.mm(self._a, self._b)
        self.settle()

    def launches(self) -> None:
        """Two hundred tiny kernels: the process is busy, the device hardly."""
        x = self._small[0]
        for _ in range(200):
            x = x @ self._small[1]
        self.settle()

    def duty(self) -> None:
        """Load and rest in turn, a period of its own beside the counter's."""
        self.heavy()
        RealClock().sleep(0.05)

    def allocation(self) -> None:
        """Most of the memory taken, written and given back: calls that the driver may block in."""
        free, _ = self._torch.cuda.mem_get_info()
        x = self._torch.empty(int(free * 0.8), dtype=self._torch.uint8, device="cuda").fill_(1)
        self.settle()
        del x
        self._torch.cuda.empty_cache()

    def first_convolution(self) -> None:
        """A convolution not seen before, for which kernels are loaded and chosen."""
        nn = self._torch.nn
        layer = nn.Conv2d(3, 128, 9, padding=4).cuda().to(memory_format=self._torch.channels_last)
        layer(self._torch.randn(64, 3, 32, 32, device="cuda")).sum().backward()
        self.settle()

    @contextmanager
    def in_background(self, clock: Clock) -> Iterator[None]:
        """Heavy load from another thread, for half a second before and as long as the block lasts."""
        stopping = threading.Event()

        def run() -> None:
            while not stopping.is_set():
                self.heavy()

        thread = threading.Thread(target=run, name="counter-probe-load", daemon=True)
        thread.start()
        try:
            clock.sleep(0.5)
            yield
        finally:
            stopping.set()
            thread.join()


def slowdown(loads: Mapping[str, Work], clock: Clock, begin: Work) -> dict[str, float]:
    """The share of each load's pace that is lost after `begin` (the meter starts to sample)."""
    plain = {name: rate(work, clock) for name, work in loads.items()}
    begin()
    return {name: round(1 - rate(work, clock) / plain[name], 4) for name, work in loads.items()}


def read_ms(meter: NvmlMeter, clock: Clock, reads: int = 50) -> dict[str, float] | None:
    """How long one reading of the meter takes: the time that a window's edge is not sharp."""
    took = []
    for _ in range(reads):
        start_s = clock.now_s()
        meter.read()
        took.append(1e3 * (clock.now_s() - start_s))
    return stats(took)


def blocked(timeline: Timeline, name: str, work: Work) -> dict[str, Any]:
    """A window around `work` that may starve the sampling thread: its fault, if any, and what was unseen."""
    start_s, failed = timeline.clock.now_s(), {}
    try:
        work()
    except Exception as error:  # too little memory for it, say: the window is there all the same
        failed = {"error": f"{type(error).__name__}: {error}"}
    window = timeline.cut(name)
    return failed | {
        "seconds": round(timeline.clock.now_s() - start_s, 3),
        "fault": window.fault and window.fault.text,
        "conditions": {k: v for k, v in window.conditions.items() if "unseen" in k},
        "readings": [(r.source, r.role, round(r.energy_j, 2), r.counter_updates) for r in window.readings],
    }


def windows(timeline: Timeline, work: Work, count: int = 10, seconds: float = 2.1) -> dict[str, Any]:
    """Windows of the same work, of at least 30 steps each, and the spread of the counter's joules a step."""
    found, each_j = [], []
    for _ in range(count):
        start_s, steps = timeline.clock.now_s(), 0
        while steps < 30 or timeline.clock.now_s() - start_s < seconds:
            work()
            steps += 1
        window = timeline.cut("window", units=steps)
        readings = {(r.source, r.role): r for r in window.readings}
        counter, power = readings.get(("nvml_counter", "primary")), readings.get(("nvml_power", "check"))
        found.append(
            {
                "s": round(window.duration_s, 4),
                "k": steps,
                "fault": window.fault and window.fault.text,
                "j": counter and round(counter.energy_j, 2),
                "updates": counter and counter.counter_updates,
                "check_j": power and round(power.energy_j, 2),
            }
        )
        if counter and counter.energy_j:
            each_j.append(counter.energy_j / steps)
    return {"windows": found, "rsd": round(stdev(each_j) / mean(each_j), 5) if len(each_j) > 1 else None}


def probe_sensors(report: Report, sensors: Sensors) -> None:
    """What can be seen before any process has a context on the GPU: it may sleep, and its counter with it."""
    report.keep("calls", lambda: calls(sensors))
    report.keep("fields", lambda: fields(sensors))
    report.keep("no_context", lambda: periods(sensors, 1.0))
    report.keep("against_no_context", lambda: against(sensors, 2.0, lambda: sensors.clock.sleep(0.001)))


def probe_load(report: Report, sensors: Sensors, load: Load) -> None:
    """Counter and power with a context: idle, under load of several shapes, and through a step."""
    clock = sensors.clock
    report.keep("idle_with_context", lambda: against(sensors, 2.0, lambda: clock.sleep(0.001), load.settle))
    load.heavy()

    def loaded() -> dict[str, Any]:
        with load.in_background(clock):
            return periods(sensors, 1.5)

    report.keep("under_load", loaded)
    report.keep("against_load", lambda: against(sensors, 3.0, load.heavy, load.settle))
    report.keep("against_launch_bound", lambda: against(sensors, 3.0, load.launches, load.settle))
    report.keep("against_duty_50ms", lambda: against(sensors, 3.0, load.duty, load.settle))
    fast = ThreadSampler("counter-probe", 0.01)
    report.keep("against_load_poll_10ms", lambda: against(sensors, 2.0, load.heavy, load.settle, fast))
    clock.sleep(1.5)  # power falls back to idle's
    report.keep("step", lambda: step(sensors, load.heavy))


def probe_meter(report: Report, clock: Clock, load: Load) -> None:
    """The project's own meter: what it costs, and what it sees while the process blocks."""
    meter = NvmlMeter(physical_gpus("cuda:0")[0], clock=clock)
    timeline = Timeline(meter, clock, load.settle)
    loads = {"launch_bound": load.launches, "heavy": load.heavy}
    blocking = {
        "sleep 2 s": lambda: clock.sleep(2.0),
        "allocate 80 %": load.allocation,
        "first convolution": load.first_convolution,
        "matmul 3 s": lambda: rate(load.heavy, clock, 3.0),
        "launches 3 s": lambda: rate(load.launches, clock, 3.0),
        # a call that keeps the interpreter's lock, as some extensions do
        "the GIL held 1.5 s": lambda: ctypes.PyDLL(None).usleep(1_500_000),
    }

    def cost() -> dict[str, float]:
        found = slowdown(loads, clock, timeline.start)
        timeline.cut("warm")
        return found

    try:
        report.keep("meter_slows_down", cost)
        report.keep("meter_read_ms", lambda: read_ms(meter, clock))
        report.keep("blocking", lambda: {name: blocked(timeline, name, work) for name, work in blocking.items()})
        report.keep("ten_windows", lambda: windows(timeline, load.heavy))
    finally:
        timeline.stop()


def cuda_missing() -> str | None:
    """Why torch cannot use a GPU; None if it can."""
    try:
        import torch
    except ImportError as error:
        return repr(error)
    return None if torch.cuda.is_available() else f"torch {torch.__version__} sees no CUDA device"


def main(arguments: Sequence[str] | None = None) -> None:
    """Probe one GPU, the first by NVML's numbers if none is named, and print what to read first."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.counter_probe", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the JSON file to write")
    parser.add_argument(
        "--index", type=int, default=0, help="NVML index of the GPU, which has to be torch's cuda:0"
    )
    given = parser.parse_args(arguments)
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(given.index)
    except pynvml.NVMLError as error:
        sys.exit(f"counter_probe: NVML does not read GPU {given.index}: {error}")
    clock, report = RealClock(), Report(given.out)
    sensors = Sensors(pynvml, handle, clock)
    probe_sensors(report, sensors)
    if (missing := cuda_missing()) is not None:
        report.keep("torch", lambda: missing)
        print(f"without CUDA the probe ends here: {missing}")
        return
    import torch

    if (used := nvml_indices("cuda:0")) != [given.index]:
        sys.exit(f"counter_probe: torch's cuda:0 is GPU {used[0]} of NVML; give --index {used[0]}")
    start_s = clock.now_s()
    load = Load()
    report.keep("context_s", lambda: round(clock.now_s() - start_s, 3))
    report.keep("uuid_torch", lambda: str(torch.cuda.get_device_properties(0).uuid))
    probe_load(report, sensors, load)
    probe_meter(report, clock, load)
    first = ("under_load", "against", "meter", "ten_windows")
    print(json.dumps({k: v for k, v in report.parts.items() if k.startswith(first)}, default=str)[:3000])


if __name__ == "__main__":
    main()
