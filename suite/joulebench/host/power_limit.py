"""A GPU's power limit, set for a while by NVML and put back on every way out.

Nothing here is done unless the user asks for it: a limit is a setting of the machine that other users meet too. It
is put back at the end of the `with` block, at an exception, at the interpreter's exit, and at SIGTERM or SIGHUP.
Only SIGKILL leaves it; `nvidia-smi -q -d POWER` then shows the default, and `nvidia-smi -pl` sets it.
"""

from __future__ import annotations

import atexit
import importlib
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from joulebench.errors import InputError
from joulebench.spec.parameters import Params

#: Signals that end a process, and that a process can see.
_ENDING = (signal.SIGTERM, signal.SIGHUP)
#: The parameter of a task that is a GPU's power limit.
PARAMETER = "power_limit_w"


class OutOfRangeError(InputError):
    """The device has no such limit: a configuration that does not exist on it."""


@dataclass(frozen=True)
class Limits:
    """What a GPU allows and what holds now, watts."""

    low_w: float
    high_w: float
    now_w: float


def limits(index: int, nvml: Any) -> Limits:
    """The limits of a GPU.

    Args:
        index: NVML index.
        nvml: `pynvml`, initialised, or what behaves like it.

    Raises:
        InputError: the device has no power limit to set.
    """
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        low_mw, high_mw = nvml.nvmlDeviceGetPowerManagementLimitConstraints(handle)
        return Limits(low_mw / 1000, high_mw / 1000, nvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000)
    except nvml.NVMLError as error:
        raise InputError(f"gpu:{index} has no power limit that could be set: {error}") from None


@contextmanager
def capped(index: int, watts: float | None, nvml: Any = None) -> Iterator[Limits | None]:
    """The GPU under a power limit, inside the block; None leaves it as it is.

    Args:
        index: NVML index.
        nvml: `pynvml`, or what behaves like it.

    Raises:
        OutOfRangeError: the GPU does not allow this limit.
        InputError: the limit may not be set (it takes root), or NVML or the GPU cannot.
    """
    if watts is None:
        yield None
        return
    if nvml is None:
        nvml = importlib.import_module("pynvml")
    with _opened(nvml):
        before = limits(index, nvml)
        if not before.low_w <= watts <= before.high_w:
            raise OutOfRangeError(
                f"gpu:{index} allows power limits of {before.low_w:g} to {before.high_w:g} W (got {watts:g} W)"
            )
        restore = _Restore(nvml, index, before.now_w)
        with _whatever_happens(restore):
            try:
                _set(nvml, index, watts)
            except InputError:
                restore.forget()
                raise
            yield before


@contextmanager
def for_trial(params: Params, gpus: Sequence[int], permitted: bool, nvml: Any = None) -> Iterator[None]:
    """The GPUs of a trial under the power limit that its parameter `power_limit_w` asks for, if it asks for one.

    Args:
        gpus: NVML indices of the GPUs that the trial runs on.
        permitted: the user has said that limits may be set.

    Raises:
        InputError: it asks for one without permission, without a GPU, or as `capped` refuses it.
    """
    watts = params.get(PARAMETER)
    if watts is None:
        yield
        return
    if not isinstance(watts, int | float):
        raise InputError(f"{PARAMETER}: must be a number of watts (got {watts!r})")
    if not gpus:
        raise InputError(f"{PARAMETER}: this run is on no GPU; the task power_cap replays a measured grid")
    if not permitted:
        raise InputError(f"{PARAMETER}: a power limit is a setting of the machine; allow it with --set-power-limit")
    with ExitStack() as limited:
        for index in gpus:
            limited.enter_context(capped(index, float(watts), nvml))
        yield


@contextmanager
def _opened(nvml: Any) -> Iterator[None]:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise InputError(f"a power limit needs NVML, which does not start: {error}") from None
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _set(nvml: Any, index: int, watts: float) -> None:
    """Raises:
    InputError: not permitted, or refused by the driver."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        nvml.nvmlDeviceSetPowerManagementLimit(handle, round(watts * 1000))
    except nvml.NVMLError as error:
        raise InputError(
            f"gpu:{index}: the power limit cannot be set to {watts:g} W: {error}; it takes root (or CAP_SYS_ADMIN) "
            "and a GPU that is not virtual; without them, the task power_cap replays a measured grid"
        ) from None


class _Restore:
    """Puts the limit back, once."""

    def __init__(self, nvml: Any, index: int, watts: float) -> None:
        self._nvml, self._index, self._watts, self._done = nvml, index, watts, False

    def forget(self) -> None:
        """The limit was never changed."""
        self._done = True

    def __call__(self) -> None:
        """Raises:
        InputError: the driver refuses; the message says what to type."""
        if self._done:
            return
        self._done = True
        try:
            _set(self._nvml, self._index, self._watts)
        except InputError as error:
            command = f"nvidia-smi -i {self._index} -pl {self._watts:g}"
            raise InputError(f"{error}; the limit from before is not back: run `{command}` as root") from None


@contextmanager
def _whatever_happens(restore: _Restore) -> Iterator[None]:
    """Call `restore` at the block's end, at the interpreter's exit or at a signal that ends the process."""
    previous = {number: signal.getsignal(number) for number in _ENDING}

    def ended(number: int, frame: FrameType | None) -> None:
        try:
            restore()
        finally:
            then = previous[signal.Signals(number)]
            signal.signal(number, then)
            if callable(then):
                then(number, frame)
            else:
                signal.raise_signal(number)

    # handlers may be set in the main thread only; one that was set from C, or ignores the signal, is left alone
    ours = [n for n, then in previous.items() if then is not None and then != signal.SIG_IGN]
    ours = ours if threading.current_thread() is threading.main_thread() else []
    atexit.register(restore)
    for number in ours:
        signal.signal(number, ended)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, previous[number])
        try:
            restore()
        finally:
            atexit.unregister(restore)
