"""Ten minutes on an NVIDIA GPU, and a page of what came out: `python -m tests.gpu.tour`, or `nox -s gpu`.

Each step has a limit of its own, and one that fails does not stop the next. The page says what each did and where
its report is; it is made anew after every step, so that a tour that is cut short leaves what it had.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from joulebench.host.files import write_whole
from joulebench.spec.hardware import detect_host

JOULEBENCH = (sys.executable, "-m", "joulebench")


@dataclass(frozen=True)
class Step:
    """A command with what it shows and its limit."""

    title: str
    command: tuple[str, ...]
    limit_s: int


@dataclass(frozen=True)
class Outcome:
    """What a step did; `code` is None where it ran into its limit."""

    step: Step
    code: int | None
    seconds: float
    output: str

    @property
    def told(self) -> str:
        """The last line that says something, for the page."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1].replace("|", "/")[:160] if lines else ""

    @property
    def reports(self) -> list[str]:
        return re.findall(r"^report: (\S+)$", self.output, flags=re.M)

    @property
    def ending(self) -> str:
        return "done" if self.code == 0 else "cut off" if self.code is None else f"exit code {self.code}"


def steps(folder: Path, data: str | None = None) -> list[Step]:
    """The tour's commands; `data`: CIFAR-10, which is downloaded otherwise."""
    out, given = ("--out", str(folder)), (("--data", data) if data else ())
    short = ("--budget", "short", *out)
    return [
        Step("Machine, meters, and how their counters move", (*JOULEBENCH, "hardware", "--probe"), 60),
        Step(
            "What NVML's counter really does, in full",
            (sys.executable, "-m", "tests.gpu.counter_probe", str(folder / "counter.json")),
            150,
        ),
        Step("Tests that need a GPU", (sys.executable, "-m", "pytest", "tests/gpu", "-m", "gpu", "-q"), 240),
        Step("Does the meter agree with itself", (*JOULEBENCH, "run", "meter_consistency", *short), 150),
        Step("A search of networks", (*JOULEBENCH, "run", "cifar10", *short, *given), 300),
        Step("Text by the token, at three batch sizes", (*JOULEBENCH, "run", "transformer_batch", *short), 300),
    ]


def execute(step: Step) -> Outcome:
    """Run a step and show its output; at its limit it is ended with all that it has started."""
    began = time.monotonic()
    with subprocess.Popen(
        step.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,
    ) as process:  # fmt: skip
        code: int | None = None
        try:
            output, _ = process.communicate(timeout=step.limit_s)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
    print(output, end="", flush=True)
    return Outcome(step, code, time.monotonic() - began, output)


def page(host: str, outcomes: Sequence[Outcome]) -> str:
    """The tour as Markdown."""
    lines = [
        "# Tour of a GPU",
        "",
        f"{host}. Numbers of `short` budgets compare with those of other `short` runs only.",
        "",
        "| step | ended | took | its last line |",
        "| --- | --- | --- | --- |",
        *(f"| {o.step.title} | {o.ending} | {o.seconds:.0f} s | {o.told} |" for o in outcomes),
        "",
    ]
    if reports := [report for o in outcomes for report in o.reports]:
        lines += ["Reports:", "", *(f"- {report}" for report in reports), ""]
    if o := next((o for o in outcomes if "--probe" in o.step.command), None):
        lines += ["```", o.output.strip(), "```", ""]
    return "\n".join(lines)


def tour(host: str, folder: Path, todo: Sequence[Step], run: Callable[[Step], Outcome] = execute) -> int:
    """Run the steps; returns 0 if all of them were done, else 1."""
    folder.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for step in todo:
        print(f"== {step.title} (at most {step.limit_s} s)", flush=True)
        outcomes.append(run(step))
        write_whole(folder / "tour.md", page(host, outcomes).encode())
    for outcome in outcomes:
        print(f"{outcome.ending:<12} {outcome.seconds:5.0f} s  {outcome.step.title}")
    print(f"page: {folder / 'tour.md'}")
    return int(any(o.code != 0 for o in outcomes))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; exit code 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="tests.gpu.tour", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", help="CIFAR-10, as of `joulebench run cifar10`; downloaded otherwise")
    parser.add_argument("--out", type=Path, help="folder for the page and the runs; default: runs/gpu/<UTC time>")
    given = parser.parse_args(arguments)
    host = detect_host()
    if not host.has_accelerator:
        print("tests.gpu.tour: no NVIDIA GPU is here, by its driver's library NVML", file=sys.stderr)
        return 2
    folder = given.out or Path("runs") / "gpu" / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return tour(str(host), folder, steps(folder, given.data))


if __name__ == "__main__":
    sys.exit(main())
