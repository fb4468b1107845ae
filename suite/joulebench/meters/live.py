"""Live meter of a user's own: a URL or a command that is asked at a stated interval, by settings in a TOML file.

What it reads is that of the user's file alone. Records say how it was read (`LiveSettings.described`), and neither
where nor with which credentials: a resumed run needs the file again.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

from joulebench.errors import InputError, MeterError, unwritable
from joulebench.host.clock import Clock, RealClock
from joulebench.meters.base import Counter, MeterOffer, MeterRequest, description
from joulebench.meters.live_settings import LiveSettings, read_settings
from joulebench.meters.live_sources import NoAnswerError, Source
from joulebench.meters.live_values import ValueMissingError
from joulebench.meters.sampling import Sampler, ThreadSampler
from joulebench.meters.wall_log import unix_s


class MeterClock:
    """Times that a meter gives, on the clock that windows are cut by.

    No value is from the future, and the freshest of the last ones is taken as new: the meter's clock is ahead by
    the largest difference between a value's time and the time it was asked for. Each value is then as old as the
    meter says, whatever its clock shows. A constant delay cannot be told from a clock that is behind.
    """

    def __init__(self) -> None:
        self._ahead_s: deque[float] = deque(maxlen=60)

    def taken_s(self, asked_s: float, meter_s: float) -> float:
        """When a value was taken; never after it was asked for."""
        self._ahead_s.append(meter_s - asked_s)
        return meter_s - max(self._ahead_s)


class LiveMeter:
    """One value that a URL or a command gives, asked for in a thread of its own.

    Args:
        name: what it is called: its source is `live_<name>`.
        settings: what to ask and what the value is.
        source: what is asked.
        clock: the clock that windows are cut by.
        sampler: what calls for a sample every `settings.interval_s`; a thread if not given.
        log: file that its power is appended to, unless another process does.
    """

    def __init__(
        self,
        name: str,
        settings: LiveSettings,
        source: Source,
        clock: Clock | None = None,
        sampler: Sampler | None = None,
        log: Path | None = None,
    ) -> None:
        self._name, self._settings, self._source = name, settings, source
        self._clock: Clock = clock or RealClock()
        self._sampler: Sampler = sampler or ThreadSampler(f"joulebench-{name}", settings.interval_s)
        self._extract = settings.extract()
        self._lock = threading.Lock()
        self._log = None if log is None else PowerLog(log)
        self._begin()

    def _begin(self) -> None:
        self._track, self._their_clock = self._settings.track(), MeterClock()
        self._answer_s = 0.0

    def start(self) -> None:
        """Ask for the first value, and begin to sample.

        Raises:
            MeterError: it gives none.
            InputError: its log cannot be written.
        """
        self._begin()
        try:
            if why := self._ask():
                raise MeterError(f"meter '{self._name}' {why}")
            if self._log is not None:
                self._log.open()
        except BaseException:
            self._source.close()
            raise
        self._sampler.start(self._sample)

    def _sample(self) -> None:
        self._ask()

    def _ask(self) -> str:
        """Take a sample; why there is none, or an empty text."""
        began_s = self._clock.now_s()
        try:
            value = self._extract(self._source.text())
        except (NoAnswerError, ValueMissingError) as error:
            why = str(error) if isinstance(error, NoAnswerError) else f"answers, but {error}"
            with self._lock:
                self._track.miss(why)
            return why
        ended_s = self._clock.now_s()
        asked_s = (began_s + ended_s) / 2
        taken_s = None if value.at_unix_s is None else self._their_clock.taken_s(asked_s, value.at_unix_s)
        with self._lock:
            self._answer_s = ended_s - began_s
            stretch = self._track.add(asked_s, value.number, taken_s)
            if stretch is not None and self._log is not None:
                self._log.add(unix_s(self._clock.utc()) - self._clock.now_s() + stretch.at_s, stretch.watts)
            return "" if self._track.started else self._track.why

    def read(self) -> tuple[Counter, ...]:
        """Its joules since it started.

        Raises:
            MeterError: its thread has died.
        """
        self._sampler.check()
        with self._lock:
            energy_j, updates, fault = self._track.read(self._clock.now_s())
        settings, source = self._settings, f"live_{self._name}"
        return (Counter(settings.domain, energy_j, source, settings.kind, settings.role, updates, fault),)

    def integrals(self) -> dict[str, float]:
        """The CPU time of its thread; that of a command is the command's own."""
        return self._sampler.integrals()

    def stop(self) -> None:
        self._sampler.stop()
        self._source.close()
        with self._lock:
            if self._log is not None:
                self._log.close()

    def describe(self) -> list[dict[str, str]]:
        settings = self._settings
        return [
            description(settings.domain, f"live_{self._name}", settings.kind, settings.described, settings.role)
        ]

    def watch(self, intervals: int, most_s: float) -> None:
        """Let some intervals pass, so that `seen` can tell its pace."""
        self._clock.sleep(min(intervals * self._settings.interval_s, most_s))

    @property
    def seen(self) -> str:
        """What it read so far, for people: value, pace and resolution."""
        unit = "W" if self._settings.is_power else "J"
        with self._lock:
            track, answer_s = self._track, self._answer_s
            words = [f"{track.latest:.6g} {unit} now, answered in {1000 * answer_s:.0f} ms"]
            if track.update_s is not None:
                words.append(f"a new value every {track.update_s:.2g} s")
            if track.resolution is not None:
                words.append(f"smallest change seen {track.resolution:.3g} {unit}")
        return ", ".join(words)


class PowerLog:
    """CSV file of a wall meter's power, as `joulebench wall` reads it; one process at a time writes it."""

    HEADER = "utc,watts\n"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def open(self) -> None:
        """Open the file for appending; where another process has it open, nothing is written.

        Raises:
            InputError: it cannot be written, or is no such log.
        """
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise unwritable(self._path, error) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return
        head = os.read(file, len(self.HEADER))
        if head not in (b"", self.HEADER.encode()):
            os.close(file)
            raise InputError(f"{self._path}: log: is no log of power (its first line is not utc,watts)")
        if not head:
            os.write(file, self.HEADER.encode())
        self._file = file

    def add(self, at_unix_s: float, watts: float) -> None:
        """Append the power at a time."""
        if self._file is not None:
            with suppress(OSError):  # a full disk must not end a measurement
                os.write(self._file, f"{at_unix_s:.3f},{watts:.6g}\n".encode())

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def live_offer(file: str, request: MeterRequest) -> MeterOffer:
    """Offer the live meter of a file of settings.

    Raises:
        InputError: the file is not there or wrong, or the environment lacks the headers that it names.
    """
    path = Path(file)
    settings = read_settings(path)
    log = None if settings.log is None else path.parent / Path(settings.log).expanduser()
    meter = LiveMeter(path.stem, settings, settings.source(str(path)), request.clock, log=log)
    return MeterOffer(meter, (settings.domain,) if settings.role == "primary" else ())
