"""What windows say: intervals, validity, gross and net."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from joulebench.records.model import Reading, Window
from joulebench.results.energy import (
    Energy,
    common_domains,
    joules,
    matches,
    over_runs,
    phase_energy,
    power_w,
    total_j,
    training_energy,
)
from joulebench.results.idle import idle_drift, idle_power_w
from joulebench.results.validity import invalidity
from joulebench.spec.task import Protocol
from joulebench.stats.estimate import effective_n, estimate, point, t_quantile, t_quantile_of
from tests.factories import fault

PROTOCOL = Protocol(window_s=1.0, repeats=3, max_repeats=5)


def window(phase="inference", seconds=1.0, units=100, fault=None, updates=None, **joules):
    joules = joules or {"cpu": 10.0}
    readings = tuple(
        Reading(
            domain=domain.replace("_", ":"),
            energy_j=value,
            source="test",
            kind="estimated" if domain == "ram" else "measured",
            counter_updates=updates,
        )
        for domain, value in joules.items()
    )
    return Window(
        phase=phase, start_utc="2026-01-01T00:00:00Z", start_s=0.0, end_s=seconds, units=units,
        readings=readings, fault=fault,
    )  # fmt: skip


def touching(windows, start_s=0.0, utc="2026-01-01T00:00:00Z"):
    """The windows laid end to end."""
    laid = []
    for w in windows:
        laid.append(w.model_copy(update={"start_s": start_s, "end_s": start_s + w.duration_s, "start_utc": utc}))
        start_s = laid[-1].end_s
    return laid


def test_an_estimate_is_students_t():
    value = estimate([10.0, 9.0, 11.0])
    assert value.mean == 10.0
    assert value.sem == pytest.approx(1 / math.sqrt(3))
    assert value.high - value.mean == pytest.approx(4.302652729749464 / math.sqrt(3))  # t(0.975, 2)
    assert value.freedom == 2
    assert value.n == 3


def test_one_value_has_no_interval():
    value = estimate([5.0])
    assert (value.sem, value.low, value.high, value.rel_half_width) == (None, None, None, None)
    with pytest.raises(ValueError, match="at least one"):
        estimate([])


def test_t_quantile_matches_a_table():
    assert t_quantile(1) == pytest.approx(12.7062, abs=1e-4)
    assert t_quantile(10) == pytest.approx(2.2281, abs=1e-4)
    assert t_quantile(10, 0.005) == pytest.approx(3.1693, abs=1e-4)
    assert t_quantile(1e9) == pytest.approx(1.959964, abs=1e-6)
    assert t_quantile_of(estimate([1.0, 2.0, 4.0])) == pytest.approx(4.3027, abs=1e-4)
    assert t_quantile_of(point(1.0)) == t_quantile(1)


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=30))
def test_the_interval_of_independent_values_is_students(values):
    found, n = estimate(values, independent=True), len(values)
    assert (found.n, found.freedom) == (n, n - 1)
    half = stats.t.ppf(0.975, n - 1) * stats.sem(values)
    assert (found.low, found.high) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=1e-9)


def test_correlated_windows_are_worth_fewer():
    rng = np.random.default_rng(0)
    drift = np.cumsum(rng.normal(size=100))
    assert effective_n(drift.tolist()) < 20
    assert effective_n(rng.normal(size=100).tolist()) > 60


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        value = estimate(rng.normal(3.0, 0.5, size=5).tolist(), independent=True)
        hits += value.low <= 3.0 <= value.high
    assert hits / 2000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (window(seconds=0.5), "too_short"),
        (window(seconds=0.0), "no_duration"),
        (window(seconds=-1.0), "no_duration"),
        (window(seconds=math.nan), "no_duration"),
        (window(units=0), "no_work"),
        (window(cpu=0.0), "impossible_reading"),
        (window(cpu=-3.0), "impossible_reading"),
        (window(cpu=math.inf), "impossible_reading"),
        (window(updates=19), "few_counter_updates"),
        (window(fault=fault("cpu counter went back by 3 J")), "unclassified"),
    ],
)
def test_bad_windows_do_not_count(broken, why):
    assert invalidity(broken, PROTOCOL).kind == why
    assert phase_energy([broken], "inference", ["cpu"], PROTOCOL) is None


def test_a_good_window_counts():
    assert invalidity(window(updates=20), PROTOCOL) is None


def test_joules_per_unit_over_the_domains_asked_for():
    windows = [window(cpu=10.0, ram=5.0, gpu_0=30.0)] * 3
    assert phase_energy(windows, "inference", ["cpu"], PROTOCOL).mean == pytest.approx(0.10)
    whole = phase_energy(windows, "inference", ["gpu", "cpu", "ram"], PROTOCOL)
    assert whole.mean == pytest.approx(0.45)
    assert whole.domains == ("cpu", "gpu:0", "ram")
    assert power_w(windows, whole.domains) == pytest.approx(45.0)


def test_one_estimated_domain_makes_the_sum_estimated():
    whole = phase_energy([window(cpu=30.0, ram=10.0)] * 2, "inference", ["cpu", "ram"], PROTOCOL)
    assert whole.kind == "estimated"
    assert whole.measured_share == pytest.approx(0.75)
    assert phase_energy([window(cpu=30.0)] * 2, "inference", ["cpu"], PROTOCOL).kind == "measured"


def test_a_missing_domain_is_absent_not_zero():
    assert phase_energy([window(cpu=1.0)], "inference", ["gpu"], PROTOCOL) is None
    mixed = [window(cpu=10.0, gpu_0=90.0), window(cpu=10.0)]
    assert phase_energy(mixed, "inference", ["gpu", "cpu"], PROTOCOL).domains == ("cpu",)


def test_checks_are_never_summed():
    check = Reading(domain="gpu:0", energy_j=51.0, source="nvml_power", kind="measured", role="check")
    both = window(gpu_0=50.0)
    both = both.model_copy(update={"readings": (*both.readings, check)})
    assert phase_energy([both], "inference", ["gpu"], PROTOCOL).mean == pytest.approx(0.5)
    assert total_j([both]) == 50.0


def test_net_is_gross_less_idle_power_times_seconds():
    idle = touching(window(phase="idle", seconds=2.0, units=0, cpu=j) for j in (8.0, 8.2, 7.8, 8.0))  # 4 W
    net = phase_energy([window(cpu=j) for j in (10.0, 10.1, 9.9)], "inference", ["cpu"], PROTOCOL, idle)
    gross = phase_energy([window(cpu=j) for j in (10.0, 10.1, 9.9)], "inference", ["cpu"], PROTOCOL)
    assert net.mean == pytest.approx(0.06)
    assert net.sem > gross.sem  # idle's own uncertainty is in it


def test_net_is_not_clipped_at_zero():
    idle = touching([window(phase="idle", units=0, cpu=20.0)] * 3)
    net = phase_energy([window(cpu=10.0)] * 3, "inference", ["cpu"], PROTOCOL, idle)
    assert net.mean == pytest.approx(-0.1)


def test_net_is_absent_where_idle_was_not_quiet():
    idle = touching(window(phase="idle", units=0, cpu=j) for j in (2.0, 8.0, 3.0, 7.0))
    assert idle_power_w(idle, ["cpu"]) is None
    assert phase_energy([window()] * 3, "inference", ["cpu"], PROTOCOL, idle) is None


@given(
    st.lists(st.floats(0.1, 1e6), min_size=2, max_size=12),
    st.floats(1.0, 100.0),
    st.integers(1, 10_000),
)
def test_scaling_joules_scales_the_estimate(values, seconds, units):
    def energy(factor):
        windows = [window(seconds=seconds, units=units, cpu=v * factor) for v in values]
        return phase_energy(windows, "inference", ["cpu"], PROTOCOL)

    one, two = energy(1.0), energy(2.0)
    assert two.mean == pytest.approx(2 * one.mean)
    assert two.sem == pytest.approx(2 * one.sem, rel=1e-6, abs=1e-12)
    assert one.low <= one.mean <= one.high


def test_drift_is_the_change_of_idle_power_over_the_run():
    early = [window(phase="idle", units=0, cpu=10.0)] * 4
    late = [window(phase="idle", units=0, cpu=12.0)] * 4
    assert idle_drift([*early, *late], ["cpu"]) == pytest.approx(0.2)
    assert idle_drift(early, ["cpu"]) is None
    assert idle_drift([*early, *late], ["gpu:0"]) is None


def test_net_takes_the_idle_baseline_nearest_in_time():
    early = touching([window(phase="idle", units=0, cpu=2.0)] * 4, 0.0, "2026-01-01T00:00:00Z")
    late = touching([window(phase="idle", units=0, cpu=6.0)] * 4, 3600.0, "2026-01-01T01:00:00Z")
    for utc, net_j in (("2026-01-01T00:05:00Z", 0.08), ("2026-01-01T00:58:00Z", 0.04)):
        load = touching([window(cpu=10.0)] * 3, 100.0, utc)
        net = phase_energy(load, "inference", ["cpu"], PROTOCOL, [*early, *late])
        assert net.mean == pytest.approx(net_j)


def test_idle_windows_with_a_fault_are_no_baseline():
    idle = touching([window(phase="idle", units=0, cpu=2.0, fault=fault("cpu dropped out"))] * 4)
    assert idle_power_w(idle, ["cpu"]) is None


def test_training_with_a_faulty_epoch_has_no_energy():
    epochs = [window(phase="train", units=1000, cpu=100.0, gpu_0=900.0)] * 2
    whole = training_energy(PROTOCOL, epochs, ["gpu", "cpu"])
    assert (whole.mean, whole.n, whole.low, whole.per, whole.kind) == (2000.0, 1, None, None, "measured")
    broken = window(phase="train", units=1000, cpu=100.0, fault=fault("gpu:0 dropped out"))
    assert training_energy(PROTOCOL, [epochs[0], broken], ["gpu", "cpu"]) is None
    assert training_energy(PROTOCOL, [], ["cpu"]) is None
    assert training_energy(PROTOCOL, [window(phase="train", units=0, cpu=100.0)], ["cpu"]) is None  # no work done


def test_training_beside_other_processes_has_no_energy_of_its_own():
    epoch = window(phase="train", units=1000, cpu=100.0)
    quiet, busy = (epoch.model_copy(update={"conditions": {"other_load_cpus": cpus}}) for cpus in (0.01, 0.4))
    stolen = epoch.model_copy(update={"conditions": {"steal_cpus": 0.2}})
    assert training_energy(PROTOCOL, [quiet, quiet], ["cpu"]).mean == 200.0
    assert training_energy(PROTOCOL, [quiet, busy], ["cpu"]) is None
    assert training_energy(PROTOCOL, [stolen], ["cpu"]) is None
    allowed = PROTOCOL.model_copy(update={"allow_busy": True})
    assert training_energy(allowed, [quiet, busy], ["cpu"]).mean == 200.0


# -- arithmetic --------------------------------------------------------------------------------------------------

sizes = st.floats(1e-3, 1e3)


@st.composite
def energies(draw, **fields):
    mean, sem = draw(sizes), draw(st.floats(1e-6, 0.1))
    kind = draw(st.sampled_from(["measured", "estimated"]))
    share = 1.0 if kind == "measured" else draw(st.floats(0, 0.99))
    made = {
        "mean": mean, "n": draw(st.integers(2, 30)), "sem": sem * mean, "low": mean * (1 - 2 * sem),
        "high": mean * (1 + 2 * sem), "varied": "windows", "domains": ("cpu",), "kind": kind,
        "measured_share": share, "per": "sample", "variances": {"windows": (sem * mean) ** 2},
    }  # fmt: skip
    return Energy(**{**made, **fields})


@given(energies(), energies())
def test_sums_and_differences_combine_what_they_are_made_of(a, b):
    total, less = a + b, a - b
    assert total.mean == pytest.approx(a.mean + b.mean)
    assert less.mean == pytest.approx(a.mean - b.mean, abs=1e-9)
    for found in (total, less):
        assert found.variances["windows"] == pytest.approx(a.sem**2 + b.sem**2)
        assert found.sem == pytest.approx(math.hypot(a.sem, b.sem))
        assert (found.kind == "measured") == (a.kind == b.kind == "measured")
        assert min(a.measured_share, b.measured_share) <= found.measured_share + 1e-12
        assert found.measured_share <= max(a.measured_share, b.measured_share) + 1e-12
        assert found.low <= found.mean <= found.high
    assert total.measured_share * total.mean == pytest.approx(a.measured_share * a.mean + b.measured_share * b.mean)


@given(energies(), st.floats(1e-3, 1e3))
def test_scaling_keeps_provenance_and_relative_spread(energy, factor):
    scaled = energy * factor / factor
    assert scaled.mean == pytest.approx(energy.mean)
    assert (energy / factor).rel_half_width == pytest.approx(energy.rel_half_width)
    assert (energy * factor).variances["windows"] == pytest.approx(energy.variances["windows"] * factor**2)
    assert (scaled.kind, scaled.domains, scaled.per) == (energy.kind, energy.domains, energy.per)
    assert energy.each(factor, "token").per == "token"


@given(energies(), energies())
def test_the_ratio_of_two_is_a_plain_number(a, b):
    ratio = a / b
    assert not isinstance(ratio, Energy)
    assert ratio.mean == pytest.approx(a.mean / b.mean)
    assert ratio.low <= ratio.mean <= ratio.high
    assert a / (b * -1.0) is None


@given(energies(), energies(per="token"), energies(basis="net"))
def test_other_units_and_bases_do_not_add_up(a, per_token, net):
    for other in (per_token, net):
        with pytest.raises(ValueError, match="do not add up"):
            a + other
        with pytest.raises(ValueError, match="do not add up"):
            a - other


@given(energies())
def test_energies_over_other_domains_have_a_sum_and_no_difference(a):
    other = replace(a, domains=("ram",))
    assert (a + other).domains == ("cpu", "ram")
    with pytest.raises(ValueError, match="do not compare"):
        a - other


@given(energies())
def test_no_joules_at_all_keep_their_measured_share(a):
    none = a * 0.0
    assert (none + none).measured_share == a.measured_share
    assert (none + none).kind == a.kind


@given(st.lists(energies(), min_size=2, max_size=6))
def test_over_runs_the_spread_is_between_them(runs):
    found = over_runs(runs)
    means = [e.mean for e in runs]
    assert found.mean == pytest.approx(sum(means) / len(means))
    assert set(found.variances) == {"runs"}
    assert found.variances["runs"] == pytest.approx(found.sem**2)
    assert (found.kind == "measured") == all(e.kind == "measured" for e in runs)
    assert over_runs(runs[:1]) is runs[0]


@pytest.mark.parametrize(
    ("domain", "wanted", "belongs"),
    [
        ("gpu:1", ("gpu",), True), ("gpu:1", ("gpu:1", "cpu"), True), ("gpu:1", ("gpu:0", "cpu"), False),
        ("cpu", ("gpu:0", "cpu"), True), ("module:0", ("gpu", "cpu"), False),
        ("module:0", ("gpu", "cpu", "ram"), True), ("module:0", ("module:0",), True), ("gpu:10", ("gpu:1",), False),
    ],
)  # fmt: skip
def test_a_domain_is_wanted_by_its_name_or_its_family(domain, wanted, belongs):
    assert matches(domain, wanted) is belongs


def test_joules_of_common_domains_hold_the_gpus():
    """What `common_domains` returns are names; joules of them are those of all of them."""
    readings = tuple(
        Reading(domain=domain, energy_j=energy_j, source="replay", kind="measured")
        for domain, energy_j in (("gpu:0", 100.0), ("gpu:1", 50.0), ("cpu", 7.0), ("psu", 400.0))
    )
    window = Window(
        phase="x", start_utc="2026-01-01T00:00:00Z", start_s=0.0, end_s=1.0, units=1, steps=1, readings=readings
    )
    names = common_domains([window], ("gpu", "cpu", "ram"))
    assert names == ("cpu", "gpu:0", "gpu:1")
    assert joules(window, names) == joules(window, ("gpu", "cpu")) == 157.0
    assert joules(window, ("gpu:1",)) == 50.0
