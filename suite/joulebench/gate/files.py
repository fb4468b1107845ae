"""Replicates on disk: pytest-benchmark's JSON, one file a process, and JSON lines, one line a process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from joulebench.errors import InputError
from joulebench.gate.comparability import differences
from joulebench.gate.model import Replicate
from joulebench.records.folder import append, read_lines, read_record

BASELINES = Path("reports/baselines")
KEY = "joulebench"  # of what the gate reads, in pytest-benchmark's JSON


def baseline_file(hardware: str, folder: Path = BASELINES) -> Path:
    """Where the baseline of a hardware profile is kept."""
    return folder / hardware / "regression.jsonl"


def read_replicates(path: Path) -> list[Replicate]:
    """The replicates in a file, or in all files of a folder in the order of their names.

    Raises:
        InputError: nothing is there, or a file is damaged or holds no energy.
    """
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in (".json", ".jsonl"))
        found = [r for file in files for r in read_replicates(file)]
    elif path.suffix == ".jsonl" and path.is_file():
        found = read_lines(path, Replicate)[0]
    else:
        found = [from_benchmark_json(_load(path), path)]
    if not found:
        raise InputError(f"{path}: holds no replicates (.json of pytest-benchmark, or .jsonl)")
    return found


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise InputError(f"{path}: not JSON; pytest-benchmark writes it with --benchmark-json") from None


def from_benchmark_json(data: Any, origin: Path | str) -> Replicate:
    """The replicate that pytest-benchmark's JSON holds beside the timings.

    Raises:
        InputError: it holds none, or it is damaged.
    """
    head = data.get(KEY) if isinstance(data, Mapping) else None
    benchmarks = data.get("benchmarks") if isinstance(data, Mapping) else None
    if not isinstance(head, Mapping) or not isinstance(benchmarks, list):
        raise InputError(f"{origin}: no energy in it; its benchmarks do not use the fixture energy_benchmark")
    try:
        extras = [b["extra_info"][KEY] for b in benchmarks if KEY in b.get("extra_info", {})]
        return read_record(json.dumps({**head, "measurements": extras}), Replicate)
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
    path.parent.mkdir(parents=True, exist_ok=True)
    for replicate in replicates:
        append(path, replicate)


def update_baseline(path: Path, session: list[Replicate], replace: bool = False) -> list[str]:
    """Add a session to a baseline. One that was measured elsewhere or otherwise is begun anew.

    Returns:
        Why it was begun anew, difference by difference; empty where the session was added.

    Raises:
        InputError: the file is damaged or cannot be written.
    """
    before = read_replicates(path) if path.is_file() else []
    changed = differences(before[-1], session[-1]) if before else []
    if before and (changed or replace):
        path.unlink()
    # conditions of the windows are for a look at one run; a baseline is kept for years and read by the decision
    write_replicates(path, [_lean(r) for r in session])
    return changed or (["asked for"] if replace and before else [])


def _lean(replicate: Replicate) -> Replicate:
    lean = tuple(
        m.model_copy(
            update={
                "windows": tuple(w.model_copy(update={"conditions": {}}) for w in m.windows if w.phase == m.phase)
            }
        )
        for m in replicate.measurements
    )
    return replicate.model_copy(update={"measurements": lean})
