"""Measurement sessions: processes of one tree, or of two commits in alternation (A B, B A, …)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from joulebench.gate.files import write_replicates
from joulebench.gate.model import Replicate
from joulebench.gate.processes import Benchmarks, SessionPlace, run_in_turn

Observer = Callable[[str], None]
TOGETHER = 2  # processes of one tree started at once


def measure_session(
    tree: Path, benchmarks: Benchmarks, session: str, processes: int, observe: Observer, *,
    rerun: bool = False, only: Sequence[str] = (),
) -> list[Replicate]:  # fmt: skip
    """Measure a session of one tree in `processes` processes, one after the other.

    Raises:
        InputError: as `run_in_turn`.
    """
    began_s, replicates = monotonic(), list[Replicate]()
    while len(replicates) < processes:
        trees = [tree] * min(TOGETHER, processes - len(replicates))
        measured = _measured(trees, benchmarks, SessionPlace(session, rerun=rerun), only)
        replicates += measured
        _keep(benchmarks, "current", measured)
        observe(_progress("process", len(replicates), processes, began_s))
    return replicates


def measure_pairs(
    trees: tuple[Path, Path], benchmarks: Benchmarks, session: str, pairs: int, observe: Observer, *,
    rerun: bool = False, only: Sequence[str] = (),
) -> tuple[list[Replicate], list[Replicate]]:  # fmt: skip
    """Measure baseline and current tree in pairs, each in random order (seeded with the session).

    The random order makes the randomisation test valid however the machine drifts.

    Raises:
        InputError: as `run_in_turn`.
    """
    began_s, coin = monotonic(), random.Random(session)
    sides: tuple[list[Replicate], list[Replicate]] = ([], [])
    for pair in range(pairs):
        order = coin.choice(((0, 1), (1, 0)))
        measured = _measured([trees[side] for side in order], benchmarks, SessionPlace(session, pair, rerun), only)
        for side, replicate in zip(order, measured, strict=True):
            sides[side].append(replicate)
            _keep(benchmarks, ("baseline", "current")[side], [replicate])
        observe(_progress("pair", pair + 1, pairs, began_s))
    return sides


def _measured(
    trees: Sequence[Path], benchmarks: Benchmarks, place: SessionPlace, only: Sequence[str]
) -> list[Replicate]:
    """Run the processes; short ones, which mostly import, start together, those of standard form one at a time."""
    if benchmarks.form == "quick":
        return run_in_turn(trees, benchmarks, place, only)
    return [replicate for tree in trees for replicate in run_in_turn([tree], benchmarks, place, only)]


def _keep(benchmarks: Benchmarks, side: str, replicates: Sequence[Replicate]) -> None:
    if benchmarks.keep is not None:
        write_replicates(benchmarks.keep / f"{side}.jsonl", replicates)


def _progress(what: str, done: int, total: int, began_s: float) -> str:
    spent_s = monotonic() - began_s
    return f"{what} {done}/{total}: {spent_s:.0f} s, about {spent_s / done * (total - done):.0f} s left"
