"""Report section on the hardware's conditions: utilisation by phase, quality by training energy, power. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from joulebench.presentation.axis import Axis
from joulebench.presentation.correlations import HOW, coefficient
from joulebench.presentation.numbers import ABSENT, number, octets, percent, watts
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import Exact
from joulebench.presentation.section import Section
from joulebench.presentation.series import value_axis
from joulebench.presentation.table import MAX_ROWS, Cell, Column, Table, label, least, of_all
from joulebench.presentation.units import plain
from joulebench.presentation.words import domains, plural
from joulebench.results.phase_runs import PhaseRuns, TrainingRuns
from joulebench.results.power_curve import has_load_model
from joulebench.results.run import Run
from joulebench.studies.base import Study
from joulebench.studies.utilisation.analysis import TRAIN, Span, Subject, Utilisation, utilisation

#: Conditions shown, by their name: title and words.
CONDITIONS: dict[str, tuple[str, Callable[[float], str]]] = {
    "gpu_utilisation": ("GPU utilisation (SMs)", percent),
    "gpu_memory_utilisation": ("GPU memory utilisation", percent),
    "cpu_utilisation": ("CPU utilisation", percent),
    "gpu_sm_clock_mhz": ("SM clock", lambda v: f"{number(v)} MHz"),
    "gpu_memory_clock_mhz": ("GPU memory clock", lambda v: f"{number(v)} MHz"),
    "gpu_temperature_c": ("GPU temperature", lambda v: f"{number(v, 3)} °C"),
    "gpu_power_limit_w": ("GPU power limit", watts),
    "gpu_memory_used_bytes": ("GPU memory used", lambda v: octets(round(v))),
    "memory_used_bytes": ("Host memory used", lambda v: octets(round(v))),
}
#: What the windows of a trial are drawn as; all others are "other".
PHASES = {"train": "training", "validate": "validation", "idle": "idle", "warmup": "warm-up"}
OTHER = "other"


class UtilisationStudy(Study[Utilisation]):
    """Utilisation, clocks, temperature and memory of the hardware; energy by epoch; power over a trial."""

    name = "utilisation"

    def fits(self, run: Run) -> bool:
        """Where a GPU's utilisation was recorded: that of a CPU hardly varies."""
        return run.device == "gpu"

    def analyse(self, run: Run) -> Utilisation | None:
        return utilisation(run)

    def section(self, result: Utilisation, run: Run) -> Section:
        return Section(
            name="utilisation",
            title="Hardware utilisation",
            answer=_answer(result),
            sentences=_sentences(result),
            plots=tuple(p for p in (_epochs_plot(result), _power_plot(result)) if p.drawn),
            tables=(_table(result),),
            rows=tuple(_row(result, s, phase) for s in result.subjects for phase in s.phases),
        )


def _answer(result: Utilisation) -> str:
    """Range of utilisation in each phase and its correlation with energy."""
    parts = []
    for phase in result.phases:
        known = result.of(phase)
        if not known:
            continue
        shares = [share for _, share in known]
        ends = " to ".join(dict.fromkeys((percent(min(shares)), percent(max(shares)))))
        energy = "energy" if phase == TRAIN else f"energy per {plain(_unit(known[0][0]))}"
        found = result.with_energy(phase)
        tells = "no correlation with energy is defined" if found is None else f"with {energy} {coefficient(found)}"
        parts.append(f"{_phase(phase)} {ends} ({tells}; n = {len(known)})")
    if not parts:
        return f"The {result.run.device.upper()} utilisation was not recorded ({result.kind} energy)."
    return f"Mean {result.run.device.upper()} utilisation by phase: {'; '.join(parts)} ({result.kind} energy)."


def _unit(runs: PhaseRuns | TrainingRuns) -> str:
    return runs.unit if isinstance(runs, PhaseRuns) else "training"


def _phase(phase: str) -> str:
    return PHASES.get(phase, phase) if phase == TRAIN else plain(phase)


def _sentences(result: Utilisation) -> tuple[str, ...]:
    gpu = (
        "GPU utilisation is NVML's: the share of its sample periods in which a kernel ran, or memory was read or "
        "written; it does not say how many of the SMs worked. Several GPUs are averaged."
    )
    load = (
        "Estimated CPU watts are computed from the CPU utilisation, so their correlation, and CPU utilisation per "
        "watt, are by construction."
    )
    parts = (
        "Conditions are means over the windows that count, weighted by their duration; CPU utilisation is that of "
        "all CPUs by the kernel's ticks of 10 ms, whose rounding may exceed 100 %.",
        gpu if result.run.device == "gpu" else None,
        load if has_load_model(result.run) else None,
        HOW,
    )
    return tuple(filter(None, parts))


def _table(result: Utilisation) -> Table:
    """Conditions of each configuration shown, by phase; those that no configuration has are left out."""
    every = [(s, phase, runs) for s in result.shown for phase, runs in s.phases.items()]
    rows = [every[i] for i in least([float(i) for i in range(len(every))], MAX_ROWS)]
    known = [n for n in CONDITIONS if any(n in runs.conditions for _, _, runs in rows)]
    titles = ("Configuration", "Phase", *(CONDITIONS[n][0] for n in known), "Mean power", "Utilisation per watt")
    cells = tuple(
        (
            Cell(_label(result, s)),
            Cell(_phase(phase)),
            *(Cell(CONDITIONS[n][1](runs.conditions[n]) if n in runs.conditions else ABSENT) for n in known),
            Cell(watts(runs.power_w), (runs.gross.kind,)),
            Cell(ABSENT if (per_w := runs.utilisation_per_w(result.run.device)) is None else f"{percent(per_w)}/W"),
        )
        for s, phase, runs in rows
    )
    which = "Default and frontier" if len(result.shown) < len(result.subjects) else "Configurations"
    caption = f"{which} by phase ({result.kind} power){of_all(len(rows), len(every), 'first')}"
    return Table(caption, tuple(Column(t, numeric=i >= 2) for i, t in enumerate(titles)), cells)


def _label(result: Utilisation, subject: Subject) -> str:
    text = label(subject.params, result.run.varied)
    return f"{text} (default)" if subject.configuration.default else text


def _epochs_plot(result: Utilisation) -> Plot:
    """Quality after each epoch against the joules of training until then."""
    joules = [e for c in result.curves for e in c.energy_j]
    kinds = f"gross, {result.kind}, validation left out"
    x = value_axis(joules, "J", lambda u: f"training energy so far, {u}", detail=kinds)
    y = Axis(None, result.metric or "")
    series = tuple(
        Series(
            f"{label(c.trial.params, result.run.varied)} (trial {c.trial.trial})",
            tuple(e / x.factor for e in c.energy_j), c.values, line=True, marked=len(c.values) == 1,
        )
        for c in result.curves
    )  # fmt: skip
    alt = f"{result.metric} after each epoch against training energy, of {plural(len(series), 'training')}."
    which = of_all(len(series), len(result.shown), "first")
    caption = f"{result.metric} by epoch against training energy, first training of each configuration{which}"
    return Plot("utilisation-epochs", caption, alt, x, y, series)


def _power_plot(result: Utilisation) -> Plot:
    """Power over the seconds of one trial as a step line, each span marked by its phase."""
    spans, trial = result.trace, result.traced
    what = "" if trial is None else f"trial {trial.trial} ({label(trial.params, result.run.varied)})"
    detail = f"gross, {result.kind}, {domains(result.domains)}"
    x, y = Axis(None, "time since the trial began, s"), Axis(None, "mean power, W", detail=detail)
    steps: tuple[Series, ...] = ()
    if spans:
        at, power = [s.start_s for s in spans], [s.power_w for s in spans]
        line = Series("power", (*at, spans[-1].end_s), (*power, power[-1]), line="hv", role="quiet", marked=False)
        steps = (replace(line, named=False), *_marks(result, spans))
    alt = (
        f"Mean power over the seconds of {what}, window by window; phases: {', '.join(s.name for s in steps[1:])}."
    )
    return Plot("utilisation-power", f"Power over {what}", alt, x, y, steps)


def _marks(result: Utilisation, spans: tuple[Span, ...]) -> tuple[Series, ...]:
    """One series of points per phase, in the middle of its spans."""
    named = {**{p: plain(p) for p in result.phases}, **PHASES}
    by_phase: dict[str, list[Span]] = {}
    for span in spans:
        by_phase.setdefault(named.get(span.phase, OTHER), []).append(span)
    return tuple(
        Series(name, tuple((s.start_s + s.end_s) / 2 for s in own), tuple(s.power_w for s in own))
        for name, own in by_phase.items()
    )


def _row(result: Utilisation, subject: Subject, phase: str) -> dict[str, object]:
    runs, device = subject.phases[phase], result.run.device
    recorded = {n for s in result.subjects for r in s.phases.values() for n in r.conditions}
    curves = (c.trial.trial for c in result.curves if phase == TRAIN and c.trial.trial in subject.trials)
    curve = next(curves, None)
    return {
        "trials": subject.trials,
        **{f"param_{name}": Exact(value) for name, value in subject.params.items()},
        "phase": phase,
        **{name: runs.conditions.get(name) for name in CONDITIONS if name in recorded},
        "power_w": runs.power_w,
        f"{device}_utilisation_per_w": runs.utilisation_per_w(device),
        "kind": runs.gross.kind,
        **({} if curve is None else {"curve_trial": curve}),
    }
