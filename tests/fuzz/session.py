"""The fuzzing session: `python -m tests.fuzz --minutes 10`.

Each input has a number; `--seed S --only TARGET --number N` makes and judges it again, and shows it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import resource
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait

from tests.fuzz import expressions
from tests.fuzz.sandbox import judged, sandbox
from tests.fuzz.targets import TARGETS, make, warmed

EXPRESSIONS = "expression"
#: Expressions an input of another kind.
SHARE = 10
#: A process that says nothing for so long hangs where no signal reaches it.
SILENCE_S = 180.0
SHOWN = 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[*TARGETS, EXPRESSIONS])
    parser.add_argument("--number", type=int, help="judge this input alone, and show it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.number is not None:
        return _one(given.seed, given.only or parser.error("--number: needs --only"), given.number)
    began = time.monotonic()
    done, found = _session(given, began + 60 * given.minutes)
    _print(done, found, time.monotonic() - began)
    return 1 if found else 0


def _one(seed: int, target: str, number: int) -> int:
    if target == EXPRESSIONS:
        text, wrong = expressions.failures(random.Random(f"{seed}/{target}/{number}"))
        print(repr(text))
    else:
        with sandbox() as base:
            case = make(target, seed, number, warmed(base))
            code, wrong = judged(case, base)
            seeds = case.files
            print(json.dumps(case.argv), "ends with", code)
            for name in case.names:
                if content := seeds.get(name, b""):
                    print(f"--- {name}: {content[:3000]!r}")
    print("\n".join(wrong) or "nothing is wrong")
    return 1 if wrong else 0


Failure = tuple[str, int, str]


def _session(given: argparse.Namespace, until: float) -> tuple[Counter[str], list[Failure]]:
    """Run processes until the time is over; one that dies or hangs is a failure of its last input."""
    done: Counter[str] = Counter()
    found: list[Failure] = []
    context = multiprocessing.get_context("spawn")
    running: dict[Connection, tuple[multiprocessing.process.BaseProcess, int]] = {}
    last: dict[int, tuple[str, int, float]] = {}

    def start(job: int, first: int) -> None:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=_work, args=(theirs, given.seed, given.only, job, given.jobs, first, until)
        )
        process.start()
        theirs.close()
        running[ours] = (process, job)
        last[job] = ("start", first, time.monotonic())

    for job in range(given.jobs):
        start(job, job)
    while running:
        for ready in wait(list(running), timeout=5.0):
            assert isinstance(ready, Connection)
            process, job = running[ready]
            try:
                target, number, wrong, count = ready.recv()
            except EOFError:
                process.join()
                del running[ready]
                target, number, _ = last[job]
                if process.exitcode:
                    found.append((target, number, f"ends the process with {process.exitcode}"))
                    if time.monotonic() < until:
                        start(job, number + given.jobs)
                continue
            last[job] = (target.partition(":")[0], number, time.monotonic())
            done[target] += count
            found += [(target, number, text) for text in wrong]
        for process, job in list(running.values()):
            if time.monotonic() - last[job][2] > SILENCE_S:
                last[job] = (*last[job][:2], time.monotonic())
                process.kill()
    return done, found


def _order(only: str | None, job: int, jobs: int, first: int) -> Iterator[tuple[str, int]]:
    """Targets and numbers of a process: each target has its share, the same in every session."""
    names = [only] if only else list(TARGETS)
    weights = [TARGETS[name][0] if name in TARGETS else 1.0 for name in names]
    number = first
    while True:
        yield random.Random(number).choices(names, weights)[0], number
        number += jobs


def _work(told: Connection, seed: int, only: str | None, job: int, jobs: int, first: int, until: float) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with sandbox() as base:
        of = warmed(base)
        for target, number in _order(only, job, jobs, first):
            if time.monotonic() >= until:
                break
            told.send((target, number, [], 0))  # so that it is known what a process died of
            if target != EXPRESSIONS:
                code, wrong = judged(make(target, seed, number, of), base)
                told.send((target, number, wrong, 1))
                told.send((f"{target}: {code}", number, [], 1))
            if only is None or target == EXPRESSIONS:
                wrong = []
                for n in range(number * SHARE, (number + 1) * SHARE):
                    text, problems = expressions.failures(random.Random(f"{seed}/{EXPRESSIONS}/{n}"))
                    wrong += [(n, f"{problem}: {text!r}") for problem in problems]
                told.send((EXPRESSIONS, number, [], SHARE))
                for n, problem in wrong:
                    told.send((EXPRESSIONS, n, [problem], 0))


def _print(done: Counter[str], found: list[Failure], seconds: float) -> None:
    print(f"{'target':<16} {'inputs':>8} {'accepted':>9} {'failures':>9}")
    failed = Counter(target for target, *_ in found)
    for name in [*TARGETS, EXPRESSIONS]:
        print(f"{name:<16} {done[name]:>8} {done[f'{name}: 0']:>9} {failed[name]:>9}")
    inputs = sum(done[name] for name in TARGETS)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = f"{seconds:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of processors)"
    print(f"{inputs} inputs and {done[EXPRESSIONS]} expressions in {cpu}; {len(found)} failures")
    shown: dict[str, Failure] = {}
    for failure in found:
        shown.setdefault(f"{failure[0]}{re.sub(r'[0-9]+', '#', failure[2])[:50]}", failure)
    for target, number, text in sorted(shown.values())[:SHOWN]:
        print(f"{target:<16} {number:>8}  {text[:400]}")
