"""Tables of training against inference: each architecture's cost, the cheapest by volume, correlations. Pure."""

from __future__ import annotations

from joulebench.presentation.correlations import MASKED, cell, rounded
from joulebench.presentation.numbers import ABSENT, number, seconds, si
from joulebench.presentation.table import Cell, Column, Table, prefixed_cell
from joulebench.presentation.units import plain
from joulebench.results.energy import Basis
from joulebench.results.phase_runs import TrainingRuns
from joulebench.spec.task import Protocol
from joulebench.stats.correlation import Correlation
from joulebench.stats.estimate import Estimate
from joulebench.studies.proxies.analysis import WEAK
from joulebench.studies.training_inference.analysis import (
    QUANTITIES,
    Architecture,
    Choice,
    TrainingInference,
)
from joulebench.studies.training_inference.crossover import Crossover

WORDS = {
    "parameters": "parameters", "macs": "MACs", "macs_per_parameter": "MACs per parameter",
    "activations": "activations", "bytes_moved": "bytes moved", "quality": "quality", "train_s": "training time",
    "train_j": "training energy", "inference_s": "inference time", "inference_j": "inference energy",
}  # fmt: skip


def architectures_table(costs: TrainingInference) -> Table:
    """Every architecture, least inference energy first."""
    per = plain(costs.unit)
    titles = ("Architecture", "Parameters", "MACs", "MACs per parameter", costs.quality or "Quality",
              "Training energy E_tr, gross", "net", "Training time", f"Inference energy E_in per {per}, gross",
              "net", f"Time per {per}", "Inference costs as much as training after")  # fmt: skip
    columns = tuple(Column(t, numeric=i > 0) for i, t in enumerate(titles))
    rows = tuple(_row(a, costs) for a in costs.architectures)
    return Table(f"Architectures ({costs.kind} energy), least inference energy first", columns, rows)


def _row(a: Architecture, costs: TrainingInference) -> tuple[Cell, ...]:
    train, bill, protocol = a.train, a.bill(costs.basis), costs.run.task.protocol
    equal = None if bill is None or bill.each.mean <= 0 or bill.once.mean <= 0 else bill.once.mean / bill.each.mean
    return (
        Cell(a.name),
        Cell(si(a.parameters, "", 4)),
        Cell(si(a.macs, "", 4)),
        Cell(ABSENT if a.macs_per_parameter is None else number(a.macs_per_parameter)),
        Cell(ABSENT if a.quality is None else number(a.quality.mean)),
        _value(None if train is None else train.gross, "J", protocol),
        _value(None if train is None else train.net, "J", protocol),
        Cell(ABSENT) if train is None else Cell(seconds(train.seconds.mean), (_epochs(train),)),
        _value(a.inference.gross, "J", protocol),
        _value(a.inference.net, "J", protocol),
        _value(a.inference.unit_s, "s", protocol),
        Cell(ABSENT if equal is None else f"{si(equal, '')} {plain(costs.unit)}s"),
    )


def _epochs(train: TrainingRuns) -> str:
    epochs, samples = max(train.epochs), sum(train.units) // len(train.units)
    cut = ", stopped by time" if train.cut_short else ""
    return f"{epochs} {'epoch' if epochs == 1 else 'epochs'}, {number(samples)} samples{cut}"


def _value(value: Estimate | None, unit: str, protocol: Protocol) -> Cell:
    return Cell(ABSENT) if value is None else prefixed_cell(value, unit, protocol)


def volumes_table(costs: TrainingInference, basis: Basis) -> Table:
    """Which model costs least in all, from which volume on, by how good it has to be."""
    titles = ("Quality", "Architectures", f"From {plain(costs.unit)}s", "Cheapest in all", "Instead of")
    columns = (
        Column(titles[0]),
        Column(titles[1], True),
        Column(titles[2], True),
        Column(titles[3]),
        Column(titles[4]),
    )
    rows = []
    for choice in costs.choices[basis]:
        for stretch in choice.stretches:
            crossed = stretch.crossover
            rows.append(
                (
                    Cell(demand(costs, choice)),
                    Cell(str(len(choice.candidates))),
                    Cell("0") if crossed is None else Cell(number(crossed.units), _ends(crossed)),
                    Cell(stretch.name),
                    Cell(ABSENT if crossed is None else crossed.before),
                )
            )
    caption = f"Least E_tr + N · E_in by the volume N of inference ({basis}, {costs.kind} energy)"
    return Table(caption, columns, tuple(rows))


def demand(costs: TrainingInference, choice: Choice) -> str:
    """`val_accuracy ≥ 0.872 (within 0.05 of the best)`."""
    if choice.at_least is None:
        return "any"
    near = "above the reference" if choice.shortfall is None else f"within {number(choice.shortfall)} of the best"
    return f"{costs.quality} ≥ {number(choice.at_least)} ({near})"


def _ends(crossed: Crossover) -> tuple[str, ...]:
    if crossed.low is None:
        return ("no interval",)
    return (f"[{number(crossed.low)}, {'no end' if crossed.high is None else number(crossed.high)}]",)


def correlations_table(costs: TrainingInference) -> Table:
    """All with all: Pearson below the diagonal, Spearman above it."""
    names = [n for n in QUANTITIES if any(n in a.quantities for a in costs.architectures)]
    rows = []
    for i, row in enumerate(names):
        cells = [Cell(_heading(costs, row))]
        for j, column in enumerate(names):
            method = "pearson" if j < i else "spearman"
            cells.append(Cell("") if i == j else _masked(costs.correlations.get((row, column, method))))  # type: ignore[arg-type]
        rows.append(tuple(cells))
    columns = (Column(""), *(Column(_heading(costs, n), numeric=True) for n in names))
    n = len(costs.architectures)
    return Table(
        f"Correlations over {n} architectures: Pearson r below the diagonal, Spearman ρ above ({MASKED} within "
        f"±{number(WEAK)}, {ABSENT} where there is none; energy gross, {costs.kind})",
        columns,
        tuple(rows),
    )


def _heading(costs: TrainingInference, name: str) -> str:
    return costs.quality if name == "quality" and costs.quality else WORDS[name]


def _masked(value: Correlation | None) -> Cell:
    if value is None:
        return Cell(ABSENT)
    return Cell(rounded(value.value) if abs(value.value) >= WEAK else MASKED)


def intervals_table(costs: TrainingInference) -> Table:
    """Each quantity with both energies, nothing masked."""
    rows = []
    for name in QUANTITIES:
        cells = []
        for target in ("inference_j", "train_j"):
            for method in ("pearson", "spearman"):
                cells.append(cell(costs.correlations.get((name, target, method))))
        if any(c.text != ABSENT for c in cells):
            rows.append((Cell(_heading(costs, name)), *cells))
    titles = ("", "Inference energy: Pearson r", "Spearman ρ", "Training energy: Pearson r", "Spearman ρ")
    columns = tuple(Column(t, numeric=i > 0) for i, t in enumerate(titles))
    return Table(f"Correlations with energy and their intervals (gross, {costs.kind})", columns, tuple(rows))
