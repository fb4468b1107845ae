"""What a program measured as a record: a run folder like any other, which `report`, `compare` and `card` take."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from joulebench.errors import InputError
from joulebench.host import environment
from joulebench.measurement.instrument import Instrument
from joulebench.records.folder import RunFolder, append
from joulebench.records.model import Fault, LedgerEntry, Manifest, TrialRecord, Window, trial_seed
from joulebench.spec.hardware import HardwareProfile, Host
from joulebench.spec.registry import BLOCK
from joulebench.spec.task import Protocol, Task
from joulebench.spec.toml import validate

#: Families of domains whose joules count, as far as they are read.
DOMAINS = ("gpu", "cpu", "ram")
#: Parameter of the records' task: the name of what was measured.
PARAMETER = "block"
STAGE = "measured"
MOST = 10_000  # repeats that a stage may have


@dataclass(frozen=True)
class Machine:
    """Where and by what it was measured."""

    profile: HardwareProfile
    host: Host
    device: str
    meters: tuple[Mapping[str, str], ...]
    replay: str | None

    @classmethod
    def of(cls, instrument: Instrument, replay: str | None) -> Machine:
        meters = tuple(instrument.timeline.describe())
        return cls(instrument.profile, instrument.host, instrument.device, meters, replay)


@dataclass(frozen=True)
class Taken:
    """One trial of a record: a window, or the windows of a training.

    Attributes:
        name: of the block, function or training.
        fault: why it does not count; None where it does.
    """

    name: str
    windows: tuple[Window, ...]
    fault: Fault | None = None
    metrics: Mapping[str, float] | None = None


def write_record(
    out: str | Path, title: str, phase: str, unit: str, taken: Sequence[Taken], protocol: Protocol, machine: Machine
) -> Path:
    """Write a run folder, `<out>/<task>/<hardware>/<UTC time>/`, a trial for each of `taken` in order of time.

    Raises:
        InputError: there is nothing to be recorded, or the folder cannot be written.
    """
    if not taken:
        raise InputError("record: nothing was measured yet")
    word = re.sub("[^a-z]+", "_", unit.lower())[:32].strip("_") or "unit"
    in_order = sorted(taken, key=lambda t: t.windows[0].start_s)
    task = _task(title, phase, word, list(dict.fromkeys(t.name for t in taken)), len(taken), protocol)
    begun = in_order[0].windows[0].start_utc
    folder = RunFolder.claim(
        Path(out) / task.name / machine.profile.name / (re.sub("[-:]", "", begun[:19]) + "Z"),
        Manifest(
            joulebench=metadata.version("joulebench"), task=task.model_dump(mode="json"), budget=None,
            digest=task.digest, hardware=machine.profile.model_dump(mode="json"), seed=0, created_utc=begun,
            environment=environment.describe(machine.host, machine.device),
            meters=[dict(meter) for meter in machine.meters], replay=machine.replay, own_code=(),
            from_catalogue=False,
        ),
    )  # fmt: skip
    append(folder.ledger_path, LedgerEntry(session=0, event="start"))
    for number, one in enumerate(in_order):
        fault = one.fault and one.fault.text
        record = TrialRecord(
            trial=number, session=0, stage=STAGE, origin="points", params={PARAMETER: one.name},
            seed=trial_seed(0, number), status="ok" if fault is None else "invalid", error=fault,
            metrics=dict(one.metrics or {}), unit={phase: word}, windows=one.windows,
        )  # fmt: skip
        append(folder.trials_path, record)
    append(folder.ledger_path, LedgerEntry(session=0, event="end", ending="done"))
    return folder.path


def _task(title: str, phase: str, unit: str, names: Sequence[str], count: int, protocol: Protocol) -> Task:
    several = {"type": "choice", "values": names, "default": names[0]}
    definition: dict[str, Any] = {
        "name": "training" if phase == "train" else BLOCK,
        "title": title[:200],
        "workload": BLOCK,
        "analyses": ["frontier" if phase == "train" else "variants"],
        "parameters": {PARAMETER: several if len(names) > 1 else {"type": "fixed", "value": names[0]}},
        "objectives": {
            f"j_per_{unit}": {
                "phase": phase, "domains": DOMAINS, "basis": "gross", "goal": "minimize",
            }
        },
        "stages": {
            STAGE: {
                "method": "points", "points": [{PARAMETER: name} for name in names],
                "repeats": max(1, min(MOST, count // len(names))),
            }
        },
        # a trial is one window
        "protocol": {
            **protocol.model_dump(mode="json"), "repeats": 1, "min_windows": 1, "max_repeats": 1, "control": False,
        },
        "confirm": {"repeats": 0},
    }  # fmt: skip
    return validate(Task, definition, "record")
