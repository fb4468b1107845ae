"""The summary's numbers as tables of words, the same for HTML and Markdown. Pure."""

from __future__ import annotations

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
    watts,
)
from joulebench.presentation.table import Cell, Column, Table, _some, flatten, show
from joulebench.presentation.units import plain
from joulebench.reporting.constraints import constraint_facts
from joulebench.reporting.failures import FailureGroup
from joulebench.reporting.summary import Summary
from joulebench.results.ledger import GROUPS, SourceShare
from joulebench.spec.objectives import energy_unit
from joulebench.spec.task import Task


def facts(summary: Summary) -> tuple[tuple[str, str], ...]:
    """What the run is: label and value."""
    manifest, task = summary.manifest, summary.task
    hardware = manifest.hardware
    counts = ", ".join(f"{n} {s}" for s, n in summary.statuses.items() if n) or "none yet"
    data = "; ".join(f"{k}: {v}" for k, v in flatten(manifest.data)) or "none"
    rows = [
        ("Task", f"{task.name}, version {task.version}"),
        ("Budget", manifest.budget or "none named: the task as it stands"),
        ("Data", data),
        ("Hardware", str(hardware.get("title") or hardware.get("name") or "not stated")),
        ("Started", manifest.created_utc),
        ("Seed", str(manifest.seed)),
        ("Digest of the task", manifest.digest),
        ("Trials", f"{len(summary.points)} ({counts})" if summary.points else counts),
        ("Configurations", _configurations(summary)),
        ("joulebench", manifest.joulebench),
        *constraint_facts(task),
        *_stopping_facts(task),
    ]
    if manifest.trials_from:
        rows.append(("Trials taken from", manifest.trials_from))
    if fixed := [(n, v) for n, v in task.defaults.items() if n not in task.free]:
        rows.append(("Fixed parameters", ", ".join(f"{n} = {show(v)}" for n, v in fixed)))
    return tuple(rows)


def _stopping_facts(task: Task) -> list[tuple[str, str]]:
    rules = task.stopping
    rows = []
    if rules.max_energy_j is not None:
        rows.append(("Energy budget", joules(rules.max_energy_j)))
    if rules.inferences is not None:
        name = next((n for n, o in task.objectives.items() if o is task.measured), None)
        work = f"{plain(energy_unit(name)[0])}s" if name else "units of work"
        rows.append(("Stated volume", f"{number(rules.inferences)} {work} after the search"))
    return rows


def _configurations(summary: Summary) -> str:
    text = f"{summary.complete} with a value for every objective"
    return text if not summary.broken else f"{text}, {summary.feasible} of them within every constraint"


def provenance_table(summary: Summary) -> Table:
    """Domain, source and kind of every joule, its share, how it was read, and idle power."""
    methods = {(m.get("domain"), m.get("source")): m.get("method", "") for m in summary.manifest.meters}
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
                Cell(methods.get((source.domain, source.source)) or "not described by its meter"),
            )
        )
    titles = ("Domain", "Source", "Kind", "Energy", "Share", "Idle power", "Method")
    columns = tuple(Column(t, numeric=t in ("Energy", "Share", "Idle power")) for t in titles)
    return Table("How each joule was obtained", columns, tuple(rows))


def _idle_cell(summary: Summary, source: SourceShare) -> Cell:
    if source.role == "check":
        return Cell(ABSENT)
    idle = summary.idle_w.get(source.domain)
    if idle is None:
        tried = any(account.name == "idle" for account in summary.ledger.accounts)
        return Cell("no quiet baseline" if tried else NOT_MEASURED)
    factor, letter = prefix(idle.mean)
    return Cell(watts(idle.mean), (f"{interval(idle, factor)} {letter}W", sample_size(idle)))


def ledger_table(summary: Summary) -> Table:
    """Every account of the run and their total."""
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
    return Table("Every joule of the run", tuple(columns), (*rows, tuple(total)), total=True)


def groups_table(summary: Summary) -> Table:
    """Training, measured phases, protocol and overhead side by side."""
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
    """Trials without a value, by status and reason; of those out of memory, what they need at least."""
    memory = any(f.need_low is not None for f in summary.failures)
    columns = [Column("Status"), Column("Trials", True)]
    columns += [Column("Needs at least", True), Column("Limit", True)] if memory else []
    columns += [Column("Reason"), Column("Which")]
    rows = []
    for f in summary.failures:
        limit = ABSENT if f.limit_bytes is None else octets(f.limit_bytes)
        middle = (Cell(_need(f)), Cell(limit)) if memory else ()
        rows.append((Cell(f.status), Cell(count(len(f.trials))), *middle, Cell(f.reason), Cell(_some(f.trials))))
    return Table("Trials without a value", tuple(columns), tuple(rows))


def _need(group: FailureGroup) -> str:
    if group.need_low is None or group.need_high is None:
        return ABSENT
    ends = dict.fromkeys((octets(group.need_low), octets(group.need_high)))
    return " … ".join(ends)


def environment_table(summary: Summary) -> Table:
    """Versions, device and settings, as the manifest has them."""
    parts = [("", summary.manifest.environment), ("search.", summary.manifest.search)]
    rows = [(Cell(start + key), Cell(value)) for start, part in parts for key, value in flatten(part)]
    return Table("Environment", (Column("What"), Column("Value")), tuple(rows))
