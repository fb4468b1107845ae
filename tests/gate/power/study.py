"""Power study of the energy gate: false alarms and detected regressions, the tables of docs/gate.md.

    python -m tests.gate.power.study [--gates 200] [--real 4] [--document docs/gate.md]

Simulated on the replay meter: gates of unchanged commits (A/A), and with one benchmark that takes 5 or 10 % more.
`--real N` adds N gates of this commit against itself on this machine.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scipy import stats

from joulebench.gate.decision import Outcome, Verdict, judge, suspects
from joulebench.gate.model import PAIRS, Settings
from joulebench.gate.processes import Benchmarks
from joulebench.gate.statistics import ratio_text
from joulebench.host.files import write_whole
from tests.gate.power.replay import BENCHMARKS, Machine, Noise, paired_gate, session

SETTINGS = Settings(metric="energy")
CHANGED = BENCHMARKS[0]
MARK = re.compile(r"(<!-- (?P<name>[\w-]+): begin[^\n]*-->\n).*?(<!-- (?P=name): end -->)", re.S)


@dataclass(frozen=True)
class Tally:
    """Counts over many gates of one kind.

    Attributes:
        false_alarms: gates with a regression of an unchanged benchmark.
        detected: gates that detected the changed benchmark.
        covered: intervals that contain the true ratio.
    """

    gates: int
    false_alarms: int
    detected: int
    inconclusive: int  # benchmarks
    covered: int
    intervals: int


def run_paired(noise: Noise, pairs: int, ratio: float, seed: int) -> list[Verdict]:
    """Simulate a gate of two interleaved commits, with a rerun if a benchmark is suspected."""
    machine, ratios = Machine(noise, seed), {CHANGED: ratio}
    before, now = paired_gate(machine, pairs, ratios)
    verdicts = judge(before, now, SETTINGS)
    if suspects(verdicts):
        again = paired_gate(machine, pairs, ratios, rerun=True)
        verdicts = judge(before + again[0], now + again[1], SETTINGS)
    return verdicts


def run_stored(noise: Noise, sessions: int, ratio: float, seed: int) -> list[Verdict]:
    """Simulate a gate against a stored baseline; the rerun shares the offset of its day."""
    machine, ratios = Machine(noise, seed), {CHANGED: ratio}
    before = [r for n in range(sessions) for r in session(machine, f"{n:03d}", machine.session_level(), {})]
    today = machine.session_level()
    now = session(machine, "today", today, ratios)
    verdicts = judge(before, now, SETTINGS)
    if suspects(verdicts):
        verdicts = judge(before, now + session(machine, "rerun", today, ratios, rerun=True), SETTINGS)
    return verdicts


def tally(gates: Iterable[Sequence[Verdict]], ratio: float) -> Tally:
    """Count the outcomes of gates in which one benchmark changed by `ratio`."""
    done = [list(verdicts) for verdicts in gates]
    truth = {name: math.log(ratio) if name == CHANGED else 0.0 for name in BENCHMARKS}
    changed = {CHANGED} if ratio > 1 + SETTINGS.threshold else set()
    shifts = [(v.shift, truth[v.name]) for verdicts in done for v in verdicts if v.shift is not None]
    return Tally(
        gates=len(done),
        false_alarms=sum(any(v.outcome is Outcome.REGRESSION and v.name not in changed for v in g) for g in done),
        detected=sum(any(v.outcome is Outcome.REGRESSION and v.name in changed for v in g) for g in done),
        inconclusive=sum(v.outcome is Outcome.INCONCLUSIVE for g in done for v in g),
        covered=sum(s.low <= t <= s.high for s, t in shifts),
        intervals=len(shifts),
    )


def share(k: int, n: int) -> str:
    """Format `195/200 = 97.5 % [94.3, 99.2]`, with the exact 95 % interval (Clopper and Pearson 1934)."""
    ends = stats.binomtest(k, n).proportion_ci(0.95, "exact")
    return f"{k}/{n} = {100 * k / n:.4g} % [{100 * ends.low:.3g}, {100 * ends.high:.3g}]"


Gate = Callable[[int], list[Verdict]]


def many(gate: Gate, ratio: float, gates: int, seed: int, jobs: int) -> Tally:
    """Simulate `gates` gates with different seeds in `jobs` processes."""
    seeds = range(seed, seed + gates)
    if jobs == 1:
        return tally(map(gate, seeds), ratio)
    with ProcessPoolExecutor(jobs) as pool:
        return tally(pool.map(gate, seeds, chunksize=10), ratio)


HEADER = "| {} | A/A: false alarms | +5 % found | +10 % found | A/A: inconclusive | A/A: interval holds the truth |"
RULE = "| --- | ---: | ---: | ---: | ---: | ---: |"


def _row(
    label: str,
    gate: Callable[[float], Gate],
    gates: int,
    seed: int,
    jobs: int,
    changes: Sequence[float] = (1.05, 1.10),
) -> str:
    same, *others = (many(gate(r), r, gates, seed + int(1e6 * (r - 1)), jobs) for r in (1.0, *changes))
    detected = [share(other.detected, gates) for other in others] or ["not run", "not run"]
    cells = [label, share(same.false_alarms, gates), *detected]
    cells += [f"{100 * same.inconclusive / same.intervals:.3g} %", share(same.covered, same.intervals)]
    row = f"| {' | '.join(cells)} |"
    print(row, flush=True)
    return row


def paired_table(gates: int, jobs: int) -> str:
    """Table for two commits in one session, by noise and number of pairs."""
    rows = [HEADER.format("noise of a process, pairs"), RULE]
    for noise, form in (
        (0.02, "standard"),
        (0.02, "quick"),
        (0.01, "standard"),
        (0.03, "standard"),
        (0.05, "standard"),
    ):
        pairs, changes = PAIRS[form], (1.05, 1.10) if noise == 0.02 else ()
        gate = partial(_paired, Noise(noise), pairs)
        rows.append(_row(f"{100 * noise:g} %, {pairs}", gate, gates, 1_000 * pairs, jobs, changes))
    return "\n".join(rows)


def _paired(noise: Noise, pairs: int, ratio: float) -> Gate:
    return partial(run_paired, noise, pairs, ratio)


def stored_table(gates: int, jobs: int) -> str:
    """Table for a stored baseline, by spread between sessions and number of sessions."""
    rows = [HEADER.format("between sessions, sessions held"), RULE]
    for spread, sessions in ((0.005, 5), (0.005, 20), (0.02, 5)):
        gate = partial(_stored, Noise(0.02, drift=0.01, session=spread), sessions)
        rows.append(_row(f"{100 * spread:g} %, {sessions}", gate, gates, 500_000 + sessions, jobs))
    return "\n".join(rows)


def _stored(noise: Noise, sessions: int, ratio: float) -> Gate:
    return partial(run_stored, noise, sessions, ratio)


def measure_real(gates: int, out: Path, observe: Callable[[str], None]) -> None:
    """Run gates of this commit against itself in quick form, each in a folder of `out`."""
    from joulebench.gate.workflow import against

    for gate in range(1, gates + 1):
        observe(f"gate {gate} of {gates}")
        benchmarks = Benchmarks("tests/regression", "quick", keep=out / f"{gate:02d}")
        against("HEAD", benchmarks, SETTINGS, None, observe)


def real_table(out: Path) -> str:
    """Write the Markdown table of the gate runs in `out`: energy and time ratios, and outcome."""
    from joulebench.gate.workflow import compare_files

    rows = ["| gate | benchmark | compared | ratio | time ratio | pairs | outcome |"]
    rows += ["| ---: | --- | --- | ---: | ---: | ---: | --- |"]
    for folder in sorted(f for f in out.iterdir() if f.is_dir()):
        for v in compare_files(folder / "baseline.jsonl", folder / "current.jsonl", SETTINGS).verdicts:
            cells = [folder.name, f"`{v.name.rsplit('::', 1)[-1]}`", v.metric.label if v.metric else ""]
            cells += [ratio_text(v.shift), ratio_text(v.time), str(v.shift.n if v.shift else 0), str(v.outcome)]
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def put(document: str, tables: dict[str, str]) -> str:
    """Insert each table between its marks `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

    Raises:
        ValueError: the document has no such marks.
    """
    if missing := tables.keys() - {m["name"] for m in MARK.finditer(document)}:
        raise ValueError(f"no marks for {', '.join(sorted(missing))}")
    return MARK.sub(lambda m: f"{m[1]}{tables[m['name']]}\n{m[3]}" if m["name"] in tables else m[0], document)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.gate.power.study", description=__doc__.splitlines()[0])
    parser.add_argument("--gates", type=int, default=200, help="simulated gates of each kind; 0 for none")
    parser.add_argument("--real", type=int, default=0, help="gates of this commit against itself")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/gate_study"), help="folder of the real gates")
    parser.add_argument("--document", type=Path, default=Path("docs/gate.md"))
    given = parser.parse_args(arguments)
    tables: dict[str, str] = {}
    if given.gates:
        tables["paired"] = paired_table(given.gates, given.jobs)
        # a baseline's sessions are measured too: a gate of this kind takes as long as several of the other
        tables["stored"] = stored_table(max(1, given.gates // 4), given.jobs)
    if given.real:
        measure_real(given.real, given.out, partial(print, flush=True))
    if given.out.is_dir():
        tables["real"] = real_table(given.out)
    write_whole(given.document, put(given.document.read_text(encoding="utf-8"), tables).encode())
    print(f"{given.document}: {', '.join(tables) or 'no table'}")


if __name__ == "__main__":
    main()
