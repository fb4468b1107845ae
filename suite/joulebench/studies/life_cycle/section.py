"""The report's section on where a project's joules go, and what its models take over their life. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from joulebench.presentation.numbers import ABSENT, grams, joules, number, percent, sample_size
from joulebench.presentation.plots import Plot
from joulebench.presentation.rows import estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.table import Cell, Table, prefixed_cell, worded_cell
from joulebench.presentation.units import plain
from joulebench.presentation.words import ci, domains, plural, with_ci
from joulebench.results.run import Run
from joulebench.spec.task import Protocol, Task
from joulebench.stats.estimate import Estimate
from joulebench.stats.intervals import scaled
from joulebench.studies.base import NEEDS_ENERGY, Study
from joulebench.studies.life_cycle.analysis import PARTS, SHARES, Deployed, LifeCycle, life_cycle
from joulebench.studies.training_inference.crossover import Crossover
from joulebench.studies.training_inference.figures import MAX_SERIES, totals_plot

#: Published splits of a pipeline's energy, as arXiv 2406.14328 reports them, by the parts that they name.
PUBLISHED = {
    "31/29/40": {"data": 0.31, "experimentation and training": 0.29, "inference": 0.40},
    "10:20:70": {"experimentation": 0.10, "training": 0.20, "inference": 0.70},
}
BOTH = "experimentation and training"


class LifeCycleStudy(Study[LifeCycle]):
    """Where a project's joules go: data, experimentation, training and inference."""

    name = "life_cycle"

    def needs(self, task: Task) -> str | None:
        if task.measured is None:
            return NEEDS_ENERGY
        return None if task.has_frontier else "needs 'frontier' among analyses"

    def analyse(self, run: Run) -> LifeCycle | None:
        return life_cycle(run)

    def section(self, result: LifeCycle, run: Run) -> Section:
        return Section(
            name="life_cycle",
            title="Where a project's joules go",
            answer=_answer(result),
            sentences=tuple(filter(None, _sentences(result))),
            plots=tuple(p for p in (_plot(result),) if p is not None and p.drawn),
            tables=(_parts_table(result), _members_table(result, run.task.protocol)),
            rows=tuple({**row, "kind": result.kind} for row in _rows(result)),
        )


def _answer(life: LifeCycle) -> str:
    """The shares of the four parts at the stated volume, else of the first three; N at the published shares."""
    volume, unit = life.stated, plain(life.unit)
    at = (
        f"Before any inference the project took {joules(life.spent_j)}"
        if volume is None
        else f"With inference of {number(volume)} {unit}s (stated) the project takes {joules(life.total_j(volume))}"
    )
    whole = life.total_j(volume or 0.0)
    shares = [
        f"{percent(energy_j / whole)} {name}"
        + (ci(life.inference_share(volume), percent) if volume and name == "inference" else "")
        for name, energy_j in life.parts(volume or 0.0).items()
        if energy_j is not None and name != BOTH
    ]
    reached = [
        f"{percent(share)} of all from {with_ci(n, number)} {unit}s"
        for share in SHARES
        if (n := life.volume_at(share)) is not None
    ]
    chosen = life.chosen
    return (
        f"{at}: {', '.join(shares)}; inference with the chosen model ({chosen.name}) is {' and '.join(reached)}; "
        f"{sample_size(chosen.inference)} ({life.kind} energy)."
    )


def _sentences(life: LifeCycle) -> tuple[str, ...]:
    unit = plain(life.unit)
    left_out = f" ({domains(life.left_out)} left out: not read in every window compared)" if life.left_out else ""
    chosen = life.chosen
    parts = (
        f"All joules are gross, over {domains(life.families)}{left_out}. Data is the ledger's account of reading "
        f"and staging; training is one training, E_tr, of {chosen.name}, the most efficient member at least as "
        "good as the default (without one, the first of the frontier); experimentation is everything else of the "
        f"run, all other trainings and the measuring included; inference is N {unit}s at E_in each."
    )
    untrained = ""
    if chosen.training is None:
        why = (
            "are not known, so experimentation holds them" if chosen.is_trained else "do not exist: none took place"
        )
        untrained = f"Joules of a training of {chosen.name} {why}."
    published = (
        "Published splits of a pipeline, as arXiv 2406.14328 reports them: 31 % data, 29 % experimentation and "
        "training, 40 % inference; and 10:20:70 of experimentation, training and inference, data not stated."
    )
    return parts, untrained, published, *_savings(life), _crossings(life)


def _savings(life: LifeCycle) -> tuple[str, ...]:
    """Saving against the default, in joules and, where a grid is given, as carbon."""
    if life.default is None or life.default.alone is None:
        return ("There is no saving against the default: its joules are not known.",)
    how = (
        "A member takes T + N · E_in, where T is every joule of the run, its training among them; the default "
        "takes its own E_tr + N · E_in (the search's break-even leaves that E_tr out)."
    )
    if life.chosen.name == life.default.name:
        return (how, "The chosen member is the default itself, so the search saves nothing at equal quality.")
    saved = [
        f"{_saved(life, value)} at {number(volume)} {plain(life.unit)}s"
        for volume in life.volumes
        if (value := life.saving(life.chosen, volume)) is not None
    ]
    carbon = "" if life.cost.intensity_g_per_kwh else " No carbon is stated, as no grid intensity is given."
    return (
        how,
        f"Saving of {life.chosen.name} against the default, the search counted (negative: it takes more): "
        f"{'; '.join(saved)} ({life.kind}).{carbon}",
    )


def _saved(life: LifeCycle, value: Estimate) -> str:
    """`1.2 kJ (95 % interval 1.1 kJ to 1.3 kJ), 0.02 g CO2e (…)`."""
    grams_per_j = life.cost.carbon_of(1.0)
    return ", ".join(
        [
            with_ci(value, joules),
            *([] if grams_per_j is None else [f"as CO2e {with_ci(scaled(value, grams_per_j), grams)}"]),
            *(["sign uncertain"] if value.low is not None and value.high and value.low < 0 < value.high else []),
        ]
    )


def _crossings(life: LifeCycle) -> str:
    """Where the members' totals of training and inference cross."""
    if not life.segments:
        return ""
    first, *later = life.segments
    text = (
        f"Trained anew, without the search, {first.name} takes the least E_tr + N · E_in of "
        f"{plural(len(life.members), 'confirmed member')} "
    )
    crossed = [f"{s.name} from {_volume(s.crossover)} {plain(life.unit)}s on" for s in later if s.crossover]
    return (
        f"{text}{'at first, ' + ', '.join(crossed) if crossed else 'at any N'}; with the search their order is "
        "that of E_in at any N."
    )


def _volume(crossed: Crossover) -> str:
    if crossed.low is None:
        return f"{number(crossed.units)} (no interval: a difference may be zero)"
    high = "without an upper end" if crossed.high is None else f"to {number(crossed.high, 3)}"
    return f"{number(crossed.units)} (95 % interval {number(crossed.low, 3)} {high})"


def _parts_table(life: LifeCycle) -> Table:
    """Joules and shares of the parts, before inference and at each volume, beside the published shares."""
    unit = plain(life.unit)
    at = [f"Share at N = {number(v)} {unit}s" for v in life.volumes]
    titles = ("Part", "Energy", "Share before inference", *at, *(f"Published, {name}" for name in PUBLISHED))
    protocol, chosen = life.run.task.protocol, life.chosen
    rows = []
    for name in PARTS:
        energy = Cell(_or_absent(life.parts()[name], joules))
        if name == "inference":
            energy = prefixed_cell(chosen.inference, f"J/{unit}", protocol)
        elif name == "training" and chosen.training is not None:
            energy = prefixed_cell(chosen.training, "J", protocol)
        shares = [Cell(_or_absent(_share(life, name, v), percent)) for v in (0.0, *life.volumes)]
        if name == "inference":
            known = [life.inference_share(v) for v in life.volumes]
            shares[1:] = [worded_cell(percent, v.mean, v.low, v.high) for v in known]
        published = [Cell(_or_absent(split.get(name), percent)) for split in PUBLISHED.values()]
        rows.append((Cell(name.capitalize()), energy, *shares, *published))
    return Table.of(f"Where the joules go, with {chosen.name} ({life.kind} energy, gross)", titles, rows)


def _share(life: LifeCycle, name: str, units: float) -> float | None:
    energy_j = life.parts(units)[name]
    return None if energy_j is None else energy_j / life.total_j(units)


def _or_absent(value: float | None, words: Callable[[float], str]) -> str:
    return ABSENT if value is None else words(value)


def _configurations(life: LifeCycle) -> list[tuple[str, Deployed]]:
    """The default and the members, with what each is."""
    own = life.default
    alone = own is not None and own.name not in {m.name for m in life.members}
    members = [("chosen member" if m is life.chosen else "member", m) for m in life.members]
    return [*([("default", own)] if own is not None and alone else []), *members]


def _members_table(life: LifeCycle, protocol: Protocol) -> Table:
    """E_tr, E_in, totals and saving of the default and every confirmed member."""
    unit = plain(life.unit)
    titles = ["Configuration", "", "E_tr", f"E_in per {unit}"]
    for volume in life.volumes:
        titles += [f"Total at N = {number(volume)}", "Saving"]
    titles += [f"Less than the default from {unit}s"]
    rows = []
    for what, of in _configurations(life):
        trained = Cell(ABSENT) if of.training is None else prefixed_cell(of.training, "J", protocol)
        cells = [Cell(of.name), Cell(what), trained, prefixed_cell(of.inference, "J", protocol)]
        for volume in life.volumes:
            total_j, saved = _at(life, what, of, volume)
            cells.append(Cell(_or_absent(total_j, joules)))
            cells.append(Cell(ABSENT) if saved is None else worded_cell(joules, saved.mean, saved.low, saved.high))
        repaid = None if what == "default" else life.repaid_after(of)
        cells.append(Cell(ABSENT if repaid is None else _volume(repaid)))
        rows.append(tuple(cells))
    caption = f"E_tr + N · E_in, with the search counted for members ({life.kind} energy, gross)"
    return Table.of(caption, titles, rows, text=2)


def _at(life: LifeCycle, what: str, of: Deployed, units: float) -> tuple[float | None, Estimate | None]:
    """Total joules of so many units, and what they save against the default."""
    if what == "default":
        return (None if of.alone is None else of.alone.total_j(units)), None
    return life.total(of).total_j(units), life.saving(of, units)


def _plot(life: LifeCycle) -> Plot | None:
    """Totals of the default and the first members against the volume."""
    base = None if life.default is None else life.default.alone
    first = [m for m in life.members if m is not life.chosen][: MAX_SERIES - 2]
    totals = [life.total(m) for m in (life.chosen, *first)]
    if base is not None:
        totals.append(replace(base, name=f"default ({base.name}), no search"))
    if not life.volumes or min(life.volumes) <= 0:
        return None
    volumes = [*life.volumes, *(c.units for m in life.members if (c := life.repaid_after(m)) is not None)]
    caption = "Energy by volume of inference, the search counted"
    detail = f"gross, {life.kind}"
    return totals_plot("life_cycle-volume", caption, "total energy", totals, volumes, life.unit, detail)


def _rows(life: LifeCycle) -> Iterator[dict[str, object]]:
    """Parts by volume; the volumes of `SHARES`; totals of the configurations."""
    units = f"{life.unit}s"
    for name in PARTS:
        for volume in (0.0, *life.volumes):
            if (energy_j := life.parts(volume)[name]) is not None:
                share = _share(life, name, volume)
                yield {"row": "part", "name": name, units: volume, "energy_j": energy_j, "share": share}
    for share in SHARES:
        yield {"row": "volume", "name": "inference", "share": share, **estimate_cells(units, life.volume_at(share))}
    for what, of in _configurations(life):
        for volume in life.volumes:
            total_j, saved = _at(life, what, of, volume)
            yield {
                "row": what,
                "name": of.name,
                units: volume,
                "energy_j": total_j,
                **estimate_cells("train_j", of.training),
                **estimate_cells(f"j_per_{life.unit}", of.inference),
                **estimate_cells("saving_j", saved),
            }
