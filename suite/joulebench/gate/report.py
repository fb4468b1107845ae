"""Report of the energy gate: Markdown, and JSON for github-action-benchmark. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

from joulebench.gate.decision import compared, fails
from joulebench.gate.statistics import ratio_text
from joulebench.gate.verdict import Outcome, Verdict
from joulebench.gate.workflow import Result
from joulebench.presentation.numbers import number, prefix, sparkline
from joulebench.presentation.units import plain
from joulebench.records.model import combined
from joulebench.stats.paired_ratio import Shift, pseudo_median

DESIGNS = {
    "paired": "Both commits were measured in one session: pairs of processes, both alive, their windows in turn by "
    "a coin. Intervals of the typical ratio are of a randomisation test over pairs, those of totals Student's t; "
    "they hold for all looks together.",
    "sessions": "The baseline is stored; intervals are Student's t over sessions and include their spread.",
}
MARKS = {Outcome.REGRESSED: "**regressed**", Outcome.UNMEASURED: "**unmeasured**"}
#: Outcomes of benchmarks that were judged and are not worse.
DECIDED = frozenset({Outcome.PASSED, Outcome.IMPROVED})


def status(result: Result) -> str:
    """Return `failed`; `passed` if every common benchmark was judged and none is worse; else `undecided`."""
    if fails(result.verdicts, result.settings):
        return "failed"
    outcomes = [v.outcome for v in result.verdicts if compared(v)]
    return "passed" if outcomes and DECIDED.issuperset(outcomes) else "undecided"


def headline(result: Result) -> str:
    """Summarise the result in one line: status, and the number of benchmarks per outcome."""
    counts = [(o, n) for o in Outcome if (n := sum(v.outcome is o for v in result.verdicts))]
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in counts) or "no benchmarks"
    return f"energy gate {status(result)}: {outcomes}"


def markdown(result: Result) -> str:
    """Render the job summary: headline, a table with a row per benchmark, reasons, and the method."""
    lines = [f"## {headline(result).capitalize()}", "", f"{result.title}, on `{result.hardware}`.", ""]
    lines += [
        "| benchmark | compared | baseline | current | typical ratio | ratio of totals | beside | n | outcome |"
    ]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | --- | ---: | --- |"]
    lines += [_row(verdict) for verdict in result.verdicts]
    reasons = [
        f"- `{v.name}`: {'; '.join(_reasons(v, result.pair_s))}." for v in result.verdicts if _reasons(v, None)
    ]
    drift = _drift(result)
    return "\n".join([*lines, "", *reasons, *([""] if reasons else []), *drift, _method(result), ""])


def _row(v: Verdict) -> str:
    cells = [
        f"`{v.name.rsplit('::', 1)[-1]}`",
        v.metric.label if v.metric else "",
        _amount(v, v.baseline),
        _amount(v, v.current),
        ratio_text(v.shift),
        ratio_text(v.total),
        "; ".join(f"{metric.label} {ratio_text(shift)}" for metric, shift in v.beside),
        str(v.shift.n) if v.shift else "",
        MARKS.get(v.outcome, str(v.outcome)),
    ]
    return f"| {' | '.join(cells)} |"


def _drift(result: Result) -> list[str]:
    """Chart of the baseline's sessions and of what was measured now; nothing where there are fewer than two."""
    shown = [v for v in result.verdicts if len(v.sessions) > 1 and v.current]
    if not shown:
        return []
    lines = [
        "Cost per unit in each session of the baseline, oldest first, and now. Bars go from the lowest to the "
        "highest of their row; percentages are against the baseline's typical session.",
        "",
        "| benchmark | sessions | now | lowest session | highest session | now |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for v in shown:
        assert v.current is not None
        values, centre = [*v.sessions, math.log(v.current)], pseudo_median(v.sessions)
        bars = sparkline(values)
        changes = [_percent(value - centre) for value in (min(v.sessions), max(v.sessions), values[-1])]
        lines.append(f"| `{v.name.rsplit('::', 1)[-1]}` | {bars[:-1]} | {bars[-1]} | {' | '.join(changes)} |")
    return [*lines, ""]


def _percent(log: float) -> str:
    return f"{100 * math.expm1(log):+.2g} %".replace("-", "−")


def _amount(v: Verdict, value: float | None) -> str:
    if value is None or v.metric is None:
        return ""
    factor, letter = prefix(value)
    return f"{number(value / factor)} {letter}{v.metric.symbol}/{plain(v.unit)}"


def _reasons(v: Verdict, pair_s: float | None) -> list[str]:
    """Why it is what it is, what could have been seen, what more would cost, and which quantity disagrees."""
    reasons = [f"{v.reason} ({ratio_text(v.rerun)})" if v.rerun else v.reason] if v.reason else []
    if v.visible is not None:
        reasons.append(f"an increase below {100 * math.expm1(v.visible):.2g} % could not have been called one")
    if v.outcome is Outcome.UNDECIDED and (v.visible is not None or v.needed is not None):
        reasons.append(_cost(v, pair_s))
    reasons += [f"{m.label} disagrees" for m, shift in v.beside if v.shift is not None and _apart(v.shift, shift)]
    return reasons


def _cost(v: Verdict, pair_s: float | None) -> str:
    what = "pairs" if v.design == "paired" else "baseline sessions"
    if v.needed is None:
        return f"no feasible number of {what} would decide"
    text = f"about {v.needed} {what} would decide"
    if pair_s is None or v.shift is None:
        return text
    return f"{text}, {number(pair_s * (v.needed - v.shift.n) / 60, 2)} minutes more"


def _apart(one: Shift, other: Shift) -> bool:
    return one.low > other.high or other.low > one.high


def _method(result: Result) -> str:
    judged = [v for v in result.verdicts if v.shift is not None]
    sentences = [DESIGNS[design] for design in dict.fromkeys(v.design for v in judged)]
    limit, alarms = (f"{100 * part:g} %" for part in (result.settings.threshold, result.settings.false_alarms))
    sentences.append(
        f"Intervals are 95 %. Regressed: the whole interval exceeds {limit}, and a rerun says so too; at most "
        f"{alarms} of gates of unchanged code report one. Passed: the intervals of both ratios lie below {limit}."
    )
    kinds = [v.metric.kind for v in judged if v.metric and v.metric.name == "energy"]
    if kinds and combined(kinds) == "estimated":
        sentences.append("Estimated energy comes from a model of time and load; it is not measured.")
    if any(v.metric and v.metric.name != "energy" for v in judged):
        sentences.append("Processor time, or time, was compared where not both sides have measured joules.")
    return " ".join([*sentences, *result.notes])


#: Colour of a badge by status.
COLOURS = {"passed": "brightgreen", "undecided": "lightgrey", "failed": "red"}


def badge_json(result: Result) -> str:
    """Render the status for a badge of shields.io's endpoint (https://shields.io/badges/endpoint-badge)."""
    word = status(result)
    return (
        json.dumps({"schemaVersion": 1, "label": "energy gate", "message": word, "color": COLOURS[word]}, indent=1)
        + "\n"
    )


def action_json(result: Result) -> str:
    """Render current joules or seconds per unit for github-action-benchmark's tool `customSmallerIsBetter`.

    Benchmarks without a measurement are left out.
    """
    return json.dumps([_entry(v) for v in result.verdicts if v.current is not None and v.metric], indent=1) + "\n"


def _entry(v: Verdict) -> dict[str, Any]:
    assert v.metric is not None
    entry = {
        "name": f"{v.name} ({v.metric.label})",
        "unit": f"{v.metric.symbol}/{plain(v.unit)}",
        "value": v.current,
        "extra": f"{v.outcome}; ratio {ratio_text(v.shift) or 'unknown'}; {v.reason or 'decided'}",
    }
    if v.shift is not None and v.current is not None and math.isfinite(v.shift.half_width):
        entry["range"] = f"± {number(v.current * v.shift.half_width)}"
    return entry
