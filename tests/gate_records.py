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
ON_CPU = {**ENVIRONMENT, "device": "cpu"}


def measurement(
    name="b", j=1.0, s=0.1, *, windows=4, domains=GPU, fault=None, cpu_j=None, cpus=None, rate=None, unit="sample",
    protocol=PROTOCOL, **fields,
):  # fmt: skip
    """A benchmark whose every window takes `j` joules of the first domain and `s` seconds per unit.

    `cpus`: processors that it kept busy; `rate`: instructions per second; None where that was not recorded.
    """
    conditions = {"own_load_cpus": cpus, "own_instructions_per_s": rate}
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
                conditions={name: value for name, value in conditions.items() if value is not None},
            )
        )
    return Measurement(name=name, unit=unit, protocol=protocol, windows=tuple(laid), **fields)


def replicate(*measurements, session="s", pair=None, rerun=False, environment=ENVIRONMENT, **fields):
    return Replicate(
        session=session, started_utc=UTC, pair=pair, rerun=rerun, hardware="nvidia_h100", environment=environment,
        measurements=measurements, **fields,
    )  # fmt: skip


def pairs(ratios, *, rerun=False, base=1.0, environment=ENVIRONMENT, looks=None, **fields):
    """Baseline and current of as many pairs as ratios; every pair has a level of its own, and a look of `looks`."""
    before, now = [], []
    for n, ratio in enumerate(ratios):
        level = base * (1 + 0.001 * (n % 7))
        for side, cost in ((before, level), (now, level * ratio)):
            made = replicate(
                measurement(j=cost, s=cost / 10, **fields), session="rerun" if rerun else "first", pair=n,
                rerun=rerun, environment=environment, look=looks[n] if looks else 0,
            )  # fmt: skip
            # the second process of a pair starts a moment after the first
            later = UTC if side is before else UTC.replace("00Z", "01Z")
            side.append(made.model_copy(update={"started_utc": later}))
    return before, now


def spread(centre, n=32, width=0.02):
    """`n` ratios around `centre`, symmetric on a logarithmic scale, without order."""
    lean = [(2 * ((7 * i) % n) / (n - 1) - 1) * width for i in range(n)]  # n without the factor 7
    return [centre * (1 + d) if d >= 0 else centre / (1 - d) for d in lean]
