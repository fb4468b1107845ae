"""Tables of a report, from its summary; the same for HTML and Markdown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from joulebench.presentation.numbers import (
    ABSENT,
    NOT_MEASURED,
    count,
    interval,
    joules,
    number,
    octets,
    percent,
    prefix,
    sample_size,
    seconds,
    si,
    watts,
)
from joulebench.presentation.table import Cell, Column, Table, flatten, show, value_cell, worded_cell
from joulebench.presentation.training import training_cell
from joulebench.presentation.units import bound, plain, quantile_name, scaled
from joulebench.presentation.words import domains, listed, plural
from joulebench.records.model import Costs
from joulebench.reporting.failures import FailureGroup
from joulebench.reporting.repeat import code_facts
from joulebench.reporting.summary import Summary
from joulebench.results.energy import RUNS
from joulebench.results.ledger import GROUPS, SourceShare, family
from joulebench.results.members import Member, Target
from joulebench.results.outcome import Outcome
from joulebench.results.training_flops import TRAIN, trained_unit
from joulebench.spec.objectives import COSTS, Constraint, Quantity, work_unit
from joulebench.spec.registry import ANY_MODEL
from joulebench.spec.task import Protocol, Task


def facts(summary: Summary) -> tuple[tuple[str, str], ...]:
    """Facts on the run as pairs of label and value."""
    manifest, task = summary.manifest, summary.task
    hardware = manifest.hardware
    counts = ", ".join(f"{n} {s}" for s, n in summary.statuses.items() if n) or "none yet"
    data = "; ".join(f"{k}: {v}" for k, v in flatten(manifest.data)) or "none"
    rows = [
        ("Task", f"{task.name}, version {task.version}"),
        *model_facts(task),
        ("Budget", manifest.budget or "none named: the task as it stands"),
        ("Data", data),
        ("Hardware", str(hardware.get("title") or hardware.get("name") or "not stated")),
        ("Started", manifest.created_utc),
        ("Seed", str(manifest.seed)),
        ("Digest of the task and its code" if manifest.own_code else "Digest of the task", manifest.run_digest),
        *((f"Code of {name}", text) for name, text in code_facts(manifest, task)),
        ("Trials", f"{len(summary.points)} ({counts})" if summary.points else counts),
        ("Configurations", _configurations(summary)),
        ("joulebench", manifest.joulebench),
        *_constraint_facts(task),
        *_stopping_facts(task),
    ]
    if manifest.trials_from:
        rows.append(("Trials taken from", manifest.trials_from))
    if manifest.found is not None:
        rows.append(("Found models taken from", f"{manifest.found.path} ({manifest.found.task})"))
    if task.has_frontier:
        rows.append(("Confirmation", _confirmation(summary)))
    if fixed := [(n, v) for n, v in task.defaults.items() if n not in task.free]:
        rows.append(("Fixed parameters", ", ".join(f"{n} = {show(v)}" for n, v in fixed)))
    return tuple(rows)


def model_facts(task: Task) -> Iterator[tuple[str, str]]:
    """Which model the workload `model` ran, and with which weights and inputs."""
    if task.workload != ANY_MODEL:
        return
    for option, label in (("model", "Model"), ("weights", "Weights"), ("texts", "Texts"), ("input", "Input")):
        if (value := task.options.get(option)) is not None:
            yield label, f"random, of shape {show(value)}" if option == "input" else str(value)


def _constraint_facts(task: Task) -> Iterator[tuple[str, str]]:
    if task.outcome_constraints:
        yield "Constraints", "; ".join(_bound(name, c) for name, c in task.outcome_constraints.items())
    if conditions := [c for c in task.constraints.values() if isinstance(c, str)]:
        yield "Constraints on parameters", "; ".join(conditions)
    if only := [f"{n} only if {p.only_if}" for n, p in task.parameters.items() if p.only_if is not None]:
        yield "Parameters that depend on others", "; ".join(only)


def _bound(name: str, constraint: Constraint) -> str:
    """`request_p95_s ≤ 3 s (p95 of request steps)`."""
    text = f"{name} {bound(name, constraint)}"
    if constraint.quantile is not None:
        return f"{text} ({quantile_name(constraint.quantile)} of {constraint.phase} steps)"
    if constraint.is_rate:
        return f"{text} ({constraint.phase})"
    if constraint.is_energy:
        return f"{text} ({constraint.phase}, {domains(constraint.domains or ())}, {constraint.basis})"
    return text


def _stopping_facts(task: Task) -> list[tuple[str, str]]:
    rules = task.stopping
    rows = []
    if rules.max_energy_j is not None:
        rows.append(("Energy budget", joules(rules.max_energy_j)))
    if rules.inferences is not None:
        name = next((n for n, o in task.objectives.items() if o is task.measured), None)
        work = f"{plain(work_unit(name))}s" if name else "units of work"
        rows.append(("Stated volume", f"{number(rules.inferences)} {work} after the search"))
    return rows


def _configurations(summary: Summary) -> str:
    text = f"{summary.complete} with a value for every objective"
    return text if not summary.broken else f"{text}, {summary.feasible} of them within every constraint"


def _confirmation(summary: Summary) -> str:
    if (known := summary.run.confirmation) is None:
        return "none: values are provisional" if summary.provisional else "none"
    return plural(len(known.configurations), "configuration")


def provenance_table(summary: Summary) -> Table:
    """Energy by domain and source, with kind, share, method and idle power."""
    methods = {(m.get("domain"), m.get("source")): _method(m) for m in summary.manifest.meters}
    alike = {(family(m.get("domain", "")), m.get("source")): _method(m) for m in summary.manifest.meters}
    rows = []
    for source in summary.ledger.sources:
        rows.append(
            (
                Cell(source.domain),
                Cell(source.source + (" (check, never summed)" if source.role == "check" else "")),
                Cell(source.kind),
                Cell(joules(source.energy_j)),
                Cell(ABSENT if source.share is None else percent(source.share)),
                _idle_cell(summary, source),
                Cell(
                    methods.get((source.domain, source.source))
                    or alike.get((family(source.domain), source.source))  # a GPU that the run came to use later
                    or "not described by its meter"
                ),
            )
        )
    titles = ("Domain", "Source", "Kind", "Energy", "Share", "Idle power", "Method")
    columns = tuple(Column(t, numeric=t in ("Energy", "Share", "Idle power")) for t in titles)
    return Table("Energy sources and methods", columns, tuple(rows))


def _method(meter: Mapping[str, str]) -> str:
    """How a meter reads, and what its counter contains where it says so."""
    return meter.get("method", "") + (f" (contains: {meter['scope']})" if "scope" in meter else "")


def _idle_cell(summary: Summary, source: SourceShare) -> Cell:
    if source.role == "check":
        return Cell(ABSENT)
    idle = summary.idle_w.get(source.domain)
    if idle is None:
        tried = any(account.name == "idle" for account in summary.ledger.accounts)
        return Cell("no quiet baseline" if tried else NOT_MEASURED)
    factor, letter = prefix(idle.mean)
    if source.kind == "estimated":  # a model has no sampling error
        return Cell(watts(idle.mean), (sample_size(idle), "of a model"))
    ends = interval(idle, factor)
    return Cell(watts(idle.mean), (sample_size(idle),), interval=f"{ends} {letter}W" if ends else "")


def ledger_table(summary: Summary) -> Table:
    """Energy, time and windows of every account, and their total."""
    ledger = summary.ledger
    families = list(ledger.by_family)
    columns = [Column("Account"), Column("Group"), Column("Energy", True), Column("Share", True)]
    columns += [Column(name.upper(), True) for name in families]
    columns += [Column("Time", True), Column("Windows", True)]
    rows = []
    for account in ledger.accounts:
        share = account.energy_j / ledger.total_j if account.energy_j is not None and ledger.total_j else None
        row = [Cell(account.name, (account.about,)), Cell(GROUPS[account.group])]
        row += [Cell(joules(account.energy_j)), Cell(percent(share))]
        row += [Cell(joules(account.by_family.get(name))) for name in families]
        rows.append((*row, Cell(seconds(account.duration_s)), Cell(count(account.windows))))
    total = [
        Cell("Total"),
        Cell(""),
        Cell(joules(ledger.total_j)),
        Cell("100 %" if ledger.total_j else NOT_MEASURED),
    ]
    total += [Cell(joules(energy_j)) for energy_j in ledger.by_family.values()]
    total += [Cell(seconds(ledger.duration_s)), Cell(count(sum(a.windows for a in ledger.accounts)))]
    return Table("Energy of the run by account", tuple(columns), (*rows, tuple(total)), total=True)


def groups_table(summary: Summary) -> Table:
    """Energy and time of training, measured phases, protocol and overhead."""
    ledger = summary.ledger
    rows = []
    for group, title in GROUPS.items():
        energy_j = ledger.group_j(group)
        share = energy_j / ledger.total_j if energy_j is not None and ledger.total_j else None
        rows.append(
            (Cell(title), Cell(joules(energy_j)), Cell(percent(share)), Cell(seconds(ledger.group_s(group))))
        )
    columns = (Column("Group"), Column("Energy", True), Column("Share", True), Column("Time", True))
    return Table("Overhead, training and measured work", columns, tuple(rows))


def failures_table(summary: Summary) -> Table:
    """Trials without a value, by status and reason, with the memory that those out of memory needed."""
    memory = any(f.need_low is not None for f in summary.failures)
    columns = [Column("Status"), Column("Trials", True)]
    columns += [Column("Needs at least", True), Column("Limit", True)] if memory else []
    columns += [Column("Reason"), Column("Which")]
    rows = []
    for f in summary.failures:
        limit = ABSENT if f.limit_bytes is None else octets(f.limit_bytes)
        middle = (Cell(_need(f)), Cell(limit)) if memory else ()
        rows.append(
            (
                Cell(f.status),
                Cell(count(len(f.trials))),
                *middle,
                Cell(f.reason),
                Cell(listed([str(t) for t in f.trials], 12)),
            )
        )
    return Table("Trials without a value", tuple(columns), tuple(rows))


def _need(group: FailureGroup) -> str:
    if group.need_low is None or group.need_high is None:
        return ABSENT
    ends = dict.fromkeys((octets(group.need_low), octets(group.need_high)))
    return " … ".join(ends)


def environment_table(summary: Summary) -> Table:
    """Versions, device and settings from the manifest."""
    parts = [("", summary.manifest.environment), ("search.", summary.manifest.search)]
    rows = [(Cell(start + key), Cell(value)) for start, part in parts for key, value in flatten(part)]
    return Table("Environment", (Column("What"), Column("Value")), tuple(rows))


Read = Callable[[Member], Cell]


def frontier_table(summary: Summary) -> Table:
    """Members of the frontier, best in the first objective first."""
    columns: list[tuple[str, Read]] = [
        *_quantities(summary),
        *_joules(summary),
        *_costs(summary),
        *_scores(summary),
    ]
    rows = tuple((Cell(", ".join(map(str, m.trials))), *(read(m) for _, read in columns)) for m in summary.members)
    titles = ("Trials", *(title for title, _ in columns))
    of = "Confirmed frontier" if summary.run.confirmation is not None else "Frontier"
    how = "Provisional frontier" if summary.provisional else of
    return Table.of(f"{how}, best in the first objective first", titles, rows)


def _quantities(summary: Summary) -> Iterator[tuple[str, Read]]:
    """Columns of parameters, objectives, and quantities that only a constraint names."""
    task = summary.task
    for name in task.free:
        yield name, _parameter(name)
    for name, objective in task.objectives.items():
        arrow = "↑" if objective.goal == "maximize" else "↓"
        basis = f" ({objective.basis})" if objective.is_energy else ""
        yield f"{name} {arrow}{basis}", _outcome(name, objective, task.protocol, lambda m: m.outcomes)
    for name, constraint in task.outcome_constraints.items():
        if name not in task.objectives and name not in COSTS:  # these have columns of their own
            title = f"{name} {bound(name, constraint)}"
            yield title, _outcome(name, constraint, task.protocol, lambda m: m.constraints)


def _parameter(name: str) -> Read:
    return lambda m: Cell(show(m.params.get(name)))


def _outcome(
    name: str, quantity: Quantity, protocol: Protocol, of: Callable[[Member], Mapping[str, Outcome]]
) -> Read:
    def read(m: Member) -> Cell:
        outcome = of(m).get(name)
        return Cell(NOT_MEASURED) if outcome is None else outcome_cell(name, quantity, outcome, protocol)

    return read


def outcome_cell(name: str, quantity: Quantity, outcome: Outcome, protocol: Protocol) -> Cell:
    """An outcome in the unit that suits it, with interval, n and kind."""
    factor, unit = scaled(name, outcome.value.mean, quantity)
    return value_cell(outcome.value, protocol, factor, unit, outcome.kind or "")


def _joules(summary: Summary) -> Iterator[tuple[str, Read]]:
    """Columns of joules per unit of work, gross and net."""
    for target in summary.targets:
        work = _work(summary, target)
        yield f"{work}, gross", _energy(summary, target, net=False)
        yield f"{work}, net", _energy(summary, target, net=True)


def _energy(summary: Summary, target: Target, net: bool) -> Read:
    by_trials = summary.model_range.by_trials if summary.model_range else {}

    def read(m: Member) -> Cell:
        value = (m.net if net else m.gross).get(target)
        if value is None:
            return Cell(NOT_MEASURED)
        factor, letter = prefix(value.mean)
        cell = value_cell(value, summary.task.protocol, factor, f"{letter}J/{plain(target.unit)}", value.kind)
        within, models = m.within_run.get(target), by_trials.get((target, m.trials))
        details = cell.details
        if not net and within is not None and RUNS in value.variances:
            details = (*details, f"within one run ± {percent(within)}")
        if models is not None and models.model.basis == value.basis:
            low, high = (number(end / factor) for end in (models.joules.low, models.joules.high))
            details = (*details, f"systematic {low} … {high}")
        return replace(cell, details=details)

    return read


def _work(summary: Summary, target: Target) -> str:
    """`J per sample`, with phase and domains where several targets share the unit."""
    alike = [t for t in summary.targets if t.unit == target.unit]
    if len(alike) == 1:
        return f"J per {plain(target.unit)}"
    same_phase = [t for t in alike if t.phase == target.phase]
    over = f" ({domains(target.families)})" if len(same_phase) > 1 else ""
    return f"J per {plain(target.unit)} of {target.phase}{over}"


def _costs(summary: Summary) -> Iterator[tuple[str, Read]]:
    """Columns of parameters, MACs, FLOPs (of a phase where the workload counts them) and peak memory."""
    by_phase = [t for t in summary.targets if any(t.phase in m.costs.phase_flops for m in summary.members)]
    yield _bounded(summary, "Parameters", "parameters"), lambda m: Cell(count(m.costs.parameters))
    if not by_phase or any(m.costs.flops is not None for m in summary.members):
        yield _bounded(summary, "MACs", "macs"), lambda m: Cell(at_least(m.costs, m.costs.macs))
        yield _bounded(summary, "FLOPs", "flops"), lambda m: Cell(at_least(m.costs, m.costs.flops))
    for target in {t.phase: t for t in by_phase}.values():
        yield f"FLOPs per {plain(target.unit)} of {target.phase}", _phase_flops(target.phase)
    if any(m.training for m in summary.members):
        yield "FLOPs of training", lambda m: training_cell(m.training, trained_unit(summary.task))
    title = _bounded(summary, "Peak memory", "peak_memory_bytes")
    yield title, lambda m: Cell(octets(m.costs.peak_memory_bytes))


def at_least(costs: Costs, counted: float | None, phase: str = "") -> str:
    """MACs or FLOPs, marked ≥ where operators of the model, or of its training, have no counting rule."""
    return ("≥ " if missed_ops(costs, phase) and counted is not None else "") + si(counted, "")


def missed_ops(costs: Costs, phase: str) -> Mapping[str, int]:
    """Operators without a counting rule, with their number of calls: of a training step, or of the model."""
    return costs.train_unsupported_ops if phase == TRAIN else costs.unsupported_ops


def _phase_flops(phase: str) -> Read:
    return lambda m: Cell(at_least(m.costs, m.costs.phase_flops.get(phase), phase))


def _bounded(summary: Summary, title: str, cost: str) -> str:
    constraint = summary.task.outcome_constraints.get(cost)
    return title if constraint is None else f"{title} {bound(cost, constraint)}"


def _scores(summary: Summary) -> Iterator[tuple[str, Read]]:
    for name in sorted({name for m in summary.members for name in m.scores}):
        yield name, _score(name, summary.task.protocol)


MOST_CLASSES = 20  # in a report; report.json has all


def classes_table(summary: Summary) -> Table:
    """Test scores by class of the first member that has them, and the F1 of each class over the frontier."""
    scored = [m for m in summary.members if m.class_scores]
    if not scored:
        return Table("", (), ())
    first, three = scored[0], partial(number, digits=3)
    f1 = {c: [s.mean for m in scored if (s := m.class_scores.get(c, {}).get("f1"))] for c in first.class_scores}
    hardest = sorted(f1, key=lambda c: min(f1[c], default=0.0))[:MOST_CLASSES]
    rows = []
    for name in (c for c in f1 if c in hardest):
        own = [first.class_scores[name].get(score) for score in ("precision", "recall", "f1")]
        cells = [Cell(ABSENT) if s is None else worded_cell(three, s.mean, s.low, s.high) for s in own]
        ends = dict.fromkeys(three(end(f1[name])) for end in (min, max)) if f1[name] else [ABSENT]
        rows.append((Cell(name), *cells, Cell(" … ".join(ends))))
    which = "" if len(f1) <= MOST_CLASSES else f", the {MOST_CLASSES} of {len(f1)} classes with the lowest F1"
    caption = f"Test scores by class, of {first.label}{which}"
    return Table.of(caption, ("Class", "Precision", "Recall", "F1", "F1 over the frontier"), rows)


def _score(name: str, protocol: Protocol) -> Read:
    return lambda m: value_cell(m.scores.get(name), protocol)
