"""Tables of training against inference: energy by architecture, least total by volume, correlations. Pure."""

from __future__ import annotations

from joulebench.presentation.correlations import MASKED, cell, rounded
from joulebench.presentation.numbers import ABSENT, number, seconds, si
from joulebench.presentation.table import Cell, Column, Table, prefixed_cell
from joulebench.presentation.training import training_cell
from joulebench.presentation.units import plain
from joulebench.presentation.words import plural
from joulebench.results.energy import Basis
from joulebench.results.phase_runs import TrainingRuns
from joulebench.results.training_flops import trained_unit
from joulebench.spec.task import Protocol
from joulebench.stats.correlation import Correlation
from joulebench.stats.estimate import Estimate
from joulebench.studies.proxies.analysis import WEAK
from joulebench.studies.training_inference.analysis import (
    QUANTITIES,
    SHOWN,
    Architecture,
    Choice,
    TrainingInference,
)
from joulebench.studies.training_inference.crossover import Crossover

WORDS = {
    "parameters": "parameters", "macs": "MACs", "macs_per_parameter": "MACs per parameter",
    "activations": "activations", "bytes_moved": "bytes moved", "quality": "quality", "utilisation": "utilisation",
    "utilisation_per_w": "utilisation per watt", "train_flops": "FLOPs of training", "train_s": "training time",
    "train_j": "training energy", "inference_s": "inference time", "inference_j": "inference energy",
}  # fmt: skip


def architectures_table(costs: TrainingInference) -> Table:
    """Every architecture, least inference energy first."""
    per = plain(costs.unit)
    counted = any(a.train_flops for a in costs.architectures)
    titles = ("Architecture", "Parameters", "MACs", "MACs per parameter", costs.quality or "Quality",
              *(["FLOPs of training"] if counted else []), "Training energy E_tr, gross", "net", "Training time",
              f"Inference energy E_in per {per}, gross", "net", f"Time per {per}",
              "Inference energy equals training after")  # fmt: skip
    rows = tuple(_row(a, costs, counted) for a in costs.architectures)
    return Table.of(f"Architectures ({costs.kind} energy), least inference energy first", titles, rows)


def _row(a: Architecture, costs: TrainingInference, counted: bool) -> tuple[Cell, ...]:
    train, total, protocol = a.train, a.total_cost(costs.basis), costs.run.task.protocol
    positive = total is not None and total.per_unit.mean > 0 and total.fixed.mean > 0
    equal = total.fixed.mean / total.per_unit.mean if total is not None and positive else None
    return (
        Cell(a.name),
        Cell(si(a.parameters, "", 4)),
        Cell(si(a.macs, "", 4)),
        Cell(ABSENT if a.macs_per_parameter is None else number(a.macs_per_parameter)),
        Cell(ABSENT if a.quality is None else number(a.quality.mean)),
        *([training_cell(a.train_flops, trained_unit(costs.run.task))] if counted else []),
        _value(None if train is None else train.gross, "J", protocol),
        _value(None if train is None else train.net, "J", protocol),
        Cell(ABSENT) if train is None else Cell(seconds(train.seconds.mean), (_epochs(train),)),
        _value(a.inference.gross, "J", protocol),
        _value(a.inference.net, "J", protocol),
        _value(a.inference.unit_s, "s", protocol),
        Cell(ABSENT if equal is None else f"{si(equal, '')} {plain(costs.unit)}s"),
    )


def _epochs(train: TrainingRuns) -> str:
    cut = ", stopped by time" if train.cut_short else ""
    return f"{plural(max(train.epochs), 'epoch')}, {number(sum(train.units) // len(train.units))} samples{cut}"


def _value(value: Estimate | None, unit: str, protocol: Protocol) -> Cell:
    return Cell(ABSENT) if value is None else prefixed_cell(value, unit, protocol)


def volumes_table(costs: TrainingInference, basis: Basis) -> Table:
    """The model with the least total energy by volume, for each demand on quality."""
    titles = ("Quality", "Candidates", f"From {plain(costs.unit)}s", "Least total energy", "Before it")
    columns = tuple(Column(t, numeric=i in (1, 2)) for i, t in enumerate(titles))
    rows = [
        (
            Cell(demand(costs, choice)),
            Cell(str(len(choice.candidates))),
            Cell("0") if segment.crossover is None else _crossover_cell(segment.crossover),
            Cell(segment.name),
            Cell(ABSENT if segment.crossover is None else segment.crossover.before),
        )
        for choice in costs.choices[basis]
        for segment in choice.segments
    ]
    caption = f"Least E_tr + N · E_in by the volume N of inference ({basis}, {costs.kind} energy)"
    return Table(caption, columns, tuple(rows))


def demand(costs: TrainingInference, choice: Choice) -> str:
    """`val_accuracy ≥ 0.872 (within 0.05 of the best)`."""
    if choice.at_least is None:
        return "any"
    near = "above the reference" if choice.shortfall is None else f"within {number(choice.shortfall)} of the best"
    return f"{costs.quality} ≥ {number(choice.at_least)} ({near})"


def _crossover_cell(crossed: Crossover) -> Cell:
    if crossed.low is None:
        return Cell(number(crossed.units), ("no interval",))
    high = "no end" if crossed.high is None else number(crossed.high)
    return Cell(number(crossed.units), interval=f"[{number(crossed.low)}, {high}]")


def correlations_table(costs: TrainingInference) -> Table:
    """Pairwise correlations: Pearson below the diagonal, Spearman above it."""
    names = [n for n in QUANTITIES if any(n in a.quantities for a in costs.architectures)]
    rows = []
    for i, row in enumerate(names):
        cells = [Cell(_heading(costs, row))]
        for j, column in enumerate(names):
            method = "pearson" if j < i else "spearman"
            cells.append(Cell("") if i == j else _masked(costs.correlations.get((row, column, method))))  # type: ignore[arg-type]
        rows.append(tuple(cells))
    n = len(costs.architectures)
    return Table.of(
        f"Correlations over {n} architectures: Pearson r below the diagonal, Spearman ρ above ({MASKED} within "
        f"±{number(WEAK)}, {ABSENT} where there is none; energy gross, {costs.kind})",
        ("", *(_heading(costs, n) for n in names)),
        rows,
    )


def _heading(costs: TrainingInference, name: str) -> str:
    return costs.quality if name == "quality" and costs.quality else WORDS[name]


def _masked(value: Correlation | None) -> Cell:
    if value is None:
        return Cell(ABSENT)
    return Cell(rounded(value.value) if abs(value.value) >= WEAK else MASKED)


def intervals_table(costs: TrainingInference) -> Table:
    """Correlation of each quantity with both energies, with intervals, none masked."""
    rows = []
    for name in QUANTITIES:
        cells = [
            cell(costs.correlations.get((name, target, method)))
            for target in ("inference_j", "train_j")
            for method in SHOWN
        ]
        if any(c.text != ABSENT for c in cells):
            rows.append((Cell(_heading(costs, name)), *cells))
    titles = ("", "Inference energy: Pearson r", "Spearman ρ", "Training energy: Pearson r", "Spearman ρ")
    return Table.of(f"Correlations with energy and their intervals (gross, {costs.kind})", titles, rows)
