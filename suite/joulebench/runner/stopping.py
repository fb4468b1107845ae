"""Early stopping of a run: energy budget reached, or further search costs more energy than it saves. Pure."""

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
    """Parse an energy such as `500kJ`, `2 kWh`, `1.5e6 J` into joules.

    Raises:
        InputError: not a positive number with a unit of energy.
    """
    match = _ENERGY.match(text)
    try:
        value = float(match[1]) if match else 0.0
    except ValueError:
        value = 0.0
    if match is None or value <= 0:
        raise InputError(f"{option}: must be a positive energy with its unit, such as 500kJ or 2kWh (got '{text}')")
    return value * _FACTORS[match[2]] * (3600.0 if match[3] == "Wh" else 1.0)


def spent_j(trials: Sequence[TrialRecord], ledger: Sequence[LedgerEntry]) -> float | None:
    """Energy the run has spent so far, in joules; None where nothing was read."""
    return total_j([w for t in trials for w in t.windows] + [w for e in ledger for w in e.windows])


def next_trial_j(trials: Sequence[TrialRecord]) -> float | None:
    """Expected energy of the next trial, in joules: the mean of the last `RECENT` ones."""
    known = [e for t in trials[-RECENT:] if (e := total_j(t.windows)) is not None]
    return fmean(known) if known else None


def stop_reason(
    rules: Stopping,
    trials: Sequence[TrialRecord],
    ledger: Sequence[LedgerEntry],
    expected: Mapping[str, float],
    pending: int = 0,
    kept: int = 0,
) -> str | None:
    """Return why the run should stop before the next trial; None if it should go on.

    `max_energy_j`: the next trial, at the mean cost of the last ones, would exceed it. `inferences`: the expected
    saving of the next configuration (`expected`, joules per unit of work against the best so far), times
    the expected number of inferences, is less than the trial costs; for this and the previous `PATIENCE` − 1
    proposals.

    Args:
        pending: number of trials under way elsewhere; each is assumed to cost the same as the next one.
        kept: number of trials to follow that the energy budget has to be enough for, too.
    """
    cost = next_trial_j(trials)
    if rules.max_energy_j is not None:
        spent = spent_j(trials, ledger) or 0.0
        if spent + (cost or 0.0) * (1 + pending + kept) > rules.max_energy_j:
            text = f"energy budget of {rules.max_energy_j:.6g} J reached: {spent:.6g} J are spent"
            text += f", and a trial takes {cost:.4g} J" if cost is not None else ""
            return text + (f"; {kept} more are needed to confirm" if kept else "")
    if rules.inferences is not None and cost is not None and SAVING in expected:
        recent = [t.expected for t in trials[len(trials) - PATIENCE + 1 :]] if len(trials) >= PATIENCE - 1 else []
        known = [e[SAVING] for e in (*recent, expected) if SAVING in e]
        if len(known) == PATIENCE and all(saving * rules.inferences < cost for saving in known):
            saved_j = known[-1] * rules.inferences
            return (
                f"further search cannot pay back its energy in {rules.inferences:.6g} inferences: the next trial "
                f"costs {cost:.4g} J and is expected to save {saved_j:.4g} J"
            )
    return None
