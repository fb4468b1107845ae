"""Measuring: pytest in fresh processes, one commit's or two commits' in turn (A B, B A, …)."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from suite.errors import InputError
from suite.gate.files import read_replicates, write_replicates
from suite.gate.model import Replicate

Observer = Callable[[str], None]
NO_TESTS = 5  # pytest's exit code


@dataclass(frozen=True)
class Benchmarks:
    """Energy benchmarks to run: pytest's path within a tree, and options of the plugin."""

    path: str
    form: str | None = None
    hardware: str | None = None
    replay: str | None = None
    keep: Path | None = None  # where the records of every process are written as soon as it has ended

    def options(self) -> list[str]:
        given = {"--energy-form": self.form, "--energy-hardware": self.hardware, "--energy-replay": self.replay}
        return [word for name, value in given.items() if value is not None for word in (name, value)]


@dataclass(frozen=True)
class Place:
    """A process's place in its session."""

    session: str
    pair: int | None = None
    rerun: bool = False

    def options(self) -> list[str]:
        pair = [] if self.pair is None else ["--energy-pair", str(self.pair)]
        return ["--energy-session", self.session, *pair, *(["--energy-rerun"] if self.rerun else [])]


def run_process(tree: Path, benchmarks: Benchmarks, place: Place, only: Sequence[str] = ()) -> Replicate:
    """Run the benchmarks of a tree in a process of their own.

    The tree comes first on the import path, so that its code is measured and not what is installed.

    Raises:
        InputError: there are none there, or one of them failed.
    """
    if not (tree / benchmarks.path.split("::")[0]).exists():
        raise InputError(f"{tree}: no {benchmarks.path} in this commit")
    with tempfile.TemporaryDirectory(prefix="joulebench-") as folder:
        written = Path(folder) / "benchmark.json"
        command = [
            sys.executable, "-m", "pytest", benchmarks.path, "-q", "--benchmark-enable",
            "-p", "no:cacheprovider", "-p", "no:hypothesispytest",  # a second of every process
            f"--benchmark-json={written}", *place.options(), *benchmarks.options(),
            *(word for name in only for word in ("--energy-only", name)),
        ]  # fmt: skip
        done = subprocess.run(
            command, cwd=tree, env=_environment(tree), capture_output=True, text=True, check=False
        )
        if done.returncode == NO_TESTS:
            raise InputError(f"{benchmarks.path}: no test there uses the fixture energy_benchmark")
        if done.returncode:
            raise InputError(
                f"{benchmarks.path} failed in {tree} (pytest's exit code {done.returncode}): {_end(done)}"
            )
        replicate = read_replicates(written)[0]
        if benchmarks.keep is not None:
            benchmarks.keep.mkdir(parents=True, exist_ok=True)
            stamp = replicate.started_utc.replace(":", "").replace("-", "")
            shutil.copyfile(written, benchmarks.keep / f"benchmark-{stamp}.json")
        return replicate


def _environment(tree: Path) -> dict[str, str]:
    first = [str(folder) for folder in (tree / "src", tree) if folder.is_dir()]
    given = os.environ.get("PYTHONPATH")
    own = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_")}  # of a pytest that this runs in
    return {**own, "PYTHONPATH": os.pathsep.join([*first, *([given] if given else [])])}


def _end(done: subprocess.CompletedProcess[str]) -> str:
    """The line of pytest's output that says most."""
    lines = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E  ", "ERROR", "FAILED"))]
    return (errors or lines or ["no output"])[-1][:300]


def measure_session(
    tree: Path, benchmarks: Benchmarks, session: str, processes: int, observe: Observer, *,
    rerun: bool = False, only: Sequence[str] = (),
) -> list[Replicate]:  # fmt: skip
    """One session of one tree: `processes` processes, one after the other.

    Raises:
        InputError: as `run_process`.
    """
    began_s, found = monotonic(), []
    for number in range(processes):
        found.append(run_process(tree, benchmarks, Place(session, rerun=rerun), only))
        _keep(benchmarks, "current", found[-1])
        observe(_progress("process", number + 1, processes, began_s))
    return found


def measure_pairs(
    trees: tuple[Path, Path], benchmarks: Benchmarks, session: str, pairs: int, observe: Observer, *,
    rerun: bool = False, only: Sequence[str] = (),
) -> tuple[list[Replicate], list[Replicate]]:  # fmt: skip
    """Baseline and current tree in turn; a coin (seeded with the session) says which of a pair runs first.

    With the coin the two of a pair are alike but for the commit, however the machine drifts meanwhile.

    Raises:
        InputError: as `run_process`.
    """
    began_s, coin = monotonic(), random.Random(session)
    sides: tuple[list[Replicate], list[Replicate]] = ([], [])
    for pair in range(pairs):
        for side in coin.choice(((0, 1), (1, 0))):
            sides[side].append(run_process(trees[side], benchmarks, Place(session, pair, rerun), only))
            _keep(benchmarks, ("baseline", "current")[side], sides[side][-1])
        observe(_progress("pair", pair + 1, pairs, began_s))
    return sides


def _keep(benchmarks: Benchmarks, side: str, replicate: Replicate) -> None:
    if benchmarks.keep is not None:
        write_replicates(benchmarks.keep / f"{side}.jsonl", [replicate])


def _progress(what: str, done: int, total: int, began_s: float) -> str:
    spent_s = monotonic() - began_s
    return f"{what} {done}/{total}: {spent_s:.0f} s, about {spent_s / done * (total - done):.0f} s to go"
