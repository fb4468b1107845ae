"""Measurement sessions: processes of one tree, or pairs of two commits until all is decided."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from joulebench.gate.files import write_replicates
from joulebench.gate.model import Replicate
from joulebench.gate.processes import Benchmarks, SessionPlace, run_in_turn
from joulebench.gate.statistics import LOOKS

Observer = Callable[[str], None]
Sides = tuple[list[Replicate], list[Replicate]]  # baseline and current
Trees = tuple[Path, Path]
Undecided = Callable[[Sides], Sequence[str]]
TOGETHER = 2  # processes of one tree that are alive at once


def measure_session(
    tree: Path, benchmarks: Benchmarks, session: str, processes: int, observe: Observer, *,
    rerun: bool = False, only: Sequence[str] = (),
) -> list[Replicate]:  # fmt: skip
    """Measure a session of one tree in `processes` processes.

    Raises:
        InputError: as `run_in_turn`.
    """
    began_s, replicates = monotonic(), list[Replicate]()
    while len(replicates) < processes:
        trees = [tree] * min(TOGETHER, processes - len(replicates))
        measured = run_in_turn(trees, benchmarks, SessionPlace(session, rerun=rerun), only)
        replicates += measured
        _keep(benchmarks, "current", measured)
        observe(_progress("process", len(replicates), processes, began_s))
    return replicates


def measure_pairs(
    trees: Trees, benchmarks: Benchmarks, session: str, pairs: int, observe: Observer, *,
    rerun: bool = False, only: Sequence[str] = (),
) -> Sides:  # fmt: skip
    """Measure a number of pairs of baseline and current tree.

    Raises:
        InputError: as `run_in_turn`.
    """
    sides: Sides = ([], [])
    began_s = monotonic()
    for pair in range(pairs):
        _add_pair(sides, trees, benchmarks, SessionPlace(session, pair, rerun=rerun), only)
        observe(_progress("pair", pair + 1, pairs, began_s))
    return sides


def measure_until_decided(
    trees: Trees, benchmarks: Benchmarks, session: str, budget_s: float, undecided: Undecided, observe: Observer
) -> Sides:
    """Measure pairs of baseline and current tree until no benchmark is undecided or the budget of time is spent.

    The looks at what there is are at fixed parts of the budget, so that the number of tries is known. After each,
    only what is undecided is measured on. The last look comes when no further pair fits.

    Args:
        undecided: which benchmarks are, by the pairs so far; called at each look.

    Raises:
        InputError: as `run_in_turn`.
    """
    sides: Sides = ([], [])
    only: Sequence[str] = ()
    began_s, spent_s, pair, look = monotonic(), 0.0, 0, 1
    while True:
        _add_pair(sides, trees, benchmarks, SessionPlace(session, pair, look), only)
        pair += 1
        spent_s, before_s = monotonic() - began_s, spent_s
        pair_s = spent_s - before_s
        observe(f"pair {pair}: {spent_s:.0f} s of {budget_s:.0f} s")
        over, following = spent_s + pair_s > budget_s, look_of(spent_s, pair_s, budget_s)
        if not over and following <= look:
            continue
        only = undecided(sides)
        if over or not only:
            return sides
        look = following


def look_of(spent_s: float, pair_s: float, budget_s: float) -> int:
    """The look at which the next pair is judged, if it takes as long as the last: the last one if no other fits."""
    if spent_s + 2 * pair_s > budget_s:
        return LOOKS
    return min(LOOKS, max(1, math.ceil(LOOKS * (spent_s + pair_s) / budget_s)))


def _add_pair(sides: Sides, trees: Trees, benchmarks: Benchmarks, place: SessionPlace, only: Sequence[str]) -> None:
    for side, name, replicate in zip(
        sides, ("baseline", "current"), run_in_turn(trees, benchmarks, place, only), strict=True
    ):
        kept = replicate.model_copy(update={"look": place.look})
        side.append(kept)
        _keep(benchmarks, name, [kept])


def _keep(benchmarks: Benchmarks, side: str, replicates: Sequence[Replicate]) -> None:
    if benchmarks.keep is not None:
        write_replicates(benchmarks.keep / f"{side}.jsonl", replicates)


def _progress(what: str, done: int, total: int, began_s: float) -> str:
    spent_s = monotonic() - began_s
    return f"{what} {done}/{total}: {spent_s:.0f} s, about {spent_s / done * (total - done):.0f} s left"
