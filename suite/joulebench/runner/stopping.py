"""When a run ends before its stages do: an energy budget, or a search that no longer pays for itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean

from joulebench.errors import InputError
from joulebench.records.model import LedgerEntry, TrialRecord
from joulebench.results.energy import total_j
from joulebench.spec.task import Stopping

RECENT = 5  # trials whose mean cost is taken for the next one's
PATIENCE = 3  # proposals in a row that do not pay: one expectation alone is too uncertain to stop on
SAVING = "saving_j_per_unit"

_ENERGY = re.compile(r"^\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([kMG]?)(J|Wh)\s*$")
_FACTORS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def parse_energy_j(text: str, option: str) -> float:
    """Joules from `500kJ`, `2 kWh`, `1.5e6 J`.

    Raises:
        InputError: not a positive number with a unit of energy.
    """
    found = _ENERGY.match(text)
    try:
        value = float(found[1]) if found else 0.0
    except ValueError:
        value = 0.0
    if found is None or value <= 0:
        raise InputError(f"{option}: must be a positive energy with its unit, such as 500kJ or 2kWh (got '{text}')")
    return value * _FACTORS[found[2]] * (3600.0 if found[3] == "Wh" else 1.0)


def spent_j(trials: Sequence[TrialRecord], ledger: Sequence[LedgerEntry]) -> float | None:
    """Everything the run has spent so far; None where nothing was read."""
    return total_j([w for t in trials for w in t.windows] + [w for e in ledger for w in e.windows])


def next_trial_j(trials: Sequence[TrialRecord]) -> float | None:
    """What the next trial is expected to cost: the mean of the last `RECENT` ones, proposals included."""
    known = [e for t in trials[-RECENT:] if (e := total_j(t.windows)) is not None]
    return fmean(known) if known else None


def stop_reason(
    rules: Stopping,
    trials: Sequence[TrialRecord],
    ledger: Sequence[LedgerEntry],
    expected: Mapping[str, float],
    pending: int = 0,
) -> str | None:
    """Why the run should stop before the next trial, in words; None if it should go on.

    `max_energy_j`: the next trial, at the mean cost of the last ones, would go beyond it. `inferences`: the saving
    that the search expects of the next configuration (`expected`, joules per unit of work against the best so
    far), times that many units, is less than the trial costs; for this proposal and the `PATIENCE` − 1 before.

    Args:
        pending: trials that are under way elsewhere; each is taken to cost what the next one does.
    """
    cost = next_trial_j(trials)
    if rules.max_energy_j is not None:
        spent = spent_j(trials, ledger) or 0.0
        if spent + (cost or 0.0) * (1 + pending) > rules.max_energy_j:
            return f"the energy budget of {rules.max_energy_j:.6g} J: {spent:.6g} J are spent" + (
                f" and a trial takes {cost:.4g} J" if cost is not None else ""
            )
    if rules.inferences is not None and cost is not None and SAVING in expected:
        recent = [t.expected for t in trials[len(trials) - PATIENCE + 1 :]] if len(trials) >= PATIENCE - 1 else []
        known = [e[SAVING] for e in (*recent, expected) if SAVING in e]
        if len(known) == PATIENCE and all(saving * rules.inferences < cost for saving in known):
            return (
                f"searching on does not pay at {rules.inferences:.6g} units of work: the next trial costs "
                f"{cost:.4g} J and is expected to save {known[-1] * rules.inferences:.4g} J"
            )
    return None
