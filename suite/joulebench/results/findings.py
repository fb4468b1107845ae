"""Findings: what limits the meaning of a run's numbers, each with a machine-readable code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

#: `alert`: do not rely on the numbers; `warning`: it affects what they mean; `note`: for information.
Level = Literal["alert", "warning", "note"]


class Code(StrEnum):
    """Machine-readable code of a finding."""

    # the records
    IMPOSSIBLE_TRIALS = "impossible_trials"
    DIGEST_DIFFERS = "digest_differs"
    MISSING_TRIALS = "missing_trials"
    UNKNOWN_PHASES = "unknown_phases"
    SCORES_WITHOUT_TRIAL = "scores_without_trial"
    NOT_SCORED = "not_scored"
    TORN_LINE = "torn_line"
    ALTERED = "altered"
    OPEN_SESSION = "open_session"
    UNFINISHED = "unfinished"
    STOPPED_EARLY = "stopped_early"
    # where joules come from
    REPLAYED = "replayed"
    FORCED_HARDWARE = "forced_hardware"
    NO_ENERGY = "no_energy"
    ALL_MEASURED = "all_measured"
    ESTIMATED = "estimated"
    FALL_BACK_METER = "fall_back_meter"
    METERS_DISAGREE = "meters_disagree"
    MODEL_ERROR = "model_error"
    MODEL_RANGE = "model_range"
    WALL_METER = "wall_meter"
    MIXED_DOMAINS = "mixed_domains"
    METER_UNKNOWN = "meter_unknown"
    METER_CONSISTENT = "meter_consistent"
    METER_UNDECIDED = "meter_undecided"
    METER_INCONSISTENT = "meter_inconsistent"
    # how well they are known
    WIDE_INTERVALS = "wide_intervals"
    RUNS_DIFFER = "runs_differ"
    NOT_REPEATED = "not_repeated"
    INVALID_WINDOWS = "invalid_windows"
    BUSY_MACHINE = "busy_machine"
    ALLOWED_BUSY = "allowed_busy"
    PUBLISHED_BUSY = "published_busy"
    THROTTLED = "throttled"
    NOT_RECORDED = "not_recorded"
    CORRELATED_WINDOWS = "correlated_windows"
    REPLAY_STRETCHED = "replay_stretched"
    OVERLAPPING_WINDOWS = "overlapping_windows"
    NO_IDLE = "no_idle"
    IDLE_DRIFT = "idle_drift"
    MACHINE_DRIFT = "machine_drift"
    CLUSTER = "cluster"
    DATA = "data"
    # what the run found
    UNTRAINED = "untrained"
    NARROWED = "narrowed"
    DEVIATIONS = "deviations"
    PROVISIONAL = "provisional"
    NET_NEAR_ZERO = "net_near_zero"
    NO_USABLE_TRIAL = "no_usable_trial"
    BELOW_REFERENCE = "below_reference"
    ONE_POINT = "one_point"
    CONSTRAINTS = "constraints"
    NONE_FEASIBLE = "none_feasible"
    FAILING_TRIALS = "failing_trials"
    OUT_OF_MEMORY = "out_of_memory"
    TRAINING_CUT_OFF = "training_cut_off"
    HYPERVOLUME_ZERO = "hypervolume_zero"
    HYPERVOLUME_FLAT = "hypervolume_flat"
    PROMISES_BROKEN = "promises_broken"
    # how machines compare
    NOT_ALIKE = "not_alike"
    NOTHING_SHARED = "nothing_shared"


@dataclass(frozen=True)
class Finding:
    """One finding; `points` are listed below its text."""

    level: Level
    code: Code
    title: str
    text: str
    points: tuple[str, ...] = ()
