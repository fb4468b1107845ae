"""Meter check before a search: the default configuration in ten windows, whose spread limits what can be ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from joulebench import search
from joulebench.errors import DeviceLostError, GateError
from joulebench.measurement.bench import Bench
from joulebench.measurement.control import measure_default
from joulebench.measurement.protocol import Note, no_note
from joulebench.measurement.racing import SEARCHES
from joulebench.presentation.words import STEADIER
from joulebench.records.folder import RunFolder
from joulebench.records.model import LedgerEntry
from joulebench.results.concurrent_windows import marked
from joulebench.results.consistency import MAX_RSD, PRECHECK, Consistency, meter_check_of, meter_check_protocol
from joulebench.runner.confirming import Confirming
from joulebench.runner.plan import Plan
from joulebench.runner.proposals import Stages
from joulebench.runner.resume_check import MAX_DEATHS
from joulebench.runner.trials import Trials
from joulebench.spec.task import Task

#: Other load below this is the machine's own housekeeping.
BUSY_CPUS = 0.1
REMEDIES = f"{STEADIER}; `joulebench run meter_consistency` shows the windows one by one"


def is_due(task: Task) -> bool:
    """Whether a task needs the check: it has a search stage, and an objective measured in windows."""
    searches = any(stage.method in SEARCHES and stage.trials for stage in task.stages.values())
    return searches and task.measured is not None


def before_search(
    chosen: Plan,
    measured: Callable[[Note, Callable[[], None]], str | None],
    trials: Trials,
) -> None:
    """Measure the untrained default configuration in ten windows, once per session with trials left to run.

    The windows go into the ledger (event "precheck"). A relative standard deviation above 2 % is a warning, and
    so is a check that failed; one that ten windows cannot tell from 2 % is undecided.

    Args:
        measured: measures them on the timeline and returns why it failed, or None; it calls its second argument
            where it does not end, and ends the process.

    Raises:
        GateError: any of them, where the plan is strict.
        DeviceLostError: it left a device that this process can use no more.
        InputError: a meter has failed.
    """
    if not is_left(chosen, trials.folder, trials.say):
        return

    def overdue() -> None:
        text = f"the meter check {chosen.task.protocol.overdue}"
        trials.append_entry("precheck", text)
        trials.append_entry("end", text, ending="failed")
        trials.say("note", f"{text}; the process ends; `resume` goes on without it")

    try:
        error = measured(lambda text: trials.say("note", text), overdue)
    except DeviceLostError as lost:
        trials.append_entry("precheck", str(lost))  # `resume` would lose the device again
        raise
    judge(chosen, trials.append_entry("precheck"), error, trials.say)


def is_left(chosen: Plan, folder: RunFolder, say: Callable[[str, str], None]) -> bool:
    """Whether a session on this folder starts with the meter check."""
    task, records = chosen.task, marked(folder.trials(), folder.ledger())
    source = Confirming(Stages(task, chosen.seed), task, folder.manifest())
    if not is_due(task) or len(records) >= source.total(search.planned_trials(task), records, {}):
        return False
    if chosen.replay is not None:
        say("note", "meter check skipped: the joules are replayed")
        return False
    if why := hopeless(folder.ledger()):
        say("note", f"warning: meter check skipped: {why}")
        if chosen.strict:
            raise GateError(f"meter check: {why}; --strict ends the run")
        return False
    return True


def hopeless(ledger: Sequence[LedgerEntry]) -> str | None:
    """Why another meter check would end the process again, as earlier ones did; None if it need not."""
    if late := next((e.note for e in ledger if e.event == "precheck" and e.note), None):
        return late
    begun = {e.session for e in ledger if e.event == "start"}
    went_on = {e.session for e in ledger if e.event != "start"}
    times = len(begun - went_on)
    return f"the process died {times} times in it" if times >= MAX_DEATHS else None


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
