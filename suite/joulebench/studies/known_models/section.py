"""The report's section on known and found models: who dominates whom, in test quality and energy. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import ABSENT, number, percent, si
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import pairs, value_axis
from joulebench.presentation.table import Cell, Table, label, prefixed_cell, value_cell
from joulebench.presentation.units import plain
from joulebench.presentation.words import domains, kind, left_out, plural
from joulebench.results.membership import CERTAIN
from joulebench.results.run import Run
from joulebench.spec.task import Task
from joulebench.studies.base import NEEDS_ENERGY, Study
from joulebench.studies.known_models.analysis import KnownModels, Model, known_models, test_score


class KnownModelsStudy(Study[KnownModels]):
    """Known models against found ones: which are dominated, in one experiment with repeated trainings."""

    name = "known_models"

    def needs(self, task: Task) -> str | None:
        if task.measured is None:
            return NEEDS_ENERGY
        if test_score(task) is None or task.test_scores != "all":
            return "needs a maximised metric of quality and test_scores = 'all'"
        return None

    def analyse(self, run: Run) -> KnownModels | None:
        return known_models(run)

    def section(self, result: KnownModels, run: Run) -> Section:
        return Section(
            name="known_models",
            title="Known models against found ones",
            answer=answer(result),
            sentences=tuple(_sentences(result)),
            plots=tuple(p for p in (_plot(result),) if p.drawn),
            tables=(_table(result),),
            rows=tuple(_row(result, m) for m in result.models),
        )


def answer(result: KnownModels) -> str:
    """`4 of 5 known models are dominated (probability ≥ 0.95; …), 3 of 5 found models are new (…), after …`."""
    known, found = result.known, result.found
    if not known or not found:
        lacking = "known" if not known else "found"
        return f"Nothing is compared: no {lacking} model has test scores and a whole training."
    n = min(min(len(m.trials), m.quality.n) for m in result.compared if m.quality is not None)
    return (
        f"{_are(result.count('dominated'), len(known), 'known model')} dominated by a found one (probability "
        f"≥ {CERTAIN}{_between(result, known)}) and "
        f"{_are(result.count('new'), len(found), 'found model')} new, dominated by no known one (probability ≥ "
        f"{CERTAIN}{_between(result, found)}): {result.quality} and gross energy of inference ({result.kind}), "
        f"n = {n} {'training' if n == 1 else 'trainings'} of each, {_budget(result)}."
    )


def _are(some: int, of: int, noun: str) -> str:
    return f"{some} of {plural(of, noun)} {'is' if 1 in (some, of) else 'are'}"


def _between(result: KnownModels, of: list[Model]) -> str:
    """`; with 1 undecided 3 to 4`."""
    undecided, sure = result.undecided(of), result.count("new" if of[0].found else "dominated")
    return f"; with {undecided} undecided {sure} to {sure + undecided}" if undecided else ""


def _budget(result: KnownModels) -> str:
    """`after 3 epochs on 2 000 images, which says nothing about fully trained models`."""
    epochs = result.run.task.defaults.get("epochs")
    counts = result.run.manifest.data.get("counts")
    images = counts.get("train") if isinstance(counts, dict) else None
    on = f" on {number(images)} images" if isinstance(images, int) else ""
    trained = f"after {plural(epochs, 'epoch')}{on}" if isinstance(epochs, int) else f"as trained here{on}"
    return f"{trained}, which says nothing about models trained longer"


def _sentences(result: KnownModels) -> Iterator[str]:
    yield (
        "All models were trained and measured in this one run: same images, preprocessing, augmentation, "
        "optimiser, epochs, batch and machine, in random order, each training with a seed of its own. A model is "
        f"dominated if another has at least its {result.quality} and takes at most its joules, and is better in "
        "one of them. The probability is the share of draws from both quantities' distributions (Student's t over "
        "repeated trainings, their spread pooled over all models). A model is dominated where a single other one "
        f"dominates it with {CERTAIN}, corrected for how many may (1 − {number(1 - CERTAIN)} / their number: the "
        f"best of several is often so by chance); it is not where each of them is worse in one quantity with "
        f"{number((1 + CERTAIN) / 2)}; else undecided."
    )
    inference = result.models[0].inference
    yield (
        f"Energy is over {domains(inference.domains)} and {kind(result.kind)}. Intervals hold what differs between "
        "trainings, not which test images there happen to be: those are the same for all."
    )
    if result.compared and not result.probability:
        yield "No model was trained more than once: without intervals nothing is decided (`repeats` of the stage)."
    if (origin := result.run.manifest.found) is not None:
        taken = "new runs had confirmed it" if origin.confirmed else "nothing of it was confirmed by new runs"
        trials = "; ".join(f"found {i}: {', '.join(map(str, t))}" for i, t in enumerate(origin.trials, 1))
        yield (
            f"The found models are the frontier of {origin.task} ({origin.path}, digest {origin.digest}; {taken}). "
            f"Its trials: {trials}. They are trained here as all others are, not as the search trained them."
        )
        if origin.search_split == "test":
            yield "That search judged by the test split, so test scores of what it found are too good."
    reference = result.run.task.objectives[result.metric].reference
    if names := [m.name for m in result.compared if m.guesses(reference)]:
        yield f"Not above guessing ({number(reference)}) for certain: {', '.join(names)}."
    if names := [m.name for m in result.models if m not in result.compared]:
        yield f"Not compared, for want of test scores or of a whole training: {', '.join(names)}."
    if lost := left_out(sum(t.status != "ok" for t in result.run.trials), len(result.run.trials)):
        yield lost


def _table(result: KnownModels) -> Table:
    per = plain(result.models[0].inference.unit)
    titles = ("Model", "Configuration", "Verdict", "P(dominated)", "Parameters", "MACs", result.quality,
              f"Energy of inference per {per}, gross", "Training energy, gross", "Trainings")  # fmt: skip
    caption = (
        f"Known and found models ({result.kind} energy), least inference energy first; P(dominated): by any "
        "found model, or of a found model by any known one"
    )
    return Table.of(caption, titles, (_cells(result, m) for m in result.models), text=3)


def _cells(result: KnownModels, model: Model) -> tuple[Cell, ...]:
    protocol, p = result.run.task.protocol, result.probability.get(model.name)
    return (
        Cell(model.name),
        Cell(_configuration(result, model)),
        Cell(result.verdict(model)),
        Cell(ABSENT if p is None else percent(p)),
        Cell(si(model.parameters, "", 4)),
        Cell(si(model.macs, "", 4)),
        Cell(ABSENT) if model.quality is None else value_cell(model.quality, protocol),
        prefixed_cell(model.energy, "J", protocol),
        prefixed_cell(None if model.train is None else model.train.gross, "J", protocol),
        Cell(str(len(model.trials))),
    )


def _configuration(result: KnownModels, model: Model) -> str:
    """`width 30, depth 3` of a found model; a known one's name says all."""
    if not model.found:
        return "known"
    return label(model.params, [n for n in result.described if n in result.run.task.free])


def _plot(result: KnownModels) -> Plot:
    """Test quality against inference energy, known and found models named."""
    per, shown = plain(result.models[0].inference.unit), [m for m in result.models if m.quality is not None]
    detail = f"gross, {result.kind}, {domains(result.models[0].inference.domains)}"
    x = value_axis([m.energy.mean for m in shown], "J", lambda u: f"inference energy, {u}/{per}", detail=detail)
    y = Axis(None, result.quality)

    def series(name: str, found: bool) -> Series:
        of = [m for m in shown if m.found == found]
        drawn = pairs(name, [(m.energy, m.quality) for m in of if m.quality is not None], x, y)
        return replace(drawn, labels=tuple(m.name for m in of), role="accent" if found else "plain")

    order = ", ".join(m.name for m in shown)
    caption = f"{result.quality} against inference energy; from left to right: {order}"
    both = (series("known models", False), series("found models", True))
    return Plot("known_models", caption, f"{caption}.", x, y, tuple(s for s in both if s.x), tall=True)


def _row(result: KnownModels, model: Model) -> dict[str, object]:
    train = model.train
    return {
        "model": model.name,
        "found": model.found,
        **{f"param_{n}": Exact(v) for n, v in model.params.items() if model.found and n in result.described},
        "trials": model.trials,
        "verdict": result.verdict(model),
        "p_dominated": result.probability.get(model.name),
        "parameters": model.parameters,
        "macs": model.macs,
        **estimate_cells(result.quality, model.quality),
        **estimate_cells(f"j_per_{model.inference.unit}_gross", model.energy),
        **estimate_cells("train_j_gross", None if train is None else train.gross),
        "epochs": None if train is None else max(train.epochs),
        "kind": model.inference.kind,
    }
