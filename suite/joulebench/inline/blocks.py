"""`joulebench.measure`: joules of a block, of every call of a function, or of a function that is repeated."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

from joulebench.errors import InputError
from joulebench.inline.record import Machine
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
#: What a call returns that has done none of its work yet.
_NOT_BEGUN = frozenset({AsyncGeneratorType, CoroutineType, GeneratorType})
_LATER = (
    "its call returns before its work is done, which would not be measured; put `with joulebench.measure():` "
    "around what awaits or iterates it"
)


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
        self._machine: Machine | None = None
        self._open: ExitStack | None = None
        self._instrument: Instrument | None = None
        self._pid = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # to its end: Ctrl-C before the block has begun must leave nothing locked
            instrument = stack.enter_context(measuring(self._name, self._hardware, self._replay))
            self._machine, self._pid = Machine.of(instrument, self._replay), os.getpid()
            instrument.timeline.cut("other")
            instrument.timeline.take()
            self._instrument = instrument
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened, instrument = self._open, self._instrument
        if opened is None or instrument is None:
            raise InputError(f"{self._name}: a block that is left was not entered; use `with`")
        self._open = self._instrument = None
        with opened:
            if self._pid != os.getpid():  # a fork of the block: its parent measures it, and it goes on
                return
            window = instrument.timeline.cut(PHASE, units=self._units, steps=1)
            instrument.timeline.take()
            if kind is None:  # a block that raised has not done its work
                self._windows.append(window)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Measure every call of a function; `function.measured` is this block, with all calls so far.

        Raises:
            InputError: it is none, or a generator or coroutine function, whose call does nothing yet.
        """
        check_function("measure", function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with self:
                return function(*args, **kwargs)

        call.measured = self  # type: ignore[attr-defined]
        return call

    @property
    def measured(self) -> Measured:
        """All that was measured so far."""
        return Measured(self._name, self._unit, tuple(self._windows), self._protocol, self._machine)

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

    def record(self, out: str | Path = "runs") -> Path:
        """Write a run folder below `out` with every window, for `joulebench.load` and the command line.

        Raises:
            InputError: nothing was measured yet, or the folder cannot be written.
        """
        return self.measured.record(out)

    def row(self) -> dict[str, Any]:
        """The numbers as one row of data."""
        return self.measured.row()

    def __str__(self) -> str:
        return str(self.measured)

    def __repr__(self) -> str:
        return str(self)

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
        InputError: another block is being measured, units below 1, a function that returns before its work is
            done, or the meters do not start.
    """
    if type(units) is not int or units < 1:
        raise InputError(f"units: must be a whole number of at least 1 (got {units!r})")
    check_text("unit", unit)
    if name is not None:
        check_text("name", name)
    if function is None:
        return Block(units, unit, name or "block", hardware, replay, allow_busy)
    check_function("measure", function)
    label = name or _name(function)
    with measuring(label, hardware, replay) as instrument:
        protocol = protocol_of(instrument, "repeats", repeats, window_s, allow_busy)
        windows = measure_phase(instrument.timeline, PHASE, Phase(step_of(function), units, unit), protocol)
        instrument.timeline.take()
    return Measured(label, unit, tuple(windows), protocol, Machine.of(instrument, replay))


def _name(function: Callable[..., object]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def check_function(where: str, function: object) -> None:
    """Refuse what cannot be called, and functions whose call returns before its work is done.

    Raises:
        InputError: it is one of these.
    """
    if not callable(function):
        raise InputError(f"{where}: needs a function to call (got {type(function).__name__})")
    called = inspect.unwrap(function)
    while isinstance(called, functools.partial):
        called = inspect.unwrap(called.func)
    for one in (called, getattr(called, "__call__", None)):  # noqa: B004 (an object's own)
        if any(
            f(one) for f in (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        ):
            name = getattr(called, "__name__", type(called).__name__)
            raise InputError(f"{where}: '{name}' is a generator or coroutine function: {_LATER}")


def check_text(where: str, text: object) -> None:
    """Refuse what is no text, or blank.

    Raises:
        InputError: it is one of these.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: must be a text that is not blank (got {text!r})")


def step_of(function: Callable[[], object]) -> Callable[[], None]:
    """A step that calls a function, and refuses what it returns if that has done nothing yet."""

    def step() -> None:
        if type(result := function()) in _NOT_BEGUN:
            if isinstance(result, CoroutineType):
                result.close()  # else Python warns, too
            raise InputError(f"measure: what is called returned a {type(result).__name__}: {_LATER}")

    return step


def protocol_of(
    instrument: Instrument, name: str, repeats: int, window_s: float | None, allow_busy: bool
) -> Protocol:
    """Protocol of functions that are repeated, in windows of a length that suits the machine.

    Args:
        name: what the caller calls `repeats`.

    Raises:
        InputError: a number that cannot be used.
    """
    if type(repeats) is not int or not 1 <= repeats <= 5000:
        raise InputError(f"{name}: must be a whole number from 1 to 5000 (got {repeats!r})")
    if window_s is not None and not (type(window_s) in (int, float) and 0 < window_s <= 100_000):
        raise InputError(f"window_s: must be seconds above 0 and at most 100000 (got {window_s!r})")
    kind = instrument.profile.kind
    warmup_s, max_warmup_s = WARMUP_S[kind]
    return Protocol(
        window_s=window_s or WINDOW_S[kind], warmup_s=warmup_s, max_warmup_s=max_warmup_s, repeats=repeats,
        min_windows=min(2, repeats), max_repeats=2 * repeats, target_rel_ci=1.0, idle_s=0.0, allow_busy=allow_busy,
    )  # fmt: skip
