"""Section of a report on how far estimated joules can be off: the run by two models of the CPU's power. Pure."""

from __future__ import annotations

from typing import Any

from joulebench.presentation.numbers import ABSENT, count, joules, number, prefix, watts
from joulebench.presentation.rows import Exact
from joulebench.presentation.table import MAX_ROWS, Cell, Table, show
from joulebench.presentation.units import plain
from joulebench.presentation.words import listed, plural
from joulebench.reporting.summary import Summary
from joulebench.results.members import Target, label
from joulebench.results.power_curve import (
    CURVE,
    CURVE_MODEL,
    CURVE_SOURCE,
    LOAD_MODEL,
    ConfigurationRange,
    JoulesByModel,
    ModelRange,
)
from joulebench.results.server_share import SERVER_MODEL
from joulebench.spec.cpu_families import MEMORY_SOURCE, SOURCE

#: Below this share of the load model's joules, what the windows with a recorded load hold is stated.
NEARLY_ALL = 0.999


def model_range_sentences(summary: Summary) -> tuple[str, ...]:
    """The two models with their source, what they differ by, and what that does to the order of configurations."""
    if (models := summary.model_range) is None:
        return ()
    loads, shares = (", ".join(f"{100 * x:g} %" for x in values) for values in zip(*CURVE, strict=True))
    about = (
        "No counter of the CPU was read. Its joules are those of CodeCarbon's load model, TDP × (0.1 + 0.9 × "
        f"load³) with a TDP of {watts(models.tdp_w)}. The second model, from each window's recorded load, is "
        f"{shares} of the same TDP at loads of {loads}, linear in between ({CURVE_SOURCE}). Neither was measured "
        "on this CPU, and a wrong TDP makes both wrong alike."
    )
    return about, *_share_sentence(models), difference_sentence(models), *ranking_sentences(summary, models)


def _share_sentence(models: ModelRange) -> tuple[str, ...]:
    """What the model is that takes a share of published servers, with its sources; nothing where it is unknown."""
    if (share := models.share) is None or models.shared_j is None or models.shared_j.servers_j is None:
        return ()
    idle, full = (f"{number(low, 2)} to {number(high, 2)} W" for low, high in (share.idle_w, share.full_w))
    threads, memory = plural(share.threads, "thread"), ""
    if share.memory_w > 0:
        memory = f", and {watts(share.memory_w)} for its memory beyond theirs ({MEMORY_SOURCE})"
    low_j, high_j = models.shared_j.servers_j
    return (
        f"A third model needs no TDP. Published servers with {share.family} draw {idle} a hardware thread idle and "
        f"{full} at full load, the 10th and the 90th percentile of them ({SOURCE}). That is the power of whole "
        "servers: memory, board, fans and power supply are in it, a GPU is not. A share of such a server with "
        f"{threads}, linear in the load{memory}, would be {joules(low_j)} to {joules(high_j)}, in place of "
        f"{joules(models.shared_j.model_j)} of CPU and RAM.",
    )


def difference_sentence(models: ModelRange) -> str:
    """By what factor the two models differ, and the range that this leaves for the run's joules."""
    total, part = models.total, ""
    if models.recorded_share < NEARLY_ALL:
        part = f" in windows with a recorded load ({100 * models.recorded_share:.0f} % of the CPU's joules)"
    low_j, high_j = sorted((total.model_j, total.curve_j))
    text = (
        f"A second published model of power by load gives {number(models.cpu.factor, 3)} times the CPU's joules"
        f"{part}, which puts the run's at {joules(low_j)} to {joules(high_j)}: a systematic range, not in "
        "any interval."
    )
    if models.share is None or total.servers_j is None:
        return text
    ends = f"{joules(total.servers_j[0])} to {joules(total.servers_j[1])}"
    return (
        f"{text} As a share of published servers with {models.share.family}, all of their parts included, the "
        f"run's would be {ends}. Over the three models: {joules(total.low)} to {joules(total.high)}."
    )


def ranking_sentences(summary: Summary, models: ModelRange) -> tuple[str, ...]:
    """Whether the order of configurations, and the frontier, depend on the model."""
    sentences = []
    for ranking in models.rankings:
        if not ranking.pairs:
            continue
        what = _work(summary, ranking.target)
        if not ranking.swapped:
            order = f"Both models rank the configurations alike by {what}."
        else:
            apart = count(ranking.apart) if ranking.apart else "none"
            order = (
                f"Ranked by {what}, {count(ranking.swapped)} of {plural(ranking.pairs, 'pair')} of configurations "
                f"change places, {apart} of them with intervals that do not overlap."
            )
        sentences.append(order)
    if summary.task.has_frontier and models.configurations:
        sentences.append(_frontier(models))
    return tuple(sentences)


def _frontier(models: ModelRange) -> str:
    if not models.left and not models.joined:
        return "The frontier has the same members by both."
    parts = [
        f"{listed([label(t) for t in trials], 6, joint='; ')} {verb}"
        for trials, verb in ((models.left, "would leave it"), (models.joined, "would join it"))
        if trials
    ]
    return f"The frontier depends on the model: by the second one, {' and '.join(parts)}."


def model_range_table(summary: Summary) -> Table | None:
    """Joules of the run, and per unit of the configurations that matter, by both models."""
    if (models := summary.model_range) is None:
        return None
    titles = ["Joules of", "Load model", "Second model", "Second over first", "Ranks"]
    totals = {"the run": models.total, "its CPU": models.cpu}
    if models.shared_j is not None:
        totals["its CPU and RAM"] = models.shared_j
    shown = _shown(summary, models)
    rows = [_total(name, energy) for name, energy in totals.items()] + [_row(summary, c) for c in shown]
    if models.share is None:
        return Table.of("Joules by two models of the CPU's power", titles, rows)
    shares = [_ends(energy, 1.0, "J") for energy in totals.values()] + [_share(c) for c in shown]
    rows = [(*row, share) for row, share in zip(rows, shares, strict=True)]
    return Table.of("Joules by three models of the CPU's power", [*titles, "Share of servers"], rows)


def _share(row: ConfigurationRange) -> Cell:
    factor, letter = prefix(row.model.mean)
    return _ends(row.joules, factor, f"{letter}J/{plain(row.target.unit)}")


def _ends(energy: JoulesByModel, factor: float, unit: str) -> Cell:
    """Both ends of what a share of servers gives, in a unit of `factor` J."""
    if energy.servers_j is None:
        return Cell(ABSENT)
    low, high = (number(end / factor) for end in energy.servers_j)
    return Cell(f"{low} … {high} {unit}")


def _total(name: str, energy: JoulesByModel) -> tuple[Cell, ...]:
    return (
        Cell(name),
        Cell(joules(energy.model_j)),
        Cell(joules(energy.curve_j)),
        Cell(number(energy.factor, 3) if energy.factor else ABSENT),
        Cell(ABSENT),
    )


def _row(summary: Summary, row: ConfigurationRange) -> tuple[Cell, ...]:
    factor, letter = prefix(row.model.mean)
    unit = f"{letter}J/{plain(row.target.unit)}"
    free = ", ".join(f"{n} {show(row.params[n])}" for n in summary.run.varied if n in row.params)
    details = (free, _work(summary, row.target)) if len(summary.targets) > 1 else (free,)
    default = "default" if row.default else ""
    moved = row.on_curve_frontier - row.on_frontier
    places = {1: ("joins the frontier",), 0: (), -1: ("leaves the frontier",)}[moved]
    return (
        Cell(label(row.trials), tuple(filter(None, (*details, default)))),
        Cell(f"{number(row.model.mean / factor)} {unit}"),
        Cell(f"{number(row.curve.mean / factor)} {unit}"),
        Cell(number(row.joules.factor, 3) if row.joules.factor else ABSENT),
        Cell(f"{row.rank}, {row.curve_rank}", places),
    )


def _shown(summary: Summary, models: ModelRange) -> list[ConfigurationRange]:
    """The default and what is on the frontier by either model; without a frontier, all up to a table's length."""
    if not summary.task.has_frontier:
        return list(models.configurations[:MAX_ROWS])
    return [c for c in models.configurations if c.default or c.on_frontier or c.on_curve_frontier]


def _work(summary: Summary, target: Target) -> str:
    basis = summary.task.objectives[target.objective].basis if target.objective else "gross"
    return f"{basis} joules per {plain(target.unit)} of {target.phase}"


def model_range_values(summary: Summary) -> dict[str, Any] | None:
    """The section as data: joules, with `low` and `high` over the two models; None where there is no section."""
    if (models := summary.model_range) is None:
        return None
    return {
        "models": [LOAD_MODEL, CURVE_MODEL],
        "source": CURVE_SOURCE,
        "tdp_w": models.tdp_w,
        "recorded_share": models.recorded_share,
        "total": _by_model(models.total),
        "cpu": _by_model(models.cpu),
        "rankings": [
            {"phase": r.target.phase, "unit": f"J/{r.target.unit}", "pairs": r.pairs, "swapped": r.swapped,
             "apart": r.apart}
            for r in models.rankings
        ],
        "leave_frontier": models.left,
        "join_frontier": models.joined,
        "configurations": [_values(c) for c in _shown(summary, models)],
    } | _share_values(models)  # fmt: skip


def _share_values(models: ModelRange) -> dict[str, Any]:
    """The share of servers and its joules; nothing where it is not known, as in records from before it was."""
    if (share := models.share) is None or models.shared_j is None:
        return {}
    known = {
        "family": share.family, "threads": share.threads, "idle_w": share.idle_w, "full_w": share.full_w,
        "memory_w": share.memory_w, "source": SOURCE, "cpu_and_ram": _by_model(models.shared_j),
    }  # fmt: skip
    return {SERVER_MODEL: known}


def _by_model(energy: JoulesByModel) -> dict[str, Any]:
    return {
        f"{LOAD_MODEL}_j": energy.model_j,
        f"{CURVE_MODEL}_j": energy.curve_j,
        "low_j": energy.low,
        "high_j": energy.high,
        "factor": energy.factor,
        **({} if energy.servers_j is None else {f"{SERVER_MODEL}_j": energy.servers_j}),
    }


def _values(row: ConfigurationRange) -> dict[str, Any]:
    return {
        "trials": row.trials,
        "params": Exact(row.params),
        "phase": row.target.phase,
        "unit": f"J/{row.target.unit}",
        "basis": row.model.basis,
        "domains": row.model.domains,
        **_by_model(row.joules),
        "ranks": [row.rank, row.curve_rank],
        "on_frontier": [row.on_frontier, row.on_curve_frontier],
    }
