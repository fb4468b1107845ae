"""Meter check before a search: the default configuration in ten windows, whose spread limits what can be ranked."""

from __future__ import annotations

from collections.abc import Callable

from joulebench import search
from joulebench.errors import GateError
from joulebench.measurement.bench import Bench
from joulebench.measurement.control import measure_default
from joulebench.measurement.protocol import Note, no_note
from joulebench.measurement.racing import SEARCHES
from joulebench.presentation.words import STEADIER
from joulebench.records.folder import RunFolder, append
from joulebench.records.model import LedgerEntry
from joulebench.results.concurrent_windows import marked
from joulebench.results.consistency import MAX_RSD, PRECHECK, Consistency, meter_check_of, meter_check_protocol
from joulebench.runner.confirming import Confirming
from joulebench.runner.plan import Plan
from joulebench.runner.proposals import Stages
from joulebench.spec.task import Task

#: Other load below this is the machine's own housekeeping.
BUSY_CPUS = 0.1
REMEDIES = f"{STEADIER}; `joulebench run meter_consistency` shows the windows one by one"


def is_due(task: Task) -> bool:
    """Whether a task needs the check: it has a search stage, and an objective measured in windows."""
    searches = any(stage.method in SEARCHES and stage.trials for stage in task.stages.values())
    return searches and task.measured is not None


def before_search(
    chosen: Plan, bench: Bench, folder: RunFolder, session: int, say: Callable[[str, str], None]
) -> None:
    """Measure the untrained default configuration in ten windows, once per session with trials left to run.

    The windows go into the ledger (event "precheck"). A relative standard deviation above 2 % is a warning, and
    so is a check that failed; one that ten windows cannot tell from 2 % is undecided.

    Raises:
        GateError: any of them, where the plan is strict.
        InputError: a meter has failed.
    """
    if not is_left(chosen, folder, say):
        return
    error = measure(bench, chosen.seed, lambda text: say("note", text))
    entry = LedgerEntry(session=session, event="precheck", windows=bench.timeline.take())
    append(folder.ledger_path, entry)
    judge(chosen, entry, error, say)


def is_left(chosen: Plan, folder: RunFolder, say: Callable[[str, str], None]) -> bool:
    """Whether a session on this folder starts with the meter check."""
    task, records = chosen.task, marked(folder.trials(), folder.ledger())
    source = Confirming(Stages(task, chosen.seed), task, folder.manifest())
    if not is_due(task) or len(records) >= source.total(search.planned_trials(task), records, {}):
        return False
    if chosen.replay is not None:
        say("note", "meter check skipped: the joules are replayed")
        return False
    return True


def judge(
    chosen: Plan, entry: LedgerEntry, error: str | None, say: Callable[[str, str], None], where: str = ""
) -> None:
    """Report the verdict on a ledger entry's windows; `error`: why some are missing; `where`: a prefix.

    Raises:
        GateError: the meter is unsteady, or whether it is steady is not known, and the plan is strict.
    """
    good, text = verdict(meter_check_of(chosen.task, entry), error)
    text = f"{where}{text}"
    say("note", text if good is not False else f"warning: {text}")
    if chosen.strict and good is not True:
        raise GateError(f"{text}; --strict ends the run")


def measure(bench: Bench, seed: int, note: Note = no_note) -> str | None:
    """Measure the windows on the bench's timeline; returns the error's text if the workload failed."""
    return measure_default(bench, seed, PRECHECK, meter_check_protocol(bench.task.protocol), note)


def verdict(consistency: Consistency | None, error: str | None = None) -> tuple[bool | None, str]:
    """Whether the meter is steady enough, None where the windows cannot decide, and one line that says so."""
    if consistency is None or consistency.rsd is None:
        reasons = [w.reason for w in consistency.windows if w.reason] if consistency else []
        why = error or (reasons[0] if reasons else "no windows")
        return False, f"meter check: consistency is not known ({why})"
    rsd, n = consistency.rsd, consistency.rsd.n
    spread = f"{_percent(rsd.value)} % (95 % interval {_percent(rsd.low)} to {_percent(rsd.high)} %)"
    base = f"meter check: {spread} relative standard deviation of joules per {consistency.unit}, {n} windows"
    base += f" ({consistency.kind})"
    match rsd.against(MAX_RSD):
        case "below":
            return True, f"{base}: below {100 * MAX_RSD:g} %"
        case "undecided":
            return None, f"{base}: undecided; {n} windows cannot tell it from the limit of {100 * MAX_RSD:g} %"
    busy = consistency.most_other_load
    others = f" while other processes kept up to {busy:.2g} CPUs busy" if busy and busy >= BUSY_CPUS else ""
    limit = f"above {100 * MAX_RSD:g} %, so models that differ by less than this spread cannot be ranked"
    return False, f"{base}{others}: {limit}; {REMEDIES}"


def _percent(share: float) -> str:
    value = 100 * share
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
