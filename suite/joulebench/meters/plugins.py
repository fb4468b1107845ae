"""Meters beside those that a run takes by itself, as `joulebench hardware` lists them: available, or why not.

They are the entry points of installed packages in the group `joulebench.meters`, zeus' devices, and the live meters
whose files are named. Each is started, read and stopped again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any, NamedTuple

from joulebench.errors import InputError, MeterError, described
from joulebench.meters import zeus_devices
from joulebench.meters.base import CheckedMeter, MeterOffer, MeterRequest
from joulebench.meters.live import LiveMeter, live_offer
from joulebench.meters.live_settings import is_settings
from joulebench.records.model import Kind
from joulebench.spec.registry import METERS

#: A live meter is watched for so many of its intervals, and at most for so long.
WATCHED_INTERVALS, MAX_WATCHED_S = 5, 10.0
UNKNOWN = "-"  # domain of a meter that does not say which it reads


class Seen(NamedTuple):
    """What a meter reads, or why it cannot."""

    domain: str
    source: str
    kind: Kind
    available: bool
    detail: str
    remedy: str | None = None


def installed() -> dict[str, metadata.EntryPoint]:
    """Entry points of installed packages in the group `joulebench.meters`, by name."""
    points = metadata.entry_points(group=METERS.group)
    return {point.name: point for point in points if point.name not in METERS.shipped}


def seen(request: MeterRequest, files: Sequence[str] = ()) -> Iterator[Seen]:
    """Look at every meter beside the built-in ones; `files` are those of live meters.

    Raises:
        InputError: one of the files is not there, or wrong.
    """
    for file, offer in [(file, live_offer(file, request)) for file in files]:
        yield from _looked_at(file, lambda _, offer=offer: offer)  # type: ignore[misc]
    for name, point in sorted(installed().items()):
        package = f", of {point.dist.name} {point.dist.version}" if point.dist is not None else ""
        yield from _looked_at(name, lambda n: METERS.load(n, "--meter")(request), package)
    yield from _looked_at("zeus", lambda _: zeus_devices.offer(request))


def _looked_at(name: str, make: Callable[[str], Any], origin: str = "") -> Iterator[Seen]:
    try:
        yield from list(_read(name, make(name), origin))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of whoever wrote it
        why = str(error) if isinstance(error, InputError) else described(error)
        remedy = zeus_devices.REMEDY if why == zeus_devices.NOT_INSTALLED else None
        yield Seen(UNKNOWN, name, "measured", False, why, remedy)


def _read(name: str, offer: Any, origin: str) -> Iterator[Seen]:
    if offer is None:
        raise MeterError("it offers nothing on this machine")
    if not isinstance(offer, MeterOffer):
        raise MeterError(f"it returns a {type(offer).__name__} instead of a MeterOffer")
    meter = offer.meter if is_settings(name) else CheckedMeter(offer, name)
    meter.start()
    try:
        if isinstance(meter, LiveMeter):
            meter.watch(WATCHED_INTERVALS, MAX_WATCHED_S)
        lines, more = meter.describe(), f"; {meter.seen}" if isinstance(meter, LiveMeter) else ""
    finally:
        meter.stop()
    for line in lines:
        kind: Kind = "measured" if line["kind"] == "measured" else "estimated"
        use = f"; a run takes it with --meter {name}{origin}"
        yield Seen(line["domain"], line["source"], kind, True, f"{line['method']}{more}{use}")
