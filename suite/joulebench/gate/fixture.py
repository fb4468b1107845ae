"""The fixture `energy_benchmark`: measures a phase by the protocol and reports it to pytest-benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from joulebench.gate.model import Measurement
from joulebench.gate.values import valid_windows
from joulebench.host.clock import RealClock
from joulebench.host.environment import describe
from joulebench.measurement.instrument import Instrument
from joulebench.measurement.protocol import ALL_DOMAINS, measure_in_turn, measure_phase
from joulebench.records.model import SCHEMA, Window
from joulebench.results.energy import phase_energy, power_w
from joulebench.spec.task import Protocol
from joulebench.workloads.base import Context, Phase

PHASE = "benchmark"


def head(instrument: Instrument, session: str | None, pair: int | None, rerun: bool) -> dict[str, Any]:
    """The fields of a `Replicate` except its measurements."""
    return {
        "schema_version": SCHEMA,
        "session": session or instrument.started_utc,
        "started_utc": instrument.started_utc,
        "pair": pair,
        "rerun": rerun,
        "hardware": instrument.profile.name,
        "environment": describe(instrument.host, instrument.device),
        "meters": instrument.timeline.describe(),
    }


@dataclass
class Recording:
    """Timer for pytest-benchmark: each round takes as long as one step of one measured window."""

    step_s: Sequence[float] = ()
    _times: list[float] = field(default_factory=list)

    def timer(self) -> float:
        """Return the time in seconds; called at the start and end of every round."""
        if not self._times:
            self._times = [time_s for seconds in self.step_s for time_s in (0.0, seconds)]
        return self._times.pop(0)


class DisabledBenchmark:
    """The fixture with benchmarks disabled: calls the function once."""

    def __init__(self, benchmark: Any) -> None:
        self._benchmark = benchmark
        self.extra_info: dict[str, Any] = benchmark.extra_info
        self.device = "cpu"

    def __call__(
        self,
        function: Callable[..., Any],
        *args: Any,
        units: int = 1,  # noqa: ARG002
        unit: str = "call",  # noqa: ARG002
        prepare: Callable[[], None] = lambda: None,
        configuration: Mapping[str, Any] | None = None,  # noqa: ARG002
        protocol: Protocol | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Any:
        prepare()
        return self._benchmark.pedantic(function, args=args, kwargs=kwargs)

    def phase(self, phase: Phase, configuration: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        phase.prepare()
        self._benchmark.pedantic(phase.step)

    def context(self, data: Any = None, **options: Any) -> Context:
        return Context(self.device, 0, RealClock(), data, options)


class EnergyBenchmark:
    """Measures one callable: warm-up, then windows of a minimum length with many calls each.

    Attributes:
        device: the torch device of this machine's profile, `cpu` or `cuda:0`.
        extra_info: pytest-benchmark's, for the test's own data.
    """

    def __init__(
        self,
        benchmark: Any,
        instrument: Instrument,
        protocol: Protocol,
        recording: Recording,
        name: str,
        turn: Callable[[int], None] | None = None,
    ) -> None:
        self._benchmark, self._instrument, self._protocol = benchmark, instrument, protocol
        self._recording, self._name = recording, name
        self._turn = turn  # waits until the gate lets this process measure
        self.extra_info: dict[str, Any] = benchmark.extra_info
        self.device = instrument.device

    def __call__(
        self,
        function: Callable[..., Any],
        *args: Any,
        units: int = 1,
        unit: str = "call",
        prepare: Callable[[], None] = lambda: None,
        configuration: Mapping[str, Any] | None = None,
        protocol: Protocol | None = None,
        **kwargs: Any,
    ) -> Any:
        """Measure repeated calls of `function(*args, **kwargs)`.

        Args:
            units: number of samples, tokens, … per call; joules and the gate's seconds are per unit.
            unit: name of the unit.
            prepare: called once, outside every window.
            configuration: settings of the call; results of different configurations do not compare.
            protocol: replaces that of the session's form.

        Returns:
            The result of the last call.

        Raises:
            ValueError: units below 1, or a call takes no time.
        """
        if units < 1:
            raise ValueError(f"units must be at least 1 (got {units})")
        work, last = partial(function, *args, **kwargs), [None]

        def step() -> None:
            last[0] = work()

        self._measure(Phase(step, units, unit, prepare), configuration, protocol)
        return last[0]

    def phase(self, phase: Phase, configuration: Mapping[str, Any] | None = None) -> None:
        """Measure a phase of a workload."""
        self._measure(phase, configuration, None)

    def context(self, data: Any = None, **options: Any) -> Context:
        """Build the context of a `Workload` on this machine's device."""
        return Context(self.device, 0, self._instrument.timeline.clock, data, options)

    def _measure(self, phase: Phase, configuration: Mapping[str, Any] | None, protocol: Protocol | None) -> None:
        timeline, chosen = self._instrument.timeline, protocol or self._protocol
        timeline.cut("other")
        timeline.take()
        if self._turn is None:
            measure_phase(timeline, PHASE, phase, chosen)
        else:
            measure_in_turn(timeline, PHASE, phase, chosen, self._turn)
        measurement = Measurement(
            name=self._name,
            unit=phase.unit,
            configuration=dict(configuration or {}),
            protocol=chosen,
            windows=timeline.take(),
        )
        self.extra_info["joulebench"] = measurement.model_dump(mode="json", exclude_defaults=True)
        self.extra_info["energy"] = energy_facts(measurement)
        windows = valid_windows(measurement) or [w for w in measurement.windows if w.phase == PHASE]
        self._recording.step_s = [w.duration_s / max(1, w.steps) for w in windows]
        self._benchmark.pedantic(lambda: None, rounds=len(windows), iterations=1)


def energy_facts(measurement: Measurement) -> dict[str, Any]:
    """Energy of a benchmark for other tools: joules per unit with interval, n, source and kind.

    Without a valid window only `invalid_windows` and `reason`.
    """
    windows = [w for w in measurement.windows if w.phase == PHASE]
    energy = phase_energy(windows, PHASE, ALL_DOMAINS, measurement.protocol)
    if energy is None:
        return {"invalid_windows": len(windows), "reason": "no valid window with joules"}
    valid = valid_windows(measurement)
    facts = {
        "j_per_unit": energy.mean,
        "low": energy.low,
        "high": energy.high,
        "n": energy.n,
        "varied": energy.varied,
        "unit": measurement.unit,
        "kind": energy.kind,
        "measured_share": energy.measured_share,
        "source": sources(windows),
        "power_w": power_w(valid, energy.domains),
        "invalid_windows": len(windows) - len(valid),
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def sources(windows: Sequence[Window]) -> dict[str, str]:
    """Map each domain to the source and kind of its joules."""
    return {r.domain: f"{r.source} ({r.kind})" for w in windows for r in w.readings if r.role == "primary"}
