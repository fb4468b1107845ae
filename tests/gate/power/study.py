"""Study of the energy gate: false regressions, and what it finds; the tables of docs/gate.md.

    python -m tests.gate.power.study [--gates 1000] [--real 3] [--document docs/gate.md]

Simulated gates have the decision of real ones: of unchanged commits (A/A), with one benchmark that takes 5 or 10 %
more, and with one of which some processes take 50 % more. `--real N` adds N gates of each known change on this
machine.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from joulebench.gate import statistics
from joulebench.gate.decision import judge, suspects
from joulebench.gate.model import RERUN_PAIRS, Settings
from joulebench.gate.paired import Pairs, confirms, decide
from joulebench.gate.verdict import Outcome, Verdict
from joulebench.host.files import write_whole
from joulebench.stats.paired_ratio import chance
from tests.gate.power import real
from tests.gate.power.noise import Noise, draw
from tests.gate.power.replay import BENCHMARKS, Machine, SessionNoise, session

SETTINGS = Settings()
STORED = Settings(metric="energy")
CHANGED = BENCHMARKS[0]
PAIRS = 60  # that fit in a gate: ten minutes, of ten seconds each
MARK = re.compile(r"(<!-- (?P<name>[\w-]+): begin[^\n]*-->\n).*?(<!-- (?P=name): end -->)", re.S)
SPREADS = (0.02, 0.06, 0.13, 0.20, 0.26)
SHAPES = {
    "correlated, as above": Noise(0.06),
    "all of the spread kept by the process": Noise(0.06, kept=1.0),
    "drift within a pair, standard deviation 20 %": Noise(0.06, "drift"),
    "two frequencies, 25 % apart": Noise(0.06, "bimodal"),
    "a step of 30 % in each pair": Noise(0.06, "steps"),
    "heavy tails, 5 % of windows 40 % dearer": Noise(0.06, "heavy tails"),
}
MIXTURES = {
    "10 % of processes 50 % dearer, spread 0.5 %": Noise(0.005, dear=0.1),
    "10 % of processes 50 % dearer, spread 2 %": Noise(0.02, dear=0.1),
    "10 % of processes 50 % dearer, spread 6 %": Noise(0.06, dear=0.1),
    "10 % of windows 50 % dearer, spread 2 %": Noise(0.02, dear_windows=0.1),
    "10 % of windows 50 % dearer, spread 6 %": Noise(0.06, dear_windows=0.1),
}


@dataclass(frozen=True)
class Judged:
    """What a gate made of one benchmark: after how many pairs, and whether its last interval holds the truth."""

    outcome: Outcome
    pairs: int
    holds: bool


def judged(noise: Noise, ratio: float, seed: int) -> Judged:
    """Simulate one benchmark of a gate: pairs until it is decided or their number is spent, and its rerun."""
    random = np.random.default_rng(seed)
    every, again = (draw(random, noise, n, ratio) for n in (PAIRS, RERUN_PAIRS))
    for look in range(1, statistics.LOOKS + 1):
        n, share = round(PAIRS * look / statistics.LOOKS), statistics.look_share(look, look - 1)
        decision = decide(_first(every, n), share, len(BENCHMARKS), SETTINGS)
        if decision.outcome is not Outcome.UNDECIDED:
            break
    outcome = decision.outcome
    if outcome is Outcome.REGRESSED and not confirms(again, decision, SETTINGS):
        outcome = Outcome.UNDECIDED
    if outcome is Outcome.IMPROVED and not confirms(again, decision, SETTINGS):
        outcome = Outcome.PASSED
    return Judged(outcome, n, _holds(every.ratios[:n], math.log(ratio), statistics.LEVEL * share))


def _holds(ratios: Sequence[float], truth: float, level: float) -> bool:
    """Whether the interval of the typical ratio holds the truth: the test that it comes from does not refuse it."""
    lower = [-r for r in ratios]
    return chance(ratios, truth) > level and chance(lower, -truth) > level


def _first(pairs: Pairs, n: int) -> Pairs:
    return Pairs(pairs.ratios[:n], pairs.baseline[:n], pairs.current[:n])


def gate(noise: Noise, seed: int) -> list[Judged]:
    """Simulate a gate of two unchanged commits."""
    return [judged(noise, 1.0, seed * len(BENCHMARKS) + n) for n in range(len(BENCHMARKS))]


def share(k: int, n: int) -> str:
    """Format `195/200 = 97.5 % [94.3, 99.2]`, with the exact 95 % interval (Clopper and Pearson 1934)."""
    ends = stats.binomtest(k, n).proportion_ci(0.95, "exact")
    return f"{k}/{n} = {100 * k / n:.4g} % [{100 * ends.low:.3g}, {100 * ends.high:.3g}]"


def _percent(found: Iterable[bool]) -> str:
    values = list(found)
    return f"{100 * sum(values) / len(values):.3g} %"


PAIRED_HEADER = (
    "| {} | A/A: false regressions | +5 % found | +10 % found | A/A: decided | A/A: pairs | "
    "A/A: interval holds the truth |"
)
RULE = "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"


def paired_table(what: str, noises: dict[str, Noise], gates: int, pool: ProcessPoolExecutor) -> str:
    """Table of two commits in one session, by noise."""
    rows = [PAIRED_HEADER.format(what), RULE]
    for label, noise in noises.items():
        same = list(pool.map(partial(gate, noise), range(gates), chunksize=20))
        false = sum(any(b.outcome is Outcome.REGRESSED for b in benchmarks) for benchmarks in same)
        found = []
        for ratio in (1.05, 1.10):
            done = pool.map(partial(judged, noise, ratio), range(10**6, 10**6 + gates), chunksize=20)
            found.append(share(sum(b.outcome is Outcome.REGRESSED for b in done), gates))
        every = [b for benchmarks in same for b in benchmarks]
        cells = [label, share(false, gates), *found, _percent(b.outcome is not Outcome.UNDECIDED for b in every)]
        cells += [f"{np.median([b.pairs for b in every]):g}", share(sum(b.holds for b in every), len(every))]
        rows.append(f"| {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    return "\n".join(rows)


def mixture_table(gates: int, pool: ProcessPoolExecutor) -> str:
    """Table of changes that the typical process, or window, does not show; the mean is 5 % dearer."""
    rows = ["| change | passed | regressed | undecided |", "| --- | ---: | ---: | ---: |"]
    for label, noise in MIXTURES.items():
        done = list(pool.map(partial(judged, noise, 1.0), range(2 * 10**6, 2 * 10**6 + gates), chunksize=20))
        good = sum(b.outcome in (Outcome.PASSED, Outcome.IMPROVED) for b in done)
        others = (sum(b.outcome is o for b in done) for o in (Outcome.REGRESSED, Outcome.UNDECIDED))
        rows.append(f"| {label} | {share(good, gates)} | {' | '.join(share(k, gates) for k in others)} |")
        print(rows[-1], flush=True)
    return "\n".join(rows)


def run_stored(noise: SessionNoise, sessions: int, ratio: float, seed: int) -> list[Verdict]:
    """Simulate a gate against a stored baseline; the rerun shares the offset of its day."""
    machine, ratios = Machine(noise, seed), {CHANGED: ratio}
    before = [r for n in range(sessions) for r in session(machine, f"{n:03d}", machine.session_level(), {})]
    today = machine.session_level()
    enough = statistics.pairs_without(STORED.rare)
    now = session(machine, "today", today, ratios, processes=enough)
    verdicts = judge(before, now, STORED)
    if suspects(verdicts):
        verdicts = judge(
            before, now + session(machine, "rerun", today, ratios, rerun=True, processes=enough), STORED
        )
    return verdicts


STORED_HEADER = "| {} | A/A: false regressions | +5 % found | +10 % found | A/A: decided |"


def stored_table(gates: int, pool: ProcessPoolExecutor) -> str:
    """Table of a stored baseline, by spread between sessions and number of sessions."""
    rows = [STORED_HEADER.format("between sessions, sessions held"), "| --- | ---: | ---: | ---: | ---: |"]
    for spread, sessions in ((0.005, 5), (0.005, 20), (0.02, 5)):
        noise, cells = SessionNoise(0.02, drift=0.01, session=spread), [f"{100 * spread:g} %, {sessions}"]
        for number, ratio in enumerate((1.0, 1.05, 1.10)):
            seeds = range(10**5 * number, 10**5 * number + gates)
            done = list(pool.map(partial(run_stored, noise, sessions, ratio), seeds, chunksize=2))
            changed = [[v for v in g if (v.name == CHANGED) or ratio == 1.0] for g in done]
            cells.append(share(sum(any(v.outcome is Outcome.REGRESSED for v in g) for g in changed), gates))
            if ratio == 1.0:
                decided = _percent(v.outcome is not Outcome.UNDECIDED for g in done for v in g)
        rows.append(f"| {' | '.join([*cells, decided])} |")
        print(rows[-1], flush=True)
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
    parser.add_argument("--gates", type=int, default=1000, help="simulated gates of each kind; 0 for none")
    parser.add_argument("--real", type=int, default=0, help="gates of each known change on this machine")
    parser.add_argument("--busy", type=int, default=0, help="of them unchanged ones beside a load")
    parser.add_argument("--minutes", type=float, default=5.0, help="of a real gate, without its rerun")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--only", choices=("paired", "shapes", "mixtures", "stored"), help="of the simulated tables"
    )
    parser.add_argument("--document", type=Path, default=Path("docs/gate.md"))
    given = parser.parse_args(arguments)
    document, tables = given.document.absolute(), dict[str, str]()
    if given.gates:
        with ProcessPoolExecutor(given.jobs) as pool:
            spreads = {f"{100 * spread:g} %": Noise(spread) for spread in SPREADS}
            make = {
                "paired": lambda: paired_table("spread between processes", spreads, given.gates, pool),
                "shapes": lambda: paired_table("noise, at a spread of 6 %", SHAPES, given.gates, pool),
                "mixtures": lambda: mixture_table(given.gates, pool),
                # a baseline's sessions are measured window by window: such a gate takes as long as many others
                "stored": lambda: stored_table(max(1, given.gates // 20), pool),
            }
            tables = {name: table() for name, table in make.items() if given.only in (None, name)}
    if given.real or given.busy:
        say = partial(print, flush=True)
        rows = real.measure(given.real, (0.0, 0.05, 0.10), given.minutes, say)
        rows += real.measure(given.busy, (0.0,), given.minutes, say, beside=True)
        tables["real"] = "\n".join([real.HEADER, real.RULE, *rows])
    write_whole(document, put(document.read_text(encoding="utf-8"), tables).encode())
    print(f"{given.document}: {', '.join(tables) or 'no table'}")


if __name__ == "__main__":
    main()
