"""`joulebench.measure`: joules of a block, of every call of a function, or of a function that is repeated."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

from joulebench.errors import InputError
from joulebench.inline.result import PHASE, Measured
from joulebench.inline.running import measuring
from joulebench.measurement.instrument import Instrument
from joulebench.measurement.protocol import measure_phase
from joulebench.presentation.table import Table
from joulebench.records.model import Kind, Window
from joulebench.results.energy import Energy
from joulebench.spec.task import Protocol
from joulebench.stats.estimate import Estimate
from joulebench.workloads.base import Phase

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds of a window and of a warm-up, by the kind of machine: a GPU's counters move every 0.1 s.
WINDOW_S = {"cpu": 0.1, "gpu": 1.0}
WARMUP_S = {"cpu": (0.2, 5.0), "gpu": (2.0, 20.0)}


class Block:
    """A block to measure with `with`, or a decorator that measures every call. Afterwards it has what they took.

    Exactly what is between the edges is measured, once: warm up before. A GPU is synchronised at both edges.
    """

    def __init__(
        self, units: int, unit: str, name: str, hardware: str | None, replay: str | None, allow_busy: bool
    ) -> None:
        self._units, self._unit, self._name = units, unit, name
        self._hardware, self._replay = hardware, replay
        self._protocol = Protocol(
            window_s=1e-6, repeats=1, min_windows=1, max_repeats=1, idle_s=0.0, allow_busy=allow_busy
        )
        self._windows: list[Window] = []
        self._profile = ""
        self._open: ExitStack | None = None
        self._instrument: Instrument | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._instrument = stack.enter_context(measuring(self._name, self._hardware, self._replay))
            self._open = stack.pop_all()
        self._profile = self._instrument.profile.name
        self._instrument.timeline.cut("other")
        self._instrument.timeline.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._open is not None
        assert self._instrument is not None
        with self._open:
            window = self._instrument.timeline.cut(PHASE, units=self._units, steps=1)
            self._instrument.timeline.take()
            if kind is None:  # a block that raised has not done its work
                self._windows.append(window)
        self._open = self._instrument = None

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Measure every call of a function; `function.measured` is this block, with all calls so far.

        Raises:
            InputError: a call only makes a coroutine or a generator, and does its work later.
        """
        _refuse_later(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        call.measured = self  # type: ignore[attr-defined]
        return call

    @property
    def measured(self) -> Measured:
        """All that was measured so far."""
        return Measured(self._name, self._unit, tuple(self._windows), self._protocol, self._profile)

    @property
    def energy(self) -> Energy | None:
        """Gross joules per unit; None where they are not known."""
        return self.measured.energy

    @property
    def by_domain(self) -> Mapping[str, Energy]:
        """Gross joules per unit of each domain."""
        return self.measured.by_domain

    @property
    def joules(self) -> float | None:
        """Gross joules per unit; None where they are not known."""
        return self.measured.joules

    @property
    def kind(self) -> Kind | None:
        """Measured only if every part of the joules is."""
        return self.measured.kind

    @property
    def seconds(self) -> Estimate | None:
        """Seconds per unit."""
        return self.measured.seconds

    @property
    def power_w(self) -> float | None:
        """Mean power in watts."""
        return self.measured.power_w

    @property
    def faults(self) -> tuple[str, ...]:
        """Why what was measured does not count; empty where it does."""
        return self.measured.faults

    @property
    def table(self) -> Table:
        """One row a domain."""
        return self.measured.table

    def row(self) -> dict[str, Any]:
        """The numbers as one row of data."""
        return self.measured.row()

    def __str__(self) -> str:
        return str(self.measured)

    def _repr_html_(self) -> str:
        return self.measured._repr_html_()


@overload
def measure(
    *, units: int = 1, unit: str = "call", name: str | None = None, hardware: str | None = None,
    replay: str | None = None, allow_busy: bool = False,
) -> Block: ...  # fmt: skip


@overload
def measure(
    function: Callable[[], object], /, *, units: int = 1, unit: str = "call", name: str | None = None,
    repeats: int = 10, window_s: float | None = None, hardware: str | None = None, replay: str | None = None,
    allow_busy: bool = False,
) -> Measured: ...  # fmt: skip


def measure(
    function: Callable[[], object] | None = None, /, *, units: int = 1, unit: str = "call", name: str | None = None,
    repeats: int = 10, window_s: float | None = None, hardware: str | None = None, replay: str | None = None,
    allow_busy: bool = False,
) -> Block | Measured:  # fmt: skip
    """Measure joules: of a `with` block, of every call of a decorated function, or of a function that is repeated.

        with joulebench.measure(units=64, unit="image") as m:
            model(batch)
        print(m)

        print(joulebench.measure(lambda: model(batch), units=64, unit="image"))

    The second warms up, and repeats windows of many calls until there are `repeats` valid ones.

    Args:
        units: units of work that the block, or one call, does; joules are per unit.
        unit: name of the unit.
        name: in tables and messages.
        window_s: least seconds of a window; by default 0.1, with a GPU 1.
        hardware: profile, by name or file; by default this host's.
        replay: a dry run: joules from a power trace, or constant watts.
        allow_busy: take what was measured beside other work on the machine.

    Raises:
        InputError: another block is being measured, units below 1, or the meters do not start.
    """
    if type(units) is not int or units < 1:
        raise InputError(f"units: must be a whole number of at least 1 (got {units!r})")
    if function is None:
        return Block(units, unit, name or "block", hardware, replay, allow_busy)
    if not callable(function):
        raise InputError(f"measure: needs a function to call (got {type(function).__name__})")
    label = name or str(getattr(function, "__name__", type(function).__name__))
    step = _step(function)
    with measuring(label, hardware, replay) as instrument:
        protocol = _protocol(instrument, repeats, window_s, allow_busy)
        windows = measure_phase(instrument.timeline, PHASE, Phase(step, units, unit), protocol)
        instrument.timeline.take()
    return Measured(label, unit, tuple(windows), protocol, instrument.profile.name)


def _refuse_later(function: Callable[..., object]) -> None:
    """Refuse a function whose call returns before its work is done: the call alone would be measured.

    Raises:
        InputError: it makes a coroutine or a generator.
    """
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    called = inner if inspect.isroutine(inner) else type(inner).__call__
    if any(makes(of) for makes in _LATER for of in (inner, called)):
        name = getattr(function, "__name__", type(function).__name__)
        raise InputError(
            f"{name}: a call makes a coroutine or a generator, whose work is done later and would not be measured; "
            "measure a block around that work, or a function that does it to its end"
        )


_LATER = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def _step(function: Callable[[], object]) -> Callable[[], None]:
    """A call of a function, without its result.

    Raises:
        InputError: as `_refuse_later`.
    """
    _refuse_later(function)

    def step() -> None:
        function()

    return step


def _protocol(instrument: Instrument, repeats: int, window_s: float | None, allow_busy: bool) -> Protocol:
    """Protocol of functions that are repeated, in windows of a length that suits the machine."""
    if type(repeats) is not int or not 1 <= repeats <= 5000:
        raise InputError(f"repeats: must be a whole number from 1 to 5000 (got {repeats!r})")
    kind = instrument.profile.kind
    warmup_s, max_warmup_s = WARMUP_S[kind]
    return Protocol(
        window_s=window_s or WINDOW_S[kind], warmup_s=warmup_s, max_warmup_s=max_warmup_s, repeats=repeats,
        min_windows=min(2, repeats), max_repeats=2 * repeats, target_rel_ci=1.0, idle_s=0.0, allow_busy=allow_busy,
    )  # fmt: skip
