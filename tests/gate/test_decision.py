"""What the gate says of replicates with known energy."""

from __future__ import annotations

import math

import pytest

from joulebench.errors import InputError
from joulebench.gate.decision import fails, failures, judge, suspects, undecided
from joulebench.gate.model import Settings
from joulebench.gate.verdict import Outcome
from tests.factories import fault
from tests.gate_records import CPU, ENVIRONMENT, GPU, ON_CPU, measurement, pairs, replicate, spread

SETTINGS = Settings()


def one(baseline, current, **settings):
    (verdict,) = judge(baseline, current, Settings(**settings))
    return verdict


def test_five_percent_more_is_pending_then_confirmed_by_a_rerun():
    first, again = pairs(spread(1.05)), pairs(spread(1.05), rerun=True)
    suspected = one(*first)
    assert (suspected.outcome, suspected.pending) == (Outcome.UNDECIDED, Outcome.REGRESSED)
    assert suspected.ratio[0] == pytest.approx(1.05, abs=0.002)
    assert suspects([suspected]) == ["b"]
    confirmed = one(first[0] + again[0], first[1] + again[1])
    assert confirmed.outcome is Outcome.REGRESSED
    assert confirmed.ratio[1] > 1.02
    assert confirmed.shift.n == confirmed.rerun.n == 32
    assert fails([confirmed], SETTINGS)
    assert not fails([suspected], SETTINGS)


def test_a_rerun_that_disagrees_is_no_regression():
    first, again = pairs(spread(1.10)), pairs(spread(1.0), rerun=True)
    verdict = one(first[0] + again[0], first[1] + again[1])
    assert verdict.outcome is Outcome.UNDECIDED
    assert "did not confirm" in verdict.reason
    assert suspects([verdict]) == undecided([verdict]) == []
    assert not fails([verdict], SETTINGS)
    assert fails([verdict], Settings(strict=True))


def test_an_improvement_too_needs_its_rerun():
    first = pairs(spread(0.9))
    alone = one(*first)
    assert (alone.outcome, alone.pending) == (Outcome.PASSED, Outcome.IMPROVED)
    for ratio, outcome in ((0.9, Outcome.IMPROVED), (1.01, Outcome.PASSED)):
        again = pairs(spread(ratio), rerun=True)
        assert one(first[0] + again[0], first[1] + again[1]).outcome is outcome


@pytest.mark.parametrize(
    ("ratio", "outcome"), [(1.0, Outcome.PASSED), (1.02, Outcome.UNDECIDED), (1.018, Outcome.UNDECIDED)]
)
def test_outcomes_by_where_the_interval_lies(ratio, outcome):
    verdict = one(*pairs(spread(ratio)))
    assert verdict.outcome is outcome
    assert not fails([verdict], SETTINGS)
    assert undecided([verdict]) == (["b"] if outcome is Outcome.UNDECIDED else [])


def test_an_undecided_benchmark_says_what_could_have_been_seen_and_what_more_would_cost():
    """By hand: the threshold, and as much more as the interval reaches below the estimate."""
    verdict = one(*pairs(spread(1.01, width=0.05)))
    s = verdict.shift
    assert verdict.outcome is Outcome.UNDECIDED
    assert verdict.visible == pytest.approx(math.log(1.02) + s.estimate - s.low)
    distance = math.log(1.02) - s.estimate
    least = max(math.ceil(x.n * (x.half_width / abs(math.log(1.02) - x.estimate)) ** 2) for x in (s, verdict.total))
    assert verdict.needed == least > 32
    assert distance > 0


def test_the_threshold_is_what_it_is_set_to():
    sides = pairs(spread(1.05))
    assert one(*sides, threshold=0.10).outcome is Outcome.PASSED


def test_few_windows_decide_nothing():
    few = one(*pairs(spread(1.10, n=4)))
    assert few.outcome is Outcome.UNDECIDED
    assert "16 valid windows; 20 needed" in few.reason
    required = one(*pairs(spread(1.10, n=4)), require_energy=True)
    assert required.outcome is Outcome.UNMEASURED
    # an early look sees few of slow benchmarks: they are measured on
    assert undecided([few]) == undecided([required]) == ["b"]


def test_a_pass_needs_so_many_pairs_that_a_rare_dear_kind_would_show():
    """Of processes of which every tenth is dear, 29 hold one in 95 % of cases."""
    assert one(*pairs(spread(1.0, n=29, width=0.001))).outcome is Outcome.PASSED
    few = one(*pairs(spread(1.0, n=27, width=0.001)))
    assert (few.outcome, few.needed) == (Outcome.UNDECIDED, 29)
    assert one(*pairs(spread(1.0, n=27, width=0.001)), rare=0.2).outcome is Outcome.PASSED


def test_outliers_on_both_sides_do_not_make_a_regression():
    ratios = spread(1.0, n=40, width=0.005)
    for n in (3, 11, 15):
        ratios[n], ratios[n + 1] = 1.01, 0.99
    verdict = one(*pairs(ratios))
    assert verdict.outcome is Outcome.PASSED
    assert math.exp(verdict.shift.estimate) == pytest.approx(1.0, abs=0.003)


def test_some_dear_processes_withhold_the_pass_that_the_typical_one_would_get():
    ratios = spread(1.0, n=40, width=0.005)
    for n in (3, 11, 15, 30):
        ratios[n] = 1.5
    verdict = one(*pairs(ratios))
    assert verdict.outcome is Outcome.UNDECIDED
    assert verdict.ratio[2] < 1.02  # the typical one
    assert math.exp(verdict.total.estimate) == pytest.approx(1 + 4 * 0.5 / 40, abs=0.01)
    assert "total" in verdict.reason


def test_a_total_that_is_dearer_beyond_doubt_is_a_regression_though_the_typical_process_is_not():
    ratios = [1.5 if n % 4 == 0 else r for n, r in enumerate(spread(1.0, n=60, width=0.005))]
    verdict = one(*pairs(ratios))
    assert verdict.pending is Outcome.REGRESSED
    assert verdict.ratio[2] < 1.02


def test_each_look_has_its_share_of_the_error():
    """What the first look may not yet say, the same pairs may when all of the error is theirs."""
    ratios = spread(1.05, n=32, width=0.1)
    early, whole = one(*pairs(ratios, looks=[1] * 32)), one(*pairs(ratios))
    assert early.outcome is Outcome.UNDECIDED
    assert early.pending is None
    assert whole.pending is Outcome.REGRESSED
    assert early.shift.level == pytest.approx(0.025 * 0.05)
    assert early.ratio[1] < whole.ratio[1]


def test_a_benchmark_keeps_what_an_earlier_look_decided():
    """As on the machine, where pairs of others went on: by the first ten pairs it is 10 %, by all it is not."""
    ratios = [*spread(1.20, n=25, width=0.01), *spread(1.0, n=25, width=0.01)]
    verdict = one(*pairs(ratios, looks=[1] * 25 + [5] * 25))
    assert verdict.pending is Outcome.REGRESSED
    assert verdict.shift.n == 25


def test_measured_joules_are_compared_and_estimates_beside_them_are_not():
    """The GPU takes 5 % more; the CPU's model, which follows time, says that it takes half."""
    before = [replicate(measurement(j=1.0, cpu_j=2.0), pair=n) for n in range(20)]
    now = [replicate(measurement(j=1.05 + 1e-6 * n, cpu_j=1.0), pair=n) for n in range(20)]
    verdict = one(before, now)
    assert verdict.metric.domains == ("gpu",)
    assert verdict.metric.kind == "measured"
    assert verdict.ratio[0] == pytest.approx(1.05, abs=1e-4)
    assert verdict.baseline == pytest.approx(1.0)
    ((metric, time),) = verdict.beside
    assert metric.label == "time"
    assert time.estimate == pytest.approx(0.0)


def test_processor_time_stands_in_where_nothing_is_measured_on_a_cpu():
    """The work takes 10 % more of the processor and no more time, as one does that waits less."""
    before = [replicate(measurement(domains=CPU, cpus=0.5), pair=n, environment=ON_CPU) for n in range(32)]
    now = [replicate(measurement(domains=CPU, cpus=0.55), pair=n, environment=ON_CPU) for n in range(32)]
    verdict = one(before, now)
    assert verdict.metric.label == "processor time"
    assert verdict.pending is Outcome.REGRESSED
    assert verdict.baseline == pytest.approx(0.5 * 0.1)
    assert [(m.label, s.estimate) for m, s in verdict.beside] == [("time", pytest.approx(0.0))]
    assert one(before, now, metric="time").outcome is Outcome.PASSED


def test_instructions_stand_beside_and_decide_nothing():
    """A third more instructions in the same processor time."""
    fields = {"domains": CPU, "cpus": 0.5}
    before = [replicate(measurement(rate=3e9, **fields), pair=n, environment=ON_CPU) for n in range(32)]
    now = [replicate(measurement(rate=4e9, **fields), pair=n, environment=ON_CPU) for n in range(32)]
    verdict = one(before, now)
    assert (verdict.metric.label, verdict.outcome) == ("processor time", Outcome.PASSED)
    beside = {metric.label: math.exp(shift.estimate) for metric, shift in verdict.beside}
    assert beside == {"instruction count": pytest.approx(4 / 3), "time": pytest.approx(1.0)}
    partly = [replicate(measurement(**fields), pair=n, environment=ON_CPU) for n in range(32)]
    assert [metric.label for metric, _ in one(before, partly).beside] == ["time"]


def test_an_accelerators_work_is_not_processor_time():
    assert one(*pairs(spread(1.0), domains=CPU, cpus=0.5)).metric.label == "time"


def test_time_stands_in_where_nothing_else_is_known_and_says_so():
    sides = pairs(spread(1.0), domains=CPU)
    assert one(*sides).metric.label == "time"
    assert one(*sides, metric="processor").outcome is Outcome.UNMEASURED
    estimated = one(*sides, metric="energy")
    assert estimated.metric.label == "estimated energy (cpu)"
    refused = one(*sides, require_energy=True)
    assert refused.outcome is Outcome.UNMEASURED
    assert failures([refused], Settings(require_energy=True))


@pytest.mark.parametrize("domains", [{**GPU, "gpu:0": ("nvml_power", "estimated")}, CPU])
def test_estimated_where_the_baseline_was_measured_fails_closed(domains):
    before = [replicate(measurement(), pair=n) for n in range(20)]
    now = [replicate(measurement(domains=domains), pair=n) for n in range(20)]
    for settings in ({}, {"require_energy": True}, {"metric": "energy"}):
        verdict = one(before, now, **settings)
        assert verdict.outcome is Outcome.UNMEASURED
        assert "gpu was measured" in verdict.reason
    assert failures([verdict], Settings(require_energy=True))
    assert failures([verdict], Settings(strict=True))
    assert not failures([verdict], SETTINGS)


def test_invalid_windows_fail_closed_and_name_the_fault():
    before = [replicate(measurement(), pair=n) for n in range(20)]
    now = [replicate(measurement(fault=fault("gpu:0 counter went back by 5 J")), pair=n) for n in range(20)]
    verdict = one(before, now, require_energy=True)
    assert verdict.outcome is Outcome.UNMEASURED
    assert "counter went back" in verdict.reason
    assert failures([verdict], Settings(require_energy=True))


def test_mostly_invalid_windows_fail_closed():
    before, now = pairs(spread(1.0))
    now = [
        r if n < 3 else replicate(measurement(fault=fault("overlap")), session="first", pair=n)
        for n, r in enumerate(now)
    ]
    assert one(before, now).outcome is Outcome.UNDECIDED
    verdict = one(before, now, require_energy=True)
    assert verdict.outcome is Outcome.UNMEASURED
    assert "12 valid windows" in verdict.reason


def test_the_writers_word_on_validity_is_not_taken():
    """A window that is too short by its raw times does not count, fault or not."""
    before = [replicate(measurement(), pair=n) for n in range(20)]
    now = [replicate(measurement(s=0.001), pair=n) for n in range(20)]
    assert "too short" in one(before, now).reason


def sessions(levels, side="x", processes=5):
    return [
        replicate(measurement(j=level * (1 + 0.002 * p)), session=f"{side}{n}")
        for n, level in enumerate(levels)
        for p in range(processes)
    ]


def test_a_stored_baseline_counts_its_sessions_spread():
    quiet, wild = sessions([1.0, 1.001, 0.999, 1.0005, 0.9995]), sessions([0.9, 1.1, 1.0, 0.93, 1.07])
    now = sessions([1.10], "now")
    assert one(quiet, now).pending is Outcome.REGRESSED
    told = one(wild, now)
    assert told.outcome is Outcome.UNDECIDED
    assert told.pending is None
    assert told.design == "sessions"
    again = [r.model_copy(update={"rerun": True, "session": "again"}) for r in now]
    assert one(quiet, now + again).outcome is Outcome.REGRESSED


def test_a_stored_baseline_passes_nothing_before_a_rare_kind_of_process_had_its_chance():
    quiet = sessions([1.0, 1.001, 0.999, 1.0005, 0.9995], processes=28)
    told = one(quiet, sessions([1.0], "now", processes=28))
    assert told.outcome is Outcome.UNDECIDED
    assert "28 processes" in told.reason
    assert one(quiet, sessions([1.0], "now", processes=29)).outcome is Outcome.PASSED
    dear = sessions([1.10], "now", processes=10)
    assert one(sessions([1.0, 1.001, 0.999, 1.0005, 0.9995], processes=10), dear).pending is Outcome.REGRESSED


def test_four_sessions_are_no_baseline():
    verdict = one(sessions([1.0, 1.0, 1.0, 1.0]), sessions([1.5], "now"))
    assert verdict.outcome is Outcome.UNDECIDED
    assert "4 sessions; 5 needed" in verdict.reason


def test_new_missing_and_changed_benchmarks():
    before = [replicate(measurement("old"), measurement("unit"), measurement("size"), pair=n) for n in range(20)]
    now = [
        replicate(
            measurement("new"),
            measurement("unit", unit="token"),
            measurement("size", configuration={"batch": 2}),
            pair=n,
        )
        for n in range(20)
    ]
    verdicts = {v.name: v for v in judge(before, now, SETTINGS)}
    assert {n: v.outcome for n, v in verdicts.items()} == {
        "new": Outcome.NEW, "old": Outcome.MISSING, "unit": Outcome.INCOMPARABLE, "size": Outcome.INCOMPARABLE,
    }  # fmt: skip
    assert verdicts["unit"].reason == "unit: sample, now token"
    assert verdicts["size"].reason == "configuration.batch: none, now 2"
    assert {v.name for v in failures(list(verdicts.values()), Settings(require_energy=True))} == {
        "old",
        "unit",
        "size",
    }


def test_nothing_compared_passes_but_not_strictly():
    now = [replicate(measurement()) for _ in range(10)]
    verdicts = judge([], now, SETTINGS)
    assert [v.outcome for v in verdicts] == [Outcome.NEW]
    assert verdicts[0].current == pytest.approx(1.0)
    assert not fails(verdicts, SETTINGS)
    assert fails(verdicts, Settings(strict=True))
    assert fails(verdicts, Settings(require_energy=True))
    assert fails([], Settings(strict=True))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("torch", "driver"), "590.2", "driver: 580.1, now 590.2"),
        (("packages", "torch"), "2.12.0", "torch: 2.11.0, now 2.12.0"),
        (("host", "cpu"), "Xeon", "CPU: EPYC, now Xeon"),
        (("host", "accelerators"), ["A100"], "accelerators: H100, now A100"),
        (("python",), "3.12.1", "Python: 3.11, now 3.12"),
    ],
)
def test_another_environment_is_refused_by_name(path, value, message):
    other = {k: dict(v) if isinstance(v, dict) else v for k, v in ENVIRONMENT.items()}
    (other[path[0]] if len(path) == 2 else other)[path[-1]] = value
    before = [replicate(measurement(), pair=n) for n in range(20)]
    now = [replicate(measurement(), pair=n, environment=other) for n in range(20)]
    with pytest.raises(InputError, match=message):
        judge(before, now, SETTINGS)


def test_another_protocol_is_incomparable_by_name():
    before = [replicate(measurement(), pair=n) for n in range(20)]
    longer = before[0].measurements[0].protocol.model_copy(update={"warmup_s": 0.2})
    now = [replicate(measurement(protocol=longer), pair=n) for n in range(20)]
    verdict = one(before, now)
    assert verdict.outcome is Outcome.INCOMPARABLE
    assert verdict.reason == "protocol.warmup_s: 0.1, now 0.2"


def test_a_pair_is_compared_over_windows_that_are_valid_on_both_sides():
    """The machine gets dearer within each pair; one side lacks its first, cheap windows."""

    def drifting(level, lost):
        made = measurement(j=level, s=0.1, windows=6)
        windows = []
        for n, window in enumerate(made.windows):
            readings = [r.model_copy(update={"energy_j": r.energy_j * (1 + 0.1 * n)}) for r in window.readings]
            spoiled = fault("gpu:0 counter moved 3 times") if n < lost else None
            windows.append(window.model_copy(update={"readings": tuple(readings), "fault": spoiled}))
        return made.model_copy(update={"windows": tuple(windows)})

    before, now = [], []
    for pair, ratio in enumerate(spread(1.0, n=32, width=0.002)):
        before.append(replicate(drifting(1.0, lost=0), pair=pair))
        now.append(replicate(drifting(ratio, lost=2), pair=pair))
    verdict = one(before, now)
    assert math.exp(verdict.total.estimate) == pytest.approx(1.0, abs=0.001)
    assert (verdict.outcome, verdict.pending) == (Outcome.PASSED, None)
