"""Replicates made by hand, with energies and times that a test chooses."""

from __future__ import annotations

from joulebench.gate.model import Measurement, Replicate
from joulebench.records.model import Reading, Window
from joulebench.spec.task import Protocol

PROTOCOL = Protocol(window_s=1.0, warmup_s=0.1, repeats=2, max_repeats=4, idle_s=0.0)
UTC = "2026-01-01T00:00:00Z"
GPU = {"gpu:0": ("nvml_counter", "measured"), "cpu": ("cpu_load_model", "estimated")}
CPU = {"cpu": ("cpu_load_model", "estimated")}
ENVIRONMENT = {
    "host": {"cpu": "EPYC", "logical_cpus": 2, "accelerators": ["H100"]},
    "python": "3.11.4",
    "packages": {"torch": "2.11.0"},
    "torch": {"driver": "580.1", "threads": 1},
    "device": "cuda:0",
}


def measurement(
    name="b", j=1.0, s=0.1, *, windows=4, domains=GPU, fault=None, cpu_j=None, unit="sample", protocol=PROTOCOL,
    **fields,
):  # fmt: skip
    """A benchmark whose every window takes `j` joules of the first domain and `s` seconds per unit."""
    laid = []
    for n in range(windows):
        units = 100
        readings = tuple(
            Reading(
                domain=domain,
                energy_j=units * (j if number == 0 or cpu_j is None else cpu_j),
                source=source,
                kind=kind,
                counter_updates=100 if domain.startswith("gpu") else None,
            )
            for number, (domain, (source, kind)) in enumerate(domains.items())
        )
        seconds = units * s
        laid.append(
            Window(
                phase="benchmark",
                start_utc=UTC,
                start_s=n * seconds,
                end_s=(n + 1) * seconds,
                units=units,
                steps=10,
                readings=readings,
                fault=fault,
            )
        )
    return Measurement(name=name, unit=unit, protocol=protocol, windows=tuple(laid), **fields)


def replicate(*measurements, session="s", pair=None, rerun=False, environment=ENVIRONMENT, **fields):
    return Replicate(
        session=session, started_utc=UTC, pair=pair, rerun=rerun, hardware="nvidia_h100", environment=environment,
        measurements=measurements, **fields,
    )  # fmt: skip


def pairs(ratios, *, rerun=False, base=1.0, **fields):
    """Baseline and current of as many pairs as ratios; every pair has a level of its own."""
    before, now = [], []
    for n, ratio in enumerate(ratios):
        level = base * (1 + 0.001 * (n % 7))
        session = "rerun" if rerun else "first"
        before.append(replicate(measurement(j=level, s=level / 10, **fields), session=session, pair=n, rerun=rerun))
        now.append(
            replicate(
                measurement(j=level * ratio, s=level * ratio / 10, **fields), session=session, pair=n, rerun=rerun
            )
        )
    return before, now


def spread(centre, n=20, width=0.02):
    """`n` ratios around `centre`, symmetric on a logarithmic scale, without order."""
    lean = [(2 * ((7 * i) % n) / (n - 1) - 1) * width for i in range(n)]
    return [centre * (1 + d) if d >= 0 else centre / (1 - d) for d in lean]
