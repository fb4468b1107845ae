"""The report's section on training against inference: quality and energy by model, totals by volume. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from joulebench.presentation.axis import Axis
from joulebench.presentation.correlations import HOW
from joulebench.presentation.numbers import number, percent, si
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import estimates, value_axis
from joulebench.presentation.table import Cell, Table
from joulebench.presentation.units import plain
from joulebench.presentation.words import domains, kind, left_out, plural
from joulebench.records.model import combined
from joulebench.results.power_curve import has_load_model
from joulebench.results.reference_frontier import ReferenceFrontier, read_reference
from joulebench.results.run import Run
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate
from joulebench.studies.base import NEEDS_ENERGY, Study
from joulebench.studies.training_inference.analysis import (
    Architecture,
    Choice,
    TrainingInference,
    training_inference,
)
from joulebench.studies.training_inference.dominance import dominance
from joulebench.studies.training_inference.figures import MAX_SERIES, totals_plot
from joulebench.studies.training_inference.tables import (
    architectures_table,
    correlations_table,
    demand,
    intervals_table,
    volumes_table,
)

#: Least distance from the best quality of the headline's demand.
HEADLINE_SHORTFALL = 0.05
UTILISATION = ("utilisation", "utilisation_per_w")


class TrainingInferenceStudy(Study[TrainingInference]):
    """Training against inference: which model costs least in all at which volume of use."""

    name = "training_inference"

    def needs(self, task: Task) -> str | None:
        return NEEDS_ENERGY if task.measured is None else None

    def analyse(self, run: Run) -> TrainingInference | None:
        return training_inference(run)

    def section(self, result: TrainingInference, run: Run) -> Section:
        overlay = read_reference(run, result.quality)
        plots = (*_quality_plots(result, overlay), _volume_plot(result))
        return Section(
            name="training_inference",
            title="Training against inference",
            answer=_answer(result),
            sentences=_sentences(result, overlay),
            plots=tuple(p for p in plots if p is not None and p.drawn),
            tables=(
                architectures_table(result),
                *(volumes_table(result, basis) for basis in result.choices),
                correlations_table(result),
                intervals_table(result),
                *_differences(overlay),
            ),
            rows=tuple(_row(result, a) for a in result.architectures),
        )


def _answer(costs: TrainingInference) -> str:
    """The range of inference energies and the models of least total energy by volume, in one sentence."""
    n, first, last = len(costs.architectures), costs.architectures[0], costs.architectures[-1]
    ends = [f"{si(a.inference.gross.mean, 'J')} ({a.name})" for a in ((first, last) if n > 1 else (first,))]
    text = f"Over {plural(n, 'architecture')} inference takes {' to '.join(ends)} per {plain(costs.unit)} gross"
    choice = _headline_choice(costs)
    if choice is not None:
        text += f"; {_least_by_volume(costs, choice)}"
    return f"{text}; n = {n} ({costs.kind} energy)."


def _headline_choice(costs: TrainingInference) -> Choice | None:
    """The strictest demand on quality, from `HEADLINE_SHORTFALL` on, that several models meet, else one."""
    choices = [c for c in costs.choices.get(costs.basis, ()) if c.segments]
    wide = [c for c in choices if c.shortfall is None or c.shortfall >= HEADLINE_SHORTFALL]
    several = [c for c in wide if len(c.candidates) > 1]
    return min(several or wide, key=lambda c: c.shortfall or 1.0, default=None)


def _least_by_volume(costs: TrainingInference, choice: Choice) -> str:
    """`of the 4 with val_accuracy ≥ 0.87, a has the least total energy (net), from 1 200 samples (95 % …) on b`."""
    first, *later = choice.segments
    if len(choice.candidates) == 1:
        return f"only {first.name} has {demand(costs, choice)}"
    text = (
        f"of the {len(choice.candidates)} with {demand(costs, choice)}, {first.name} has the least energy of "
        f"training and inference ({costs.basis})"
    )
    if not later:
        return f"{text} at any volume"
    for segment in later:
        crossed = segment.crossover
        assert crossed is not None
        ends = ""
        if crossed.low is not None:
            high = "no upper end" if crossed.high is None else number(crossed.high, 3)
            ends = f" (95 % interval {number(crossed.low, 3)} to {high})"
        text += f", from {number(segment.from_units, 3)} {plain(costs.unit)}s{ends} on {segment.name}"
    return text


def _sentences(costs: TrainingInference, overlay: ReferenceFrontier | None) -> tuple[str, ...]:
    """Definition of the energies, limits of the totals, the overlay, and trials without a value."""
    trained = [(a.name, a.train) for a in costs.architectures if a.train is not None]
    once = (
        "A model trained once has no interval on its training: another seed would give another quality and E_tr. "
        "Intervals of volumes are then those of inference alone."
    )
    names = ", ".join(name for name, train in trained if train.cut_short)
    cut = (
        f"The time limit ended training early for {names}: their quality and E_tr are those of a shorter training, "
        "so they are left out of volumes and of correlations with training."
    )
    estimated = (
        "Estimated energy follows time by construction (a model of load and constants gives the watts), so its "
        "correlation with time is no finding; other correlations show how well a quantity predicts time on this "
        "machine."
    )
    busy = "the GPU" if costs.run.device == "gpu" else "all CPUs"
    utilisation = (
        f"Utilisation is the mean share of time that {busy} worked in {costs.phase}, and per watt it is divided by "
        f"the mean power there ({costs.kind})"
    )
    if costs.run.device == "cpu" and has_load_model(costs.run):
        utilisation += "; estimated CPU watts are computed from that same utilisation"
    parts = (
        f"Energy is over {domains(costs.domains)} and {kind(costs.kind)}. E_tr is that of all epochs of one "
        f"training, without validation; E_in that of one {plain(costs.unit)} of {costs.phase}. Net is gross less "
        "idle power times time.",
        _net(costs),
        once if any(len(train.runs) == 1 for _, train in trained) else None,
        cut if names else None,
        *_overlay(costs, overlay),
        None if costs.kind == "measured" else estimated,
        f"{utilisation}." if costs.records_utilisation else None,
        HOW,
        left_out(costs.lost, costs.trials),
    )
    return tuple(part for part in parts if part)


def _net(costs: TrainingInference) -> str:
    """Whether volumes are net and gross, gross only, or not given."""
    if "net" in costs.choices:
        text = "Volumes are given with net energy (gross less idle) and with gross energy"
        if costs.kind == "estimated":
            text += "; estimated net energy is the load model's difference between idle and load, not measured"
        return f"{text}."
    if not costs.choices:
        return "No volumes are given: no model has both a training and an inference energy above 0."
    return (
        "Volumes are given gross only: some net energy is not known or not above 0 (no quiet idle, or an estimate "
        "that hardly differs between idle and load)."
    )


def _overlay(costs: TrainingInference, overlay: ReferenceFrontier | None) -> tuple[str, ...]:
    """Which search's frontier is in the figure and how it compares, or why there is none."""
    if overlay is None or overlay.problem:
        why = overlay.problem if overlay else "none was given with --overlay"
        return (f"No frontier of a search is shown with these architectures: {why}.",)
    size = f"{plural(len(overlay.points), 'model')}, gross, {_kind_of(overlay)}"
    text = f"The frontier of {overlay.name} ({size}) is in the first figure"
    if overlay.differs:
        text += f"; it differs in {plural(len(overlay.differs), 'fact')}, listed in the last table"
    if overlay.unlike:
        text += (
            ". From two unlike experiments nothing is claimed: known_models trains and measures known and found "
            "models in one"
        )
    result = dominance(costs, overlay)
    if result is None:
        return (f"{text}.",)
    verdict = "improves" if result.both_volume > result.known_volume else "does not improve"
    gain = "" if result.gain is None else f", {percent(result.gain)} more than the known models alone"
    return (
        f"{text}.",
        f"The search {verdict} on these models in {costs.quality} and energy: its frontier dominates "
        f"{result.dominated} of {result.known} known models ({result.clearly} with intervals of energy that do not "
        f"overlap; quality by its mean), and known models dominate {result.beaten} of its "
        f"{plural(len(overlay.points), 'member')}. Hypervolume ({costs.quality} above {number(result.floor)} × "
        f"{plain(costs.unit)}s/J, gross): known models {number(result.known_volume)}, frontier "
        f"{number(result.frontier_volume)}, both {number(result.both_volume)}{gain}.",
    )


def _differences(overlay: ReferenceFrontier | None) -> tuple[Table, ...]:
    """How the search differs from this run, one fact a line."""
    if overlay is None or not overlay.differs:
        return ()
    rows = [(Cell(d.what), Cell(d.there), Cell(d.here)) for d in overlay.differs]
    titles = ("What", f"The search ({overlay.name})", "This run")
    return (Table.of("Differences between the search and this run", titles, rows, text=3),)


def _kind_of(overlay: ReferenceFrontier) -> str:
    return combined(p.j_per_unit.kind for p in overlay.points)


def _quality_plots(costs: TrainingInference, overlay: ReferenceFrontier | None) -> tuple[Plot, ...]:
    """Quality against inference energy, with the overlay, and against training energy."""
    judged = [a for a in costs.architectures if a.quality is not None]
    if not judged or costs.quality is None:
        return ()
    per, basis = plain(costs.unit), f"gross, {costs.kind}, {domains(costs.domains)}"
    points = overlay.points if overlay else ()
    inference = value_axis(
        [*(a.inference.gross.mean for a in judged), *(p.j_per_unit.mean for p in points)],
        "J", lambda u: f"{costs.phase} energy, {u}/{per}", detail=basis,
    )  # fmt: skip
    trained = [a for a in judged if a.train is not None]
    training = value_axis(
        [a.train.gross.mean for a in trained if a.train], "J", lambda u: f"training energy, {u}", detail=basis
    )
    y = Axis(None, costs.quality)
    series = _overlay_series(overlay, inference, y)
    return (
        _quality_plot(costs, "inference", judged, lambda a: a.inference.gross, inference, y, series),
        _quality_plot(costs, "training", trained, lambda a: a.train.gross if a.train else None, training, y, ()),
    )


def _quality_plot(
    costs: TrainingInference,
    what: str,
    shown: list[Architecture],
    read: Callable[[Architecture], Estimate | None],
    x: Axis,
    y: Axis,
    over: tuple[Series, ...],
) -> Plot:
    known = sorted(((v.mean / x.factor, a) for a in shown if (v := read(a)) is not None), key=lambda pair: pair[0])
    order = ", ".join(a.name for _, a in known)
    drawn = estimates("architectures", [at for at, _ in known], [a.quality for _, a in known], y)
    series = (replace(drawn, labels=tuple(a.name for _, a in known)),)
    alt = f"{costs.quality} against {what} energy; from least to most energy: {order}."
    caption = f"{costs.quality} against {what} energy; from left to right: {order}"
    return Plot(f"training_inference-{what}", caption, alt, x, y, (*series, *over))


def _overlay_series(overlay: ReferenceFrontier | None, x: Axis, y: Axis) -> tuple[Series, ...]:
    if overlay is None or not overlay.points:
        return ()
    places = [p.j_per_unit.mean / x.factor for p in overlay.points]
    drawn = estimates(
        f"frontier of {overlay.name} ({_kind_of(overlay)})", places, [p.quality for p in overlay.points], y
    )
    return (replace(drawn, line=True),)


def _volume_plot(costs: TrainingInference) -> Plot | None:
    """Total energy against the volume of inference: of all models, or of those cheapest somewhere where all are
    more than `MAX_SERIES`."""
    choices = costs.choices.get(costs.basis, ())
    if not choices:
        return None
    segments = [s for c in choices for s in c.segments]
    names = list(dict.fromkeys(s.name for s in segments))[:MAX_SERIES]
    every = [total for a in costs.architectures if (total := a.total_cost(costs.basis)) is not None]
    totals = every if len(every) <= MAX_SERIES else [total for total in every if total.name in names]
    volumes = [s.from_units for s in segments if s.from_units > 0]
    volumes = volumes or [total.fixed.mean / total.per_unit.mean for total in totals]
    return totals_plot(
        "training_inference-volume",
        "Energy of training and inference by volume",
        "E_tr + N · E_in",
        totals,
        volumes,
        costs.unit,
        f"{costs.basis}, {costs.kind}",
    )


def _row(costs: TrainingInference, a: Architecture) -> dict[str, object]:
    train, unit, flops = a.train, costs.unit, a.train_flops
    return {
        "architecture": a.name,
        "trials": a.trials,
        **{f"param_{name}": Exact(value) for name, value in a.params.items()},
        "parameters": a.parameters,
        "macs": a.macs,
        "macs_per_parameter": a.macs_per_parameter,
        "activations": a.metric("activations"),
        "bytes_moved": a.metric("bytes_moved"),
        **{name: a.quantities.get(name) for name in UTILISATION if costs.records_utilisation},
        **estimate_cells(costs.quality or "quality", a.quality),
        "epochs": None if train is None else max(train.epochs),
        "train_samples": None if train is None else sum(train.units) // len(train.units),
        **({"train_flops": flops.mean, "train_flops_at_least": bool(flops.missed)} if flops else {}),
        **estimate_cells("train_s", None if train is None else train.seconds),
        **estimate_cells("train_j_gross", None if train is None else train.gross),
        **estimate_cells("train_j_net", None if train is None else train.net),
        **estimate_cells(f"s_per_{unit}", a.inference.unit_s),
        **estimate_cells(f"j_per_{unit}_gross", a.inference.gross),
        **estimate_cells(f"j_per_{unit}_net", a.inference.net),
        "kind": a.inference.kind,
    }
