"""Meters of this machine on a running timeline, for code that is measured where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from joulebench.host import device as torch_device
from joulebench.host.clock import RealClock
from joulebench.measurement.timeline import Timeline
from joulebench.meters.select import meters_for
from joulebench.spec.catalog import all_profiles, find_profile
from joulebench.spec.hardware import HardwareProfile, Host, check_profile, choose_profile, detect_host


@dataclass(frozen=True)
class Instrument:
    """This machine, its device, and a timeline whose meters run."""

    profile: HardwareProfile
    host: Host
    device: str
    timeline: Timeline
    started_utc: str

    @classmethod
    def start(cls, hardware: str | None = None, replay: str | None = None) -> Self:
        """Start the meters of this machine.

        Args:
            hardware: profile by name or file; by default this host's.
            replay: joules from a power trace, or constant watts.

        Raises:
            InputError: no such profile or trace, the profile is another machine's, or a meter does not start.
        """
        host = detect_host()
        profile = find_profile(hardware) if hardware else choose_profile(all_profiles(), host)
        check_profile(profile, host)
        device, clock = torch_device.choose_device(profile.kind), RealClock()
        timeline = Timeline(meters_for(profile, device, clock, replay), clock, torch_device.synchronizer(device))
        timeline.start()
        return cls(profile, host, device, timeline, clock.utc())

    def stop(self) -> None:
        self.timeline.stop()
