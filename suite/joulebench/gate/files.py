"""Files of replicates: pytest-benchmark's JSON, one per process, and JSON lines, one line per process."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from joulebench.errors import InputError, unwritable
from joulebench.gate.comparability import differences
from joulebench.gate.model import Measurement, Replicate
from joulebench.gate.values import CONDITIONS
from joulebench.host.files import locked_folder, make_folder, write_whole
from joulebench.records.folder import append, line, read_lines, read_record
from joulebench.records.model import Window
from joulebench.spec.reading import MAX_LOG_BYTES, read_json

BASELINES = Path("reports/baselines")
KEY = "joulebench"  # of the gate's data in pytest-benchmark's JSON


def baseline_file(hardware: str, folder: Path = BASELINES) -> Path:
    """Path of the baseline of a hardware profile."""
    return folder / hardware / "regression.jsonl"


def read_replicates(path: Path) -> list[Replicate]:
    """Read the replicates of a file, or of all files of a folder, sorted by name; each process once.

    Raises:
        InputError: there are none, or a file is damaged or has no energy data.
    """
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in (".json", ".jsonl"))
        replicates = [r for file in files for r in read_replicates(file)]
    elif path.suffix == ".jsonl" and path.exists():
        replicates = read_lines(path, Replicate)[0]
    else:
        replicates = [from_benchmark_json(read_json(path, MAX_LOG_BYTES, follow=True), path)]
    if not replicates:
        raise InputError(f"{path}: no replicates (.json of pytest-benchmark, or .jsonl)")
    return _once(replicates)


def identity(replicate: Replicate) -> Hashable:
    """What tells a process from all others, whatever has been left out of its record, and whoever wrote it."""
    windows = (
        (m.name, w.start_s, w.end_s, *(r.energy_j for r in w.readings))
        for m in replicate.measurements
        for w in m.windows
        if w.phase == m.phase
    )
    return replicate.session, replicate.started_utc, replicate.pair, tuple(windows)


def _once(replicates: Sequence[Replicate]) -> list[Replicate]:
    """Each process once, the record that knows its look: a gate's folder holds each by itself and among all.

    Counted twice, it would make intervals narrower than they are.
    """
    known: dict[Hashable, Replicate] = {}
    for replicate in replicates:
        key = identity(replicate)
        if key not in known or replicate.look > known[key].look:
            known[key] = replicate
    return list(known.values())


def from_benchmark_json(data: Any, origin: Path | str) -> Replicate:
    """Read the replicate in pytest-benchmark's JSON.

    Raises:
        InputError: there is none, or it is damaged.
    """
    head = data.get(KEY) if isinstance(data, Mapping) else None
    benchmarks = data.get("benchmarks") if isinstance(data, Mapping) else None
    if not isinstance(head, Mapping) or not isinstance(benchmarks, list):
        raise InputError(f"{origin}: no energy data; its benchmarks do not use the fixture energy_benchmark")
    try:
        extras = [b["extra_info"][KEY] for b in benchmarks if KEY in b.get("extra_info", {})]
        return read_record(json.dumps({**head, "measurements": extras}).encode(), Replicate)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{origin}: {where}: {first['msg']}") from None
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{origin}: not pytest-benchmark's JSON ({error!r})") from None


def write_replicates(path: Path, replicates: Iterable[Replicate]) -> None:
    """Append replicates to a file of JSON lines.

    Raises:
        InputError: it cannot be written.
    """
    make_folder(path.parent)
    for replicate in replicates:
        append(path, replicate)


def update_baseline(path: Path, session: list[Replicate], replace: bool = False) -> list[str]:
    """Add a session to a baseline; one that does not compare with the session is replaced.

    Returns:
        The differences for which it was replaced; empty if the session was added.

    Raises:
        InputError: the file is damaged or cannot be written.
    """
    try:
        make_folder(path.parent)
        with locked_folder(path.parent):
            before = read_lines(path, Replicate)[0]
            changed = differences(before[-1], session[-1]) if before else []
            kept = [] if changed or replace else before
            # a baseline is kept for years: without what the decision does not read
            write_whole(path, b"".join(map(line, [*kept, *map(_lean, session)])))
    except OSError as error:
        raise unwritable(path, error) from None
    return changed or (["--replace"] if replace and before else [])


def _lean(replicate: Replicate) -> Replicate:
    """Drop warm-up windows, and of the others all conditions but what may be compared."""

    def lean(m: Measurement) -> Measurement:
        windows = (w.model_copy(update={"conditions": _own(w)}) for w in m.windows if w.phase == m.phase)
        return m.model_copy(update={"windows": tuple(windows)})

    return replicate.model_copy(update={"measurements": tuple(map(lean, replicate.measurements))})


def _own(window: Window) -> dict[str, float]:
    return {name: value for name, value in window.conditions.items() if name in CONDITIONS.values()}
