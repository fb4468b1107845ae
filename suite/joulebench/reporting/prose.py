"""Sentences of a report: banners, cost of the search, notes on tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from joulebench.presentation.numbers import grams, joules, kilowatt_hours, number, percent, seconds
from joulebench.presentation.wide import WIDE
from joulebench.reporting.summary import Summary
from joulebench.reporting.validity import loss_findings
from joulebench.results.energy import EDGES, RUNS, WINDOWS, Energy
from joulebench.results.findings import Code, Finding
from joulebench.results.idle import DRIFT, IDLE
from joulebench.results.ledger import Check
from joulebench.results.training_flops import COUNTED, TRAIN
from joulebench.spec.task import NARROWED, Protocol
from joulebench.stats.estimate import Spread

BEYOND_SOFTWARE = (
    "Energy read by software excludes the power supply, mainboard, fans and everything else between the chips and "
    "the wall, so a wall meter reads more."
)
#: How far estimates of such models were found to be off.
ERROR_IN_PRINT = (
    "In hundreds of experiments with a power meter beside them, such estimates were off by up to 40 % (R. Fischer, "
    "Ground-Truthing AI Energy Consumption, 2025, arXiv 2509.22092)."
)
#: What an interval holds, by the names that `Energy.variances` has.
_SOURCES_OF_VARIANCE = {
    WINDOWS: "the variation between windows of one run",
    RUNS: "the spread between runs of one configuration",
    EDGES: "what counters leave open at the edges of windows",
    IDLE: "the error of idle power (net values)",
    DRIFT: "the drift of idle power (net values)",
}

#: What estimated sources are, and what their joules can be used for.
_SOURCES = {
    "cpu_load_model": "CodeCarbon's model of the CPU: its TDP scaled by load, no counter is read. The absolute "
    "level is a guess; at similar load, a ranking by it mostly follows time.",
    "tdp_constant": "a constant share of the CPU's TDP × seconds: it follows time only.",
    "ram_model": "constant watts by installed memory × seconds: it follows time only.",
    "replay": "read from a recorded trace, not from this machine.",
}


def interval_note(energies: Iterable[Energy]) -> str:
    """What the 95 % intervals of energies hold, and that they hold nothing of other runs where that is so."""
    held = {source for energy in energies for source in energy.variances}
    if not held:
        return "These values have no interval: each comes from a single run."
    named = [words for source, words in _SOURCES_OF_VARIANCE.items() if source in held]
    listed = ", ".join(named[:-1]) + " and " + named[-1] if len(named) > 1 else named[0]
    text = f"The 95 % intervals of joules hold {listed}."
    if RUNS not in held:
        text += " No configuration was run more than once: another run of it may lie outside of them."
    return f"{text} A value marked “single run” has no interval."


def banners(summary: Summary) -> tuple[Finding, ...]:
    """Warnings at the top of the report, in order."""
    checks = (
        _altered, _busy, _torn, _replay, _untrained, _forced, _estimates, _narrowed, _deviations, _stopped,
        _unfinished,
    )  # fmt: skip
    return tuple(banner for check in checks for banner in check(summary))


def _altered(summary: Summary) -> Iterator[Finding]:
    if points := tuple(f.text for f in summary.run.findings if f.level == "alert"):
        text = (
            "The harness does not write such records, so they were damaged or changed. Do not rely on this report "
            "before each of these is explained:"
        )
        yield Finding("alert", Code.ALTERED, "These records are inconsistent", text, points)


def _busy(summary: Summary) -> Iterator[Finding]:
    """Windows that cost a trial or an idle baseline, and that a busy machine was allowed."""
    if summary.published_busy:
        text = "It was published with --allow-busy, although other work ran on the machine during the run."
        yield Finding("alert", Code.PUBLISHED_BUSY, "Published from a busy machine", text)
    yield from (finding for finding in loss_findings(summary) if finding.level == "alert")


def _torn(summary: Summary) -> Iterator[Finding]:
    if points := [f.text for f in summary.run.findings if f.level == "note"]:
        yield Finding("note", Code.TORN_LINE, "A record is lost", " ".join(points))


def _replay(summary: Summary) -> Iterator[Finding]:
    origin = summary.manifest.replay
    if origin or any(s.source == "replay" for s in summary.ledger.sources):
        text = f"They come from a recorded trace ({origin or 'not named'}) and say nothing about this machine."
        yield Finding("alert", Code.REPLAYED, "These joules are REPLAYED", text)


def _untrained(summary: Summary) -> Iterator[Finding]:
    if summary.task.protocol.skip_train:
        text = (
            "Training was skipped (protocol.skip_train): models were measured and scored as they were built, so "
            "quality is that of their initial weights, and nothing was scored on the test split."
        )
        yield Finding("warning", Code.UNTRAINED, "Untrained models", text)


def _forced(summary: Summary) -> Iterator[Finding]:
    if differs := summary.manifest.hardware_override:
        text = f"Forced by the user: {differs}. Power figures, peaks and fractions of peak are the profile's."
        yield Finding("warning", Code.FORCED_HARDWARE, "The hardware profile is not this machine's", text)


def _estimates(summary: Summary) -> Iterator[Finding]:
    """Whether the run's joules were measured; each estimated source with its share and method."""
    primary = [s for s in summary.ledger.sources if s.role == "primary"]
    estimated = [s for s in primary if s.kind == "estimated"]
    if not primary:
        if summary.ledger.accounts:
            text = "No window of this run has a reading: joules are not measured."
            yield Finding("warning", Code.NO_ENERGY, "No energy was read", text)
        return
    if not estimated:
        if not summary.manifest.replay:
            yield Finding("note", Code.ALL_MEASURED, "All joules were measured", BEYOND_SOFTWARE)
        return
    methods = {(m.get("domain"), m.get("source")): m.get("method", "") for m in summary.manifest.meters}
    points = []
    for source in estimated:
        meaning = _SOURCES.get(source.source) or methods.get((source.domain, source.source)) or "a model."
        share = percent(source.share)
        points.append(f"{source.domain}: {share} of the run's joules, estimated by {source.source}: {meaning}")
    title = f"{'All' if len(estimated) == len(primary) else 'Some'} joules here are estimates"
    text = (
        f"Measured share of the run's joules: {percent(summary.ledger.measured_share)}. A total that mixes kinds "
        f"is an estimate. {BEYOND_SOFTWARE}"
    )
    if any(s.source != "replay" for s in estimated):
        text += f" {ERROR_IN_PRINT}"
    yield Finding("warning", Code.ESTIMATED, title, text, tuple(points))


def _narrowed(summary: Summary) -> Iterator[Finding]:
    if (budget := summary.manifest.budget) in NARROWED:
        text = (
            f"The study was reduced to be {budget}: its results cannot be compared with another budget or with "
            "published studies."
        )
        yield Finding("note", Code.NARROWED, f"Budget: {budget}", text)


def _deviations(summary: Summary) -> Iterator[Finding]:
    if deviations := summary.task.deviations:
        text = "This task departs on purpose from the rules that other tasks keep:"
        yield Finding("note", Code.DEVIATIONS, "Deviations of the task", text, deviations)


def _stopped(summary: Summary) -> Iterator[Finding]:
    """A run that a rule of the task ended: it is complete, with fewer trials than its stages plan."""
    if (why := summary.ledger.stopped) and summary.ledger.ending == "done":
        text = f"The run ended before its stages did: {why}."
        yield Finding("note", Code.STOPPED_EARLY, "Stopped early, by the task's own rule", text)


def _unfinished(summary: Summary) -> Iterator[Finding]:
    ending = summary.ledger.ending
    if ending != "done":
        word = summary.ledger.ending_note or ending
        why = f"it ended with “{word}”" if word else "no end was recorded, so it was killed or is still running"
        text = f"This run is not complete: {why}. The report covers the records so far."
        yield Finding("note", Code.UNFINISHED, "Unfinished run", text)


def search_price(summary: Summary) -> tuple[str, ...]:
    """Cost of the run in two sentences: joules and time; carbon, where a grid intensity is known."""
    cost, ledger = summary.cost, summary.ledger
    if cost.energy_j is None:
        first = f"The run took {seconds(cost.duration_s)}; its energy was not measured."
    else:
        share = percent(ledger.measured_share)
        first = (
            f"The run cost {joules(cost.energy_j)} ({kilowatt_hours(cost.energy_j)}) in {seconds(cost.duration_s)} "
            f"of recorded time; {share} of the joules were measured."
        )
    return first, _carbon(summary)


def _carbon(summary: Summary) -> str:
    cost = summary.cost
    if cost.intensity_g_per_kwh is None:
        return (
            "Carbon is not stated: neither the run (--grid-intensity, --country) nor the hardware profile gives a "
            "grid intensity, and none is assumed."
        )
    intensity = f"{number(cost.intensity_g_per_kwh.value)} g CO2/kWh ({cost.intensity_g_per_kwh.source})"
    pue = f"PUE {number(cost.pue.value)} ({cost.pue.source})" if cost.pue else "no PUE given, so none applied"
    if cost.carbon_g is None:
        return f"Carbon is not stated: there are no joules to multiply by {intensity}."
    return f"Carbon: {grams(cost.carbon_g)} CO2, from the joules above at {intensity}, {pue}."


def spread(summary: Summary) -> tuple[str, ...]:
    """Variation between runs of one configuration, which intervals hold too."""
    return tuple(
        f"Repeated runs of one configuration differed in {name} by {spread_words(known)}."
        for name, known in summary.rsd.items()
    )


def spread_words(known: Spread) -> str:
    """`2 % (relative standard deviation, pooled with 3 degrees of freedom; 95 % interval 1.1 % to 7.5 %)`."""
    low, high = known.interval
    freedom = "1 degree" if known.freedom == 1 else f"{number(known.freedom)} degrees"
    return (
        f"{percent(known.sd)} (relative standard deviation, pooled with {freedom} of freedom; 95 % interval "
        f"{percent(low)} to {percent(high)})"
    )


NOT_COUNTED = "Counts marked ≥ are the least, without operators that have no counting rule"


def counting_note(summary: Summary) -> str:
    """Describe the counting of MACs and FLOPs, and name operators that were not counted."""
    missed = sorted({op for member in summary.members for op in member.costs.unsupported_ops})
    training = _training_note(summary)
    if any(member.costs.phase_flops.keys() - {TRAIN} for member in summary.members):
        without = f" {NOT_COUNTED}: {', '.join(missed)}." if missed else ""
        return f"FLOPs of a phase are those of one unit of its work, two a multiply-accumulate.{without}{training}"
    uncounted = sorted({why for member in summary.members if (why := member.costs.uncounted)})
    unknown = f" {NOT_COUNTED}: {', '.join(missed)}." if missed else ""
    unknown += f" Absent where nothing could be counted: {'; '.join(uncounted)}." if uncounted else ""
    return (
        "Counted for one sample's forward pass, by fvcore where the kernels that run confirm it, else by these: a "
        "fused multiply-add of a convolution, matrix product or recurrent layer is one MAC; FLOPs are twice the "
        "MACs plus the arithmetic of norms, adaptive pooling and interpolation; elementwise work is left out."
        f"{unknown}{training}"
    )


def _training_note(summary: Summary) -> str:
    """How FLOPs of training are counted, and why some are absent; empty where neither is known."""
    trained = [member.training for member in summary.members if member.training is not None]
    missed = sorted({op for each in trained for op in each.missed})
    failed = sorted({why for member in summary.members if (why := member.costs.train_uncounted)})
    note = f" FLOPs of training: {COUNTED[0].lower()}{COUNTED[1:]}." if trained else ""
    if any(each.of_forward is not None and each.of_forward < 3 for each in trained):
        note += " They are less than 3 × forward where a layer needs no gradient of its input, as the first."
    note += f" Those marked ≥ lack {', '.join(missed)}." if missed else ""
    note += f" FLOPs of training are absent where they cannot be counted: {'; '.join(failed)}." if failed else ""
    return note


def check_sentences(summary: Summary) -> tuple[str, ...]:
    """Readings of each check meter against the primary one's over the same windows."""
    return tuple(
        model_error(summary, c)
        if c.is_model
        else f"Check on {c.domain}: {c.source} read {joules(c.check_j)} where the primary meter read "
        f"{joules(c.primary_j)} ({number(100 * c.rel_difference, 3)} %)."
        for c in summary.ledger.checks
    )


def model_error(summary: Summary, check: Check) -> str:
    """Error of a model that ran beside a meter, with the CPU that it is of."""
    cpu = summary.manifest.environment.get("host", {}).get("cpu")
    name = f" ({cpu})" if cpu and check.domain == "cpu" else ""
    return (
        f"Over the same windows the model {check.source} estimated {joules(check.check_j)} for "
        f"{check.domain}{name} where {joules(check.primary_j)} were measured: an error of "
        f"{number(100 * check.rel_difference, 3)} %. The estimate is in no result."
    )


def wide_note(protocol: Protocol) -> str:
    """The meaning of the flag on a wide interval."""
    return (
        f"“{WIDE}” marks a 95 % interval whose half-width is above the protocol's target of "
        f"{percent(protocol.target_rel_ci)} of the mean."
    )
