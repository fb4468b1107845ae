"""Synthetic runs on disk: numbers are simple enough to be recomputed by hand in a test."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from joulebench.records.folder import RunFolder
from joulebench.records.model import (
    Costs,
    Ending,
    EpochRecord,
    LedgerEntry,
    Manifest,
    Reading,
    Record,
    ScoreRecord,
    TrialRecord,
    Window,
    trial_seed,
)
from joulebench.results.run import Run
from joulebench.spec.task import CONFIRM, Task

SEED = 3
BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WATTS = {"cpu": 60.0, "ram": 20.0}
IDLE_WATTS = {"cpu": 10.0, "ram": 20.0}
SOURCES = {
    "cpu": ("cpu_load_model", "estimated"),
    "ram": ("ram_model", "estimated"),
    "gpu": ("nvml_counter", "measured"),
}
ENERGY = {"phase": "inference", "domains": ["gpu", "cpu", "ram"], "basis": "gross"}
OBJECTIVES: dict[str, Any] = {
    "val_accuracy": {"goal": "maximize", "reference": 0.1},
    "samples_per_j": {"goal": "maximize", "reference": 0.0, **ENERGY},
}


def make_task(objectives: Mapping[str, Any] | None = None, **fields: Any) -> Task:
    """A small image task; windows of 1 s, five repeats, a target of 2 %."""
    return Task.model_validate(
        {
            "name": "digits_nas",
            "title": "Architecture search on digits",
            "workload": "cnn",
            "dataset": {"name": "digits", "validation": 300},
            "parameters": {
                "width": {"type": "int", "low": 1, "high": 2000, "default": 8},
                "pool": {"type": "choice", "values": [True, False], "default": True},
                "batch_size": {"type": "fixed", "value": 64},
            },
            "objectives": dict(objectives or OBJECTIVES),
            "stages": {
                "default": {"method": "default", "repeats": 2},
                "init": {"method": "sobol", "trials": 6},
                "search": {"method": "qnehvi", "trials": 6},
            },
            "protocol": {"warmup_s": 0.5, "window_s": 1.0, "idle_s": 2.0},
            **fields,
        }
    )


#: Of a trial: 1200 samples trained, 3 MFLOP each; a forward pass is 1 MFLOP and a hair.
TRAINED: dict[str, Any] = {
    "costs": Costs(parameters=10, macs=500_000, flops=1_050_000, phase_flops={"train": 3e6}),
    "epochs": (EpochRecord(index=0, units=800), EpochRecord(index=1, units=400, complete=False)),
}

#: What the test at hand has built, for `--keep-runs`.
BUILT: list[RunBuilder] = []


class RunBuilder:
    """Lays windows end to end on one clock and collects the records of a run."""

    def __init__(self, task: Task, watts: Mapping[str, float] = WATTS, measured: bool = False) -> None:
        self.task, self.watts, self.measured = task, watts, measured
        self.now_s = 0.0
        self.trials: list[TrialRecord] = []
        self.entries: list[LedgerEntry] = []
        self.scores: list[ScoreRecord] = []
        self.hardware: dict[str, Any] = {"name": "generic_cpu", "title": "Any CPU"}
        BUILT.append(self)

    def window(self, phase: str, seconds: float, units: int = 0, scale: float = 1.0, **fields: Any) -> Window:
        """A window at the run's watts × `scale` (idle at idle watts)."""
        watts = {d: IDLE_WATTS.get(d, 30.0) for d in self.watts} if phase == "idle" else self.watts
        start_s, self.now_s = self.now_s, self.now_s + seconds
        readings = tuple(self._reading(domain, w * seconds * scale) for domain, w in watts.items())
        return Window(
            phase=phase, start_utc="2026-01-02T03:04:05.000000Z", start_s=start_s, end_s=self.now_s,
            units=units, **{"steps": units, "readings": readings, **fields},
        )  # fmt: skip

    def _reading(self, domain: str, energy_j: float) -> Reading:
        source, kind = SOURCES[domain.split(":")[0]]
        if self.measured:
            source, kind = "nvml_counter" if domain.startswith("gpu") else "rapl_package", "measured"
        return Reading(domain=domain, energy_j=energy_j, source=source, kind=kind)

    def add(
        self,
        params: Mapping[str, Any],
        units: int,
        metrics: Mapping[str, float],
        stage: str = "init",
        wobble: float = 0.004,
        idle: bool = False,
        **fields: Any,
    ) -> TrialRecord:
        """A trial whose five inference windows of 1 s do `units` samples each, joules ± `wobble`."""
        number = len(self.trials)
        windows = fields.pop("windows", None) or self._measured(units, wobble, idle)
        defaults: dict[str, Any] = {
            "trial": number, "session": 0, "stage": stage, "origin": stage, "status": "ok",
            "seed": trial_seed(SEED, number),
            "costs": Costs(
                parameters=units * 3, macs=units * 1000, flops=units * 2000, peak_memory_bytes=units * 4096
            ),
            "unit": {"inference": "sample"}, "windows": windows, "metrics": dict(metrics),
        }  # fmt: skip
        trial = TrialRecord(params=self.task.resolve(params), **{**defaults, **fields})
        self.trials.append(trial)
        return trial

    def _measured(self, units: int, wobble: float, idle: bool) -> tuple[Window, ...]:
        windows = [
            self.window("propose", 0.2), self.window("build", 0.1), self.window("train", 3.0, 1200),
            self.window("validate", 0.3), self.window("score", 0.1), self.window("count", 0.1),
        ]  # fmt: skip
        if idle:
            windows += [self.window("settle", 0.5), *(self.window("idle", 0.5) for _ in range(4))]
        windows.append(self.window("warmup", 0.5, units // 2, of="inference"))
        for repeat in range(5):
            windows.append(self.window("inference", 1.0, units, scale=1 + wobble * (repeat - 2) / 2))
        windows.append(self.window("record", 0.05))
        return tuple(windows)

    def fail(self, params: Mapping[str, Any], status: str, error: str, stage: str = "init") -> TrialRecord:
        """A trial without measured windows."""
        windows = (self.window("propose", 0.2), self.window("build", 0.1), self.window("failed", 0.4))
        return self.add(
            params, 0, {}, stage, status=status, error=error, windows=windows, unit={}, costs=Costs()
        )  # fmt: skip

    def span(self, event: str, *windows: Window, session: int = 0, note: str = "", ending: Ending = "done") -> None:
        ended = ending if event == "end" else None
        self.entries.append(
            LedgerEntry(session=session, event=event, windows=windows, note=note, ending=ended)  # type: ignore[arg-type]
        )

    def manifest(self, **fields: Any) -> Manifest:
        defaults: dict[str, Any] = {
            "joulebench": "0.1.0",
            "task": self.task.model_dump(mode="json"),
            "budget": "standard",
            "digest": self.task.digest,
            "hardware": self.hardware,
            "seed": SEED,
            "created_utc": "2026-01-02T03:04:05Z",
            "environment": {"python": "3.11.9", "host": {"cpu": "Example CPU", "accelerators": []}},
            "data": {"name": "digits", "fingerprint": "0123abcd", "counts": {"train": 1200, "validation": 300}},
            "meters": [
                {"domain": "cpu", "source": "cpu_load_model", "kind": "estimated", "method": "TDP 85 W × load"},
                {"domain": "ram", "source": "ram_model", "kind": "estimated", "method": "constant 20 W"},
            ],
            "search": {"ax-platform": "1.3.0"},
        }
        return Manifest(**{**defaults, **fields})

    def read(self, **manifest: Any) -> Run:
        """The run as it stands, without a folder."""
        return Run(self.manifest(**manifest), self.task, self.trials[:], self.entries[:], self.scores[:])

    def _ledger(self) -> list[LedgerEntry]:
        """The entries, with the beginning of each trial."""
        if any(e.event == "begin" for e in self.entries):
            return self.entries
        begun = [LedgerEntry(session=t.session, event="begin", trial=t.trial) for t in self.trials]
        first = int(bool(self.entries) and self.entries[0].event == "start")
        return [*self.entries[:first], *begun, *self.entries[first:]]

    def write(self, path: Path, **manifest: Any) -> RunFolder:
        folder = RunFolder.claim(path, self.manifest(**manifest))
        lines(folder.trials_path, self.trials)
        lines(folder.ledger_path, self._ledger())
        lines(folder.scores_path, self.scores)
        return folder


def loaded(run: RunBuilder, loads: Mapping[int, float] | float, tdp_w: float = 60.0) -> RunBuilder:
    """The run with a TDP and each trial's CPU load in all of its windows but those of idle, which have none."""
    run.hardware |= {"cpu_tdp_w": {"value": tdp_w, "source": "its maker", "date": "2024"}}
    for i, trial in enumerate(run.trials):
        load = loads if isinstance(loads, float) else loads.get(trial.trial)
        if load is not None:
            by_phase = [(w, 0.0 if w.phase == "idle" else load) for w in trial.windows]
            windows = tuple(w.model_copy(update={"conditions": {"cpu_utilisation": x}}) for w, x in by_phase)
            run.trials[i] = trial.model_copy(update={"windows": windows})
    return run


def lines(path: Path, records: Sequence[Record]) -> None:
    """All records at once: `records.folder.append` forces each to the disk, which a test need not wait for."""
    path.write_text("".join(r.model_dump_json() + "\n" for r in records), encoding="utf-8")


def full_run(task: Task | None = None, trials: int = 12, **builder: Any) -> RunBuilder:
    """Two runs of the default, then wider and wider models: better and hungrier; some failures; scores."""
    run = RunBuilder(task or make_task(), **builder)
    run.span("start", run.window("data", 1.5))
    for wobble in (0.003, -0.005):
        run.add({}, 8000, {"val_accuracy": 0.90 + wobble, "val_loss": 0.3}, "default", idle=True)
    for i in range(trials):
        _one(run, i, trials)
    for trial in run.trials[2:6]:
        run.scores.append(ScoreRecord(trial=trial.trial, split="test", metrics={"accuracy": 0.9}))
    run.span("span", run.window("score", 0.7))
    run.span("end")
    return run


def confirmed_run(confirmed: bool = True, **builder: Any) -> RunBuilder:
    """The default, two members of a frontier, one of which confirmation drops, and one that never was on it.

    Confirmation finds 5 % fewer samples per joule, and 0.01 and 0.035 less accuracy.
    """
    run = RunBuilder(make_task(), **builder)
    for width, units, accuracy in ((8, 8000, 0.90), (9, 16000, 0.95), (10, 10000, 0.97), (11, 4000, 0.93)):
        run.add({"width": width}, units, {"val_accuracy": accuracy}, idle=True)
    for repeat in range(2 if confirmed else 0):
        for width, units, accuracy in ((8, 8000, 0.90), (9, 15200, 0.94), (10, 9500, 0.935)):
            lean = (-1) ** repeat * 0.001
            trial = run.add({"width": width}, round(units * (1 + lean)), {"val_accuracy": accuracy + lean}, CONFIRM)
            metrics = {"accuracy": accuracy - 0.02 + lean}
            run.scores.append(ScoreRecord(trial=trial.trial, split="test", metrics=metrics))
    run.span("end")
    return run


def _one(run: RunBuilder, i: int, trials: int, jitter: Callable[[float], float] = math.sin) -> None:
    width = 10 + i
    if i % 7 == 3:
        run.fail({"width": width}, "oom", "CUDA out of memory. Tried to allocate 2.00 GiB")
        return
    share = i / max(1, trials - 1)
    units = round(20000 * 10 ** (-1.6 * share) * (1 + 0.25 * jitter(9 * i)))
    accuracy = 0.6 + 0.38 * share**0.5 + 0.02 * jitter(5 * i)
    wobble = 0.2 if i % 5 == 1 else 0.004
    metrics = {"val_accuracy": accuracy, "val_loss": 1 - accuracy}
    run.add({"width": width, "pool": i % 2 == 0}, units, metrics, "init" if i < 6 else "search", wobble)


def on_the_clock(run: Path) -> Path:
    """The run, the time of day of its windows as far apart as they are on its own clock."""
    for name in ("trials.jsonl", "ledger.jsonl"):
        rows = [json.loads(line) for line in (run / name).read_text().splitlines()]
        for window in (w for row in rows for w in row.get("windows", ())):
            moment = BEGAN + timedelta(seconds=window["start_s"])
            window["start_utc"] = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
        (run / name).write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))
    return run
