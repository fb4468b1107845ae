"""Emulators, with known power, of the meters that docs/extending.md has settings for: over HTTP, or as a command.

They show what a device shows (rounding, refreshed now and then, behind by some seconds, a clock that is off), by
the clock that the tests move, and answer as late, as wrongly or as little as they are told.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from joulebench.host.clock import VirtualClock
from joulebench.meters.live_sources import CommandSource
from joulebench.meters.replay import PowerTrace

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass
class Device:
    """A device with a power of its own, and how it shows it."""

    trace: PowerTrace
    clock: VirtualClock
    update_s: float = 0.0  # it looks at its power so often; 0: whenever it is asked
    delay_s: float = 0.0  # what it shows was so long ago
    ahead_s: float = 0.0  # its clock
    first_j: float = 7_000_000.0  # of its counter
    wraps_j: float | None = None
    reset_s: float | None = None  # its counter starts at 0 again
    stuck_s: tuple[float, float] | None = None
    out_s: tuple[float, float] | None = None  # it does not answer with a value
    out: Callable[[Device], tuple[int, str]] = lambda device: (503, "busy")
    late_s: float = 0.0  # an answer takes up to so long
    random: random.Random = field(default_factory=lambda: random.Random(1))
    asked: list[dict[str, str]] = field(default_factory=list)  # headers of each request

    @property
    def seen_s(self) -> float:
        """The time that it shows."""
        now_s = self.clock.now_s() - self.delay_s
        if self.stuck_s is not None and self.stuck_s[0] <= now_s < self.stuck_s[1]:
            now_s = self.stuck_s[0]
        return now_s // self.update_s * self.update_s if self.update_s else now_s

    @property
    def watts(self) -> float:
        h = 1e-6
        return (self.trace.energy_j(self.seen_s + h) - self.trace.energy_j(self.seen_s - h)) / (2 * h)

    @property
    def joules(self) -> float:
        """Of its counter."""
        since_s = 0.0 if self.reset_s is None or self.seen_s < self.reset_s else self.reset_s
        joules = self.trace.energy_j(self.seen_s) - self.trace.energy_j(since_s) + (0 if since_s else self.first_j)
        return joules % self.wraps_j if self.wraps_j else joules

    @property
    def unix_s(self) -> float:
        """Its clock at the time that it shows."""
        return EPOCH.timestamp() + self.seen_s + self.ahead_s

    @property
    def is_out(self) -> bool:
        return self.out_s is not None and self.out_s[0] <= self.clock.now_s() < self.out_s[1]

    def wait(self):
        """Half of the time that an answer takes."""
        VirtualClock.sleep(self.clock, self.random.uniform(0, self.late_s) / 2)


def shelly_gen1(d: Device) -> str:
    meter = {"power": round(d.watts, 2), "overpower": 0.0, "is_valid": True, "timestamp": int(d.unix_s)}
    meter |= {"counters": [2.1, 2.1, 2.1], "total": int(d.joules / 60)}
    return json.dumps({"relays": [{"ison": True}], "meters": [meter], "unixtime": int(d.unix_s), "serial": 1})


def shelly_gen2(d: Device) -> str:
    energy = {"total": round(d.joules / 3600, 3), "by_minute": [1.0, 2.0, 3.0], "minute_ts": int(d.unix_s)}
    return json.dumps({"id": 0, "source": "init", "output": True, "apower": round(d.watts, 1), "aenergy": energy})


def tasmota(d: Device) -> str:
    local = EPOCH + timedelta(seconds=d.seen_s + d.ahead_s)
    energy = {"Total": round(d.joules / 3.6e6, 3), "Yesterday": 0.1, "Power": round(d.watts), "Factor": 0.94}
    return json.dumps({"StatusSNS": {"Time": local.strftime("%Y-%m-%dT%H:%M:%S"), "ENERGY": energy}})


def redfish(d: Device) -> str:
    limits = {"AverageConsumedWatts": 587, "IntervalInMin": 20, "MaxConsumedWatts": 746, "MinConsumedWatts": 90}
    control = {"@odata.id": "/redfish/v1/Chassis/1/Power#/PowerControl/0", "MemberId": "0"}
    control |= {"PowerConsumedWatts": round(d.watts), "PowerCapacityWatts": 1600, "PowerMetrics": limits}
    return json.dumps({"@odata.type": "#Power.v1_7_1.Power", "Id": "Power", "PowerControl": [control]})


def ipmi(d: Device) -> str:
    return (
        f"\n    Instantaneous power reading:              {round(d.watts):8d} Watts\n"
        "    Minimum during sampling period:                 18 Watts\n"
        "    Maximum during sampling period:                900 Watts\n"
        "    Average power reading over sample period:      222 Watts\n"
        "    IPMI timestamp:                           Sat Jan  1 00:00:00 2000\n"
        "    Sampling period:                          00000001 Seconds.\n"
        "    Power reading state is:                   activated\n\n"
    )


def grace(d: Device) -> str:
    return f"{round(1e6 * d.watts)}\n"


def _gpu(number: int) -> str:
    return f'gpu="{number}",UUID="GPU-{number}0000000",device="nvidia{number}",modelName="A \\"GPU\\"",Hostname="n"'


def dcgm(d: Device) -> str:
    return (
        "# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).\n# TYPE DCGM_FI_DEV_POWER_USAGE gauge\n"
        f"DCGM_FI_DEV_POWER_USAGE{{{_gpu(0)}}} {d.watts:.3f}\nDCGM_FI_DEV_POWER_USAGE{{{_gpu(1)}}} 71.5\n"
        "# HELP DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION Total energy consumption since boot (in mJ).\n"
        "# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter\n"
        f"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{_gpu(0)}}} {int(1000 * d.joules)}\n"
        f"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{{_gpu(1)}}} 4711\n"
    )


def prometheus(d: Device) -> str:
    name = "DCGM_FI_DEV_POWER_USAGE"
    lines = (
        f"{name}{{{_gpu(0)}}} {d.watts:.3f} {1000 * d.unix_s:.0f}\n{name}{{{_gpu(1)}}} 71.5 {1000 * d.unix_s:.0f}\n"
    )
    return f"# TYPE {name} untyped\n{lines}"


ANSWERS = {
    "shelly_gen1": shelly_gen1, "shelly_gen2": shelly_gen2, "tasmota": tasmota, "redfish": redfish, "ipmi": ipmi,
    "grace": grace, "dcgm": dcgm, "prometheus": prometheus,
}  # fmt: skip


@contextmanager
def served(device: Device, answer: Callable[[Device], str]):
    """Serve a device on this machine; yields `127.0.0.1:<port>`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # an answer in two packets would take 40 ms

        def do_GET(self):
            device.asked.append({"path": self.path, **dict(self.headers)})
            device.wait()
            status, text = device.out(device) if device.is_out else (200, answer(device))
            device.wait()
            content = text.encode()
            if status == 0:  # it says nothing and hangs up
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            pass  # a client that hung up

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Program(CommandSource):
    """A command that prints what a device shows: a script that reads the file that this writes first."""

    def __init__(self, folder, name, device, answer, timeout_s=5.0):
        self._device, self._answer = device, answer
        self._shown, script = folder / f"{name}.out", folder / name
        script.write_text(f'#!/bin/sh\ncat "{self._shown}"\n')
        script.chmod(0o755)
        super().__init__([str(script), "dcmi", "power", "reading"], timeout_s)

    def text(self):
        device = self._device
        device.wait()
        self._shown.write_text(device.out(device)[1] if device.is_out else self._answer(device))
        text = super().text()
        device.wait()
        return text
