"""The report's section on training against inference: energy and quality by model, totals by volume. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from joulebench.presentation.axis import Axis
from joulebench.presentation.correlations import HOW
from joulebench.presentation.numbers import number, si
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import estimates, value_axis
from joulebench.presentation.units import plain
from joulebench.records.model import combined
from joulebench.results.reference_frontier import OPTION, ReferenceFrontier, read_reference
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
from joulebench.studies.training_inference.reference_frontier import against_known
from joulebench.studies.training_inference.tables import (
    architectures_table,
    correlations_table,
    demand,
    intervals_table,
    volumes_table,
)

#: More architectures than this would share colours and symbols.
MAX_SERIES = 6
CURVE_POINTS = 13
#: The headline's models are within this much of the best quality.
TOLD_SHORTFALL = 0.05
#: Volumes are drawn from this share of the first crossover to this multiple of the last.
MARGIN = 30.0


class TrainingInferenceStudy(Study[TrainingInference]):
    """Training against inference: which model costs least in all at which volume of use."""

    name = "training_inference"

    def needs(self, task: Task) -> str | None:
        return NEEDS_ENERGY if task.measured is None else None

    def analyse(self, run: Run) -> TrainingInference | None:
        return training_inference(run)

    def section(self, result: TrainingInference, run: Run) -> Section:
        return training_inference_section(result, read_reference(run, result.quality))


def training_inference_section(costs: TrainingInference, overlay: ReferenceFrontier | None = None) -> Section:
    """Everything the report says of it."""
    return Section(
        name="training_inference",
        title="Training against inference",
        answer=answer(costs),
        verdict=None,
        sentences=sentences(costs, overlay),
        plots=tuple(p for p in (*_quality_plots(costs, overlay), _volume_plot(costs)) if p is not None and p.drawn),
        tables=(
            architectures_table(costs),
            *(volumes_table(costs, basis) for basis in costs.choices),
            correlations_table(costs),
            intervals_table(costs),
        ),
        rows=tuple(_row(costs, a) for a in costs.architectures),
    )


def answer(costs: TrainingInference) -> str:
    """The range of energies and the cheapest models by volume, in one sentence."""
    least, most = costs.architectures[0], costs.architectures[-1]
    n, per = len(costs.architectures), plain(costs.unit)
    ends = [f"{si(a.inference.gross.mean, 'J')} ({a.name})" for a in ((least, most) if n > 1 else (least,))]
    noun = "architecture" if n == 1 else "architectures"
    text = f"Over {n} {noun} inference takes {' to '.join(ends)} per {per} gross"
    choice = _told(costs)
    if choice is not None:
        text += f"; {_cheapest(costs, choice)}"
    return f"{text}; n = {n} ({costs.kind} energy)."


def _told(costs: TrainingInference) -> Choice | None:
    """The choice a headline is about: the most demanding one, from `TOLD_SHORTFALL` on, that leaves a choice."""
    choices = [c for c in costs.choices.get(costs.basis, ()) if c.stretches]
    wide = [c for c in choices if c.shortfall is None or c.shortfall >= TOLD_SHORTFALL]
    several = [c for c in wide if len(c.candidates) > 1]
    return min(several or wide, key=lambda c: c.shortfall or 1.0, default=None)


def _cheapest(costs: TrainingInference, choice: Choice) -> str:
    """`of the 4 with val_accuracy ≥ 0.87, a costs least with its training up to 1 200 samples, then b (95 % …)`."""
    first, *later = choice.stretches
    if len(choice.candidates) == 1:
        return f"only {first.name} has {demand(costs, choice)}"
    of = f"of the {len(choice.candidates)} with {demand(costs, choice)}"
    text = f"{of} {first.name} costs least with its training ({costs.basis})"
    if not later:
        return f"{text} at any volume"
    for stretch in later:
        crossed = stretch.crossover
        assert crossed is not None
        ends = ""
        if crossed.low is not None:
            high = "no upper end" if crossed.high is None else number(crossed.high, 3)
            ends = f" (95 % interval {number(crossed.low, 3)} to {high})"
        text += f", from {number(stretch.from_units, 3)} {plain(costs.unit)}s{ends} on {stretch.name}"
    return text


def sentences(costs: TrainingInference, overlay: ReferenceFrontier | None) -> tuple[str, ...]:
    """What the joules are, what a total holds, what is not known, and what else is in the figures."""
    parts = (
        _basis(costs),
        _net(costs),
        _once(costs),
        _cut(costs),
        *_overlay(costs, overlay),
        _time(costs),
        HOW,
        _lost(costs),
    )
    return tuple(part for part in parts if part)


def _basis(costs: TrainingInference) -> str:
    kind = "measured" if costs.kind == "measured" else "estimated, at least in part"
    return (
        f"Energy is over {' + '.join(costs.domains)} and {kind}. E_tr is that of all epochs of one training, "
        f"without validation; E_in that of one {plain(costs.unit)} of {costs.phase}. Net is gross less idle power "
        "times time."
    )


def _net(costs: TrainingInference) -> str:
    if "net" in costs.choices:
        text = "Volumes are given net of idle, as the study defines its energies, and gross"
        if costs.kind == "estimated":
            text += "; with estimated sources net is their own difference between idle and load, not a measurement"
        return f"{text}."
    if not costs.choices:
        return "No volumes are given: no model has both a training and an inference energy above 0."
    return (
        "Volumes are given gross alone: some net energy is not known or not above 0 (no quiet idle, or an "
        "estimate that hardly tells idle from load)."
    )


def _once(costs: TrainingInference) -> str | None:
    once = [a for a in costs.architectures if a.train is not None and len(a.train.runs) == 1]
    if not once:
        return None
    return (
        "A model trained once has no interval on its training: quality and E_tr would come out otherwise with "
        "another seed. Intervals of volumes are then those of inference alone."
    )


def _cut(costs: TrainingInference) -> str | None:
    cut = [a.name for a in costs.architectures if a.train is not None and a.train.cut_short]
    if not cut:
        return None
    return (
        f"Time was up before training had ended for {', '.join(cut)}: what they took and reached is of less "
        "training, so they are left out of volumes and of correlations with training."
    )


def _time(costs: TrainingInference) -> str | None:
    if costs.kind == "measured":
        return None
    return (
        "Estimated energy follows time by construction (a model of load and constants gives the watts), so that it "
        "goes with time is no finding; what other figures show is how well they tell time on this machine."
    )


def _overlay(costs: TrainingInference, overlay: ReferenceFrontier | None) -> tuple[str, ...]:
    if overlay is None:
        why = f"options.{OPTION} names no run, and none was given with --{OPTION}"
        return (f"No frontier of a search is drawn beside these architectures: {why}.",)
    if overlay.problem:
        return (f"No frontier of a search is drawn beside these architectures: {overlay.problem}.",)
    noun = "model" if len(overlay.points) == 1 else "models"
    size = f"{len(overlay.points)} {noun}, gross, {_kinds(overlay)}"
    text = f"The frontier of {overlay.name} ({size}) is in the first figure"
    if overlay.differs:
        text += f"; it differs in {', '.join(overlay.differs)}, so its points do not strictly compare"
    against = None if overlay.incomparable else against_known(costs, overlay)
    return f"{text}.", *((against,) if against else ())


def _kinds(overlay: ReferenceFrontier) -> str:
    return combined(p.j_per_unit.kind for p in overlay.points)


def _lost(costs: TrainingInference) -> str | None:
    return f"{costs.lost} of {costs.trials} trials have no value and are left out." if costs.lost else None


def _quality_plots(costs: TrainingInference, overlay: ReferenceFrontier | None) -> tuple[Plot, ...]:
    """Quality against the energy of inference, with the overlay, and against that of training."""
    judged = [a for a in costs.architectures if a.quality is not None]
    if not judged or costs.quality is None:
        return ()
    per, basis = plain(costs.unit), f"gross, {costs.kind}, {' + '.join(costs.domains)}"
    drawn = overlay.points if overlay else ()
    each = value_axis(
        [*(a.inference.gross.mean for a in judged), *(p.j_per_unit.mean for p in drawn)],
        "J", lambda u: f"{costs.phase} energy, {u}/{per}", detail=basis,
    )  # fmt: skip
    trained = [a for a in judged if a.train is not None]
    once = value_axis(
        [a.train.gross.mean for a in trained if a.train], "J", lambda u: f"training energy, {u}", detail=basis
    )
    y = Axis(None, costs.quality)
    over = _overlay_series(overlay, each, y)
    return (
        _quality_plot(costs, "inference", judged, lambda a: a.inference.gross, each, y, over),
        _quality_plot(costs, "training", trained, lambda a: a.train.gross if a.train else None, once, y, ()),
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
        f"frontier of {overlay.name} ({_kinds(overlay)})", places, [p.quality for p in overlay.points], y
    )
    return (replace(drawn, line=True),)


def _volume_plot(costs: TrainingInference) -> Plot | None:
    """Total energy against the volume of inference: of all models, or where they are many of those that are
    cheapest somewhere."""
    choices = costs.choices.get(costs.basis, ())
    if not choices:
        return None
    names = list(dict.fromkeys(s.name for c in choices for s in c.stretches))[:MAX_SERIES]
    every = [b for a in costs.architectures if (b := a.bill(costs.basis)) is not None]
    bills = every if len(every) <= MAX_SERIES else [b for b in every if b.name in names]
    volumes = [s.from_units for c in choices for s in c.stretches if s.from_units > 0]
    volumes = volumes or [b.once.mean / b.each.mean for b in bills]
    low, high = min(volumes) / MARGIN, max(volumes) * MARGIN
    at = [low * (high / low) ** (i / (CURVE_POINTS - 1)) for i in range(CURVE_POINTS)]
    x = value_axis([low, high], "", lambda u: f"volume of inference, {f'{u} ' if u else ''}{plain(costs.unit)}s")
    y = value_axis(
        [b.total_j(n) for b in bills for n in at],
        "J",
        lambda u: f"E_tr + N · E_in, {u}",
        detail=f"{costs.basis}, {costs.kind}",
    )
    lines = tuple(
        Series(b.name, tuple(n / x.factor for n in at), tuple(b.total_j(n) / y.factor for n in at), line=True)
        for b in bills
    )
    alt = f"Total energy against the volume of inference: {', '.join(b.name for b in bills)}."
    return Plot("training_inference-volume", "Energy of training and use by volume", alt, x, y, lines)


def _row(costs: TrainingInference, a: Architecture) -> dict[str, object]:
    train, unit = a.train, costs.unit
    return {
        "architecture": a.name,
        "trials": a.trials,
        **{f"param_{name}": Exact(value) for name, value in a.params.items()},
        "parameters": a.parameters,
        "macs": a.macs,
        "macs_per_parameter": a.macs_per_parameter,
        "activations": a.metric("activations"),
        "bytes_moved": a.metric("bytes_moved"),
        **estimate_cells(costs.quality or "quality", a.quality),
        "epochs": None if train is None else max(train.epochs),
        "train_samples": None if train is None else sum(train.units) // len(train.units),
        **estimate_cells("train_s", None if train is None else train.seconds),
        **estimate_cells("train_j_gross", None if train is None else train.gross),
        **estimate_cells("train_j_net", None if train is None else train.net),
        **estimate_cells(f"s_per_{unit}", a.inference.unit_s),
        **estimate_cells(f"j_per_{unit}_gross", a.inference.gross),
        **estimate_cells(f"j_per_{unit}_net", a.inference.net),
        "kind": a.inference.kind,
    }
