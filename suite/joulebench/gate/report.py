"""Report of the energy gate: Markdown, and JSON for github-action-benchmark. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

from joulebench.gate.decision import Outcome, Verdict, failures
from joulebench.gate.statistics import ratio_text
from joulebench.gate.workflow import Result
from joulebench.presentation.numbers import number, prefix
from joulebench.presentation.units import plain
from joulebench.records.model import combined

DESIGNS = {
    "paired": "Both commits were measured in one session, alternating process by process; intervals are from a "
    "randomisation test over pairs of processes.",
    "sessions": "The baseline is stored; intervals are Student's t over sessions and include their spread.",
}
MARKS = {Outcome.REGRESSION: "**regression**", Outcome.UNMEASURED: "**unmeasured**"}


#: Outcomes of benchmarks that were judged and are not worse.
DECIDED = frozenset({Outcome.PASSED, Outcome.IMPROVEMENT})


def passed(result: Result) -> bool:
    """Whether nothing fails the gate; it may still be undecided."""
    return not failures(result.verdicts, result.settings)


def status(result: Result) -> str:
    """Return `failed`; `passed` if every common benchmark was judged and none is worse; else `undecided`."""
    if not passed(result):
        return "failed"
    compared = [v.outcome for v in result.verdicts if v.outcome is not Outcome.NEW]
    return "passed" if compared and DECIDED.issuperset(compared) else "undecided"


def headline(result: Result) -> str:
    """Summarise the result in one line: status, and the number of benchmarks per outcome."""
    counts = [(o, n) for o in Outcome if (n := sum(v.outcome is o for v in result.verdicts))]
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in counts) or "no benchmarks"
    return f"energy gate {status(result)}: {outcomes}"


def markdown(result: Result) -> str:
    """Render the job summary: headline, a table with a row per benchmark, and the method."""
    lines = [f"## {headline(result).capitalize()}", "", f"{result.title}, on `{result.hardware}`.", ""]
    lines += ["| benchmark | compared | baseline | current | ratio | time ratio | n | outcome |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    lines += [_row(verdict) for verdict in result.verdicts]
    reasons = [f"- `{v.name}`: {v.reason}{_again(v)}." for v in result.verdicts if v.reason]
    return "\n".join([*lines, "", *reasons, *([""] if reasons else []), _method(result), ""])


def _row(v: Verdict) -> str:
    cells = [
        f"`{v.name.rsplit('::', 1)[-1]}`",
        v.metric.label if v.metric else "",
        _amount(v, v.baseline),
        _amount(v, v.current),
        ratio_text(v.shift),
        ratio_text(v.time),
        str(v.shift.n) if v.shift else "",
        MARKS.get(v.outcome, str(v.outcome)),
    ]
    return f"| {' | '.join(cells)} |"


def _amount(v: Verdict, value: float | None) -> str:
    if value is None or v.metric is None:
        return ""
    factor, letter = prefix(value)
    unit = f"{letter}{'J' if v.metric.name == 'energy' else 's'}/{plain(v.unit)}"
    return f"{number(value / factor)} {unit}"


def _again(v: Verdict) -> str:
    return f" ({ratio_text(v.rerun)})" if v.rerun else ""


def _method(result: Result) -> str:
    judged = [v for v in result.verdicts if v.shift is not None]
    sentences = [DESIGNS[design] for design in dict.fromkeys(v.design for v in judged)]
    limit, alarms = (f"{100 * part:g} %" for part in (result.settings.threshold, result.settings.false_alarms))
    sentences.append(
        "Intervals are 95 %; those of benchmarks measured again are corrected for the number of benchmarks."
    )
    sentences.append(
        f"A regression is an increase whose whole interval exceeds {limit} and which a rerun confirms; at most "
        f"{alarms} of gates report one where there is none."
    )
    kinds = [v.metric.kind for v in judged if v.metric and v.metric.name == "energy"]
    if kinds and combined(kinds) == "estimated":
        sentences.append("Estimated energy comes from a model of time and load; it is not measured.")
    if any(v.metric and v.metric.name == "time" for v in judged):
        sentences.append("Time was compared where not both sides have measured joules.")
    return " ".join([*sentences, *result.notes])


def action_json(result: Result) -> str:
    """Render current joules or seconds per unit for github-action-benchmark's tool `customSmallerIsBetter`.

    Benchmarks without a measurement are left out.
    """
    return json.dumps([_entry(v) for v in result.verdicts if v.current is not None and v.metric], indent=1) + "\n"


def _entry(v: Verdict) -> dict[str, Any]:
    assert v.metric is not None
    entry = {
        "name": f"{v.name} ({v.metric.label})",
        "unit": f"{'J' if v.metric.name == 'energy' else 's'}/{plain(v.unit)}",
        "value": v.current,
        "extra": f"{v.outcome}; ratio {ratio_text(v.shift) or 'unknown'}; {v.reason or 'decided'}",
    }
    if v.shift is not None and v.current is not None and math.isfinite(v.shift.half_width):
        entry["range"] = f"± {number(v.current * v.shift.half_width)}"
    return entry
