"""Power limit of a GPU, set by NVML for a block and restored on every exit from it.

Only on the user's request: a limit is a setting of the machine that affects other users too. It is restored at the
end of the `with` block, at an exception, at the interpreter's exit, and at SIGTERM or SIGHUP.
SIGKILL leaves it, unless the process that sent the killed one to work keeps the limits (`kept`); else
`nvidia-smi -q -d POWER` shows the default, and `nvidia-smi -pl` sets it.
"""

from __future__ import annotations

import atexit
import importlib
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
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
    """Power limit that the device does not allow: the configuration is infeasible on it."""


@dataclass(frozen=True)
class Limits:
    """Allowed range and current value of a GPU's power limit, watts."""

    low_w: float
    high_w: float
    now_w: float


def limits(index: int, nvml: Any) -> Limits:
    """Power limits of a GPU.

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
    """Set a GPU's power limit for the block; None leaves it unchanged. Yields the limits from before.

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
        with _restored(restore):
            try:
                _set(nvml, index, watts)
            except InputError:
                restore.forget()
                raise
            yield before


@contextmanager
def kept(gpus: Sequence[int], nvml: Any = None) -> Iterator[None]:
    """Put back, at the block's end, the limits that other processes have set in it and were killed with.

    Args:
        gpus: NVML indices.
        nvml: `pynvml`, or what behaves like it.

    Raises:
        InputError: NVML or a GPU cannot, with the command to type.
    """
    nvml = nvml or importlib.import_module("pynvml")
    with ExitStack() as restored:
        restored.enter_context(_opened(nvml))
        for index in gpus:
            restored.callback(_put_back, nvml, index, limits(index, nvml).now_w)
        yield


def _put_back(nvml: Any, index: int, watts: float) -> None:
    if limits(index, nvml).now_w != watts:
        _Restore(nvml, index, watts)()


@contextmanager
def for_trial(params: Params, gpus: Sequence[int], permitted: bool, nvml: Any = None) -> Iterator[None]:
    """Set the power limit of a trial's parameter `power_limit_w`, if it has one, on the trial's GPUs.

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
    """Set a power limit; raises InputError where it is not permitted, or refused by the driver."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        nvml.nvmlDeviceSetPowerManagementLimit(handle, round(watts * 1000))
    except nvml.NVMLError as error:
        raise InputError(
            f"gpu:{index}: the power limit cannot be set to {watts:g} W: {error}; it takes root (or CAP_SYS_ADMIN) "
            "and a GPU that is not virtual; without them, the task power_cap replays a measured grid"
        ) from None


#: What would restore the limits that are set now.
_active: list[_Restore] = []


def restore_all() -> None:
    """Restore every limit that is set now, for a process that ends without leaving its blocks."""
    for restore in _active[:]:
        with suppress(InputError):
            restore()


class _Restore:
    """Callable that restores the limit once."""

    def __init__(self, nvml: Any, index: int, watts: float) -> None:
        self._nvml, self._index, self._watts, self._done = nvml, index, watts, False

    def forget(self) -> None:
        """Do nothing when called: the limit was not changed."""
        self._done = True

    def __call__(self) -> None:
        """Restore the limit; raises InputError with the command to type where the driver refuses."""
        if self._done:
            return
        self._done = True
        try:
            _set(self._nvml, self._index, self._watts)
        except InputError as error:
            command = f"nvidia-smi -i {self._index} -pl {self._watts:g}"
            raise InputError(f"{error}; the previous limit is not restored: run `{command}` as root") from None


@contextmanager
def _restored(restore: _Restore) -> Iterator[None]:
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
    _active.append(restore)
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
            _active.remove(restore)
